rule ingest:
    """Convert the raw files of batch {wildcards.batch} to OME-Zarr images."""
    input:
        simulated=lambda wildcards: ancient(PROJECT.simulated_files(wildcards.batch, "files")),
        rerun_if=rerun_if("ingest"),
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
        mem_mb=RESOURCES.memory_mb(1500, 2),
        runtime=RESOURCES.minutes(10, 0.02),
    params:
        provenance=provenance_of("ingest"),
        record=record_of("ingest"),
        rows=lambda wildcards: PROJECT.raw_rows(
            wildcards.batch, "files", "scene", "axes", "pixel_size_um", "frame_interval_s"
        ),
        settings=result_settings(config, "ingest"),
    script:
        "../scripts/ingest.py"
