rule segment:
    """Turn the predictions of batch {wildcards.batch} into labels, and measure each object."""
    input:
        predictions=reads("segment", "results/predictions/{batch}"),
        images=reads("segment", "results/images/{batch}"),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("segment", wildcards.batch),
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
        runtime=minutes(15, 0.1),
    params:
        provenance=lambda wildcards: provenance_of("segment", wildcards.batch),
        task=config["task"],
        classes=config["classes"],
        regions=lambda wildcards: regions_of(wildcards.batch),
        settings=config["segment"],
    script:
        "../scripts/segment.py"
