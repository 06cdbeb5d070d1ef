rule train:
    """Train network {wildcards.model} on its patches."""
    input:
        patches=reads("train", lambda wildcards: f"results/patches/{MODELS[wildcards.model]['fold']}"),
        renewed=lambda wildcards: PRODUCTS.renewed("train", wildcards.model),
    output:
        model=directory("results/models/{model}"),
        recipe="results/recipes/train/{model}.json",
    log:
        "logs/train/{model}.log",
    benchmark:
        "benchmarks/train/{model}.tsv"
    conda:
        "../../envs/network.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: attempt * training_minutes(wildcards.model),
        gpu=config["train"]["gpus"] if config["train"]["device"] == "gpu" else 0,
        networks=int(config["train"]["device"] != "cpu"),
    params:
        recipe=lambda wildcards: recipe_of("train", wildcards.model),
        training_data=lambda wildcards: RECIPES.augment(MODELS[wildcards.model]["fold"]),
        settings=lambda wildcards: effective(MODELS[wildcards.model], "train"),
    script:
        "../scripts/train.py"
