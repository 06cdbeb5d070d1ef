rule ingest:
    """Turn the raw files of batch {wildcards.batch} into OME-Zarr images; ingest.on_bad_image says what if some are bad."""
    input:
        simulated=lambda wildcards: ancient(simulated_files(wildcards.batch, "files")),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("ingest", wildcards.batch),
    output:
        images=directory("results/images/{batch}"),
        provenance="results/provenance/ingest/{batch}.json",
    log:
        "logs/ingest/{batch}.log",
    benchmark:
        "benchmarks/ingest/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory_mb(1500, 2),
        runtime=minutes(10, 0.02),
    params:
        provenance=lambda wildcards: provenance_of("ingest", wildcards.batch),
        rows=lambda wildcards: raw_rows(wildcards.batch, "files", "axes", "pixel_size_um", "frame_interval_s"),
        settings=effective(config, "ingest"),
    script:
        "../scripts/ingest.py"
