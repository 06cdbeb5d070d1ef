rule segment:
    """Segment the predictions of batch {wildcards.batch} into labels, and measure each object."""
    input:
        predictions=ancient_inputs("segment", "results/predictions/{batch}"),
        images=ancient_inputs("segment", "results/images/{batch}"),
        rerun_if=rerun_if("segment"),
    output:
        labels=directory("results/labels/{batch}"),
        objects="results/objects/{batch}.parquet",
        provenance="results/provenance/segment/{batch}.json",
    log:
        "logs/segment/{batch}.log",
    benchmark:
        "benchmarks/segment/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=RESOURCES.minutes(15, 0.1),
    params:
        provenance=provenance_of("segment"),
        record=record_of("segment"),
        task=config["task"],
        classes=config["classes"],
        regions=lambda wildcards: PROJECT.regions(wildcards.batch),
        settings=config["segment"],
    script:
        "../scripts/segment.py"
