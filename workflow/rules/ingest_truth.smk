rule ingest_truth:
    """Turn the annotations of batch {wildcards.batch} into OME-Zarr labels that fit their images."""
    input:
        images=reads("ingest_truth", "results/images/{batch}"),
        simulated=lambda wildcards: ancient(simulated_files(wildcards.batch, "truth_files")),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("ingest_truth", wildcards.batch),
    output:
        truth=directory("results/truth/{batch}"),
        provenance="results/provenance/ingest_truth/{batch}.json",
    log:
        "logs/ingest_truth/{batch}.log",
    benchmark:
        "benchmarks/ingest_truth/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory_mb(1500, 2),
        runtime=minutes(10, 0.02),
    params:
        provenance=lambda wildcards: provenance_of("ingest_truth", wildcards.batch),
        rows=lambda wildcards: raw_rows(wildcards.batch, "truth_files", "files", "axes"),
        regions=lambda wildcards: regions_of(wildcards.batch),
        task=config["task"],
        classes=config["classes"],
        settings=config["ingest_truth"],
    script:
        "../scripts/ingest_truth.py"
