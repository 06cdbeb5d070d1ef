rule import_masks:
    """Import the masks of batch {wildcards.batch} as labels, and measure each object."""
    input:
        images=ancient_inputs("import_masks", "results/images/{batch}"),
        simulated=lambda wildcards: ancient(PROJECT.simulated_files(wildcards.batch, "masks_files")),
        rerun_if=rerun_if("import_masks"),
    output:
        labels=directory("results/labels/{batch}"),
        objects="results/objects/{batch}.parquet",
        # Rule segment makes the same outputs. With one record for both, neither takes the other's outputs for its own.
        provenance="results/provenance/segment/{batch}.json",
    log:
        "logs/import_masks/{batch}.log",
    benchmark:
        "benchmarks/import_masks/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=RESOURCES.memory_mb(2500, 2),
        runtime=RESOURCES.minutes(15, 0.1),
    params:
        provenance=provenance_of("import_masks"),
        record=record_of("import_masks"),
        rows=lambda wildcards: PROJECT.raw_rows(wildcards.batch, "masks_files", "files", "axes"),
        regions=lambda wildcards: PROJECT.regions(wildcards.batch),
        classes=config["classes"],
        settings=config["ingest_truth"],
    script:
        "../scripts/import_masks.py"
