rule ingest_truth:
    """Convert the ground truth of batch {wildcards.batch} to OME-Zarr labels."""
    input:
        images=ancient_inputs("ingest_truth", "results/images/{batch}"),
        simulated=lambda wildcards: ancient(PROJECT.simulated_files(wildcards.batch, "truth_files")),
        rerun_if=rerun_if("ingest_truth"),
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
        mem_mb=RESOURCES.memory_mb(1500, 2),
        runtime=RESOURCES.minutes(10, 0.02),
    params:
        provenance=provenance_of("ingest_truth"),
        record=record_of("ingest_truth"),
        rows=lambda wildcards: PROJECT.raw_rows(wildcards.batch, "truth_files", "files", "axes"),
        regions=lambda wildcards: PROJECT.regions(wildcards.batch),
        task=config["task"],
        classes=config["classes"],
        settings=config["ingest_truth"],
    script:
        "../scripts/ingest_truth.py"
