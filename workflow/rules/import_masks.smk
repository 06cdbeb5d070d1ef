rule import_masks:
    """Take the masks that the table names for the labels of batch {wildcards.batch}, and measure each object."""
    input:
        images=reads("import_masks", "results/images/{batch}"),
        simulated=lambda wildcards: ancient(simulated_files(wildcards.batch, "masks_files")),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("import_masks", wildcards.batch),
    output:
        labels=directory("results/labels/{batch}"),
        objects="results/objects/{batch}.parquet",
        # The record of rule segment, whose labels these replace: none of the two must take the other's for its own.
        provenance="results/provenance/segment/{batch}.json",
    log:
        "logs/import_masks/{batch}.log",
    benchmark:
        "benchmarks/import_masks/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory_mb(2500, 2),
        runtime=minutes(15, 0.1),
    params:
        provenance=lambda wildcards: provenance_of("import_masks", wildcards.batch),
        rows=lambda wildcards: raw_rows(wildcards.batch, "masks_files", "files", "axes"),
        regions=lambda wildcards: regions_of(wildcards.batch),
        classes=config["classes"],
        settings=config["ingest_truth"],
    script:
        "../scripts/import_masks.py"
