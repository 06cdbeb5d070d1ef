"""The chosen network is applied, and its answer becomes objects."""


rule predict:
    """Apply the chosen network to the images of batch {wildcards.batch}, tile by tile."""
    input:
        images=reads("predict", "results/images/{batch}"),
        selected=reads("predict", "results/selected.json"),
        converted=reads("predict", "results/converted"),
        models=reads("predict", list(MODEL_FOLDERS.values())),
        renewed=lambda wildcards: PRODUCTS.renewed("predict", wildcards.batch),
    output:
        predictions=directory("results/predictions/{batch}"),
        recipe="results/recipes/predict/{batch}.json",
    log:
        "logs/predict/{batch}.log",
    benchmark:
        "benchmarks/predict/{batch}.tsv"
    conda:
        "../../envs/network.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 5000 * attempt,
        runtime=minutes(15, 0.1),
        gpu=int(config["predict"]["device"] == "gpu"),
        networks=int(config["predict"]["device"] != "cpu"),
    params:
        recipes=lambda wildcards: recipe_of("predict", wildcards.batch),
        code=source("predict.py"),
        looks=lambda wildcards: looks_of(wildcards.batch),
        settings=effective(config, "predict"),
    script:
        "../scripts/predict.py"


rule segment:
    """Turn the predictions of batch {wildcards.batch} into labels, and measure each object."""
    input:
        predictions=reads("segment", "results/predictions/{batch}"),
        images=reads("segment", "results/images/{batch}"),
        renewed=lambda wildcards: PRODUCTS.renewed("segment", wildcards.batch),
    output:
        labels=directory("results/labels/{batch}"),
        objects="results/objects/{batch}.parquet",
        recipe="results/recipes/segment/{batch}.json",
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
        recipes=lambda wildcards: recipe_of("segment", wildcards.batch),
        task=config["task"],
        classes=config["classes"],
        looks=lambda wildcards: looks_of(wildcards.batch),
        settings=config["segment"],
    script:
        "../scripts/segment.py"
