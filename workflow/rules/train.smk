"""Networks learn, and the best is chosen."""


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


rule select_model:
    """Choose the network that did best on its validation images, and make it ready to predict."""
    input:
        models=reads("select_model", list(MODEL_FOLDERS.values())),
        renewed=lambda wildcards: PRODUCTS.renewed("select_model"),
    output:
        selected="results/selected.json",
        converted=directory("results/converted"),
        recipe="results/recipes/select_model.json",
    log:
        "logs/select_model.log",
    benchmark:
        "benchmarks/select_model.tsv"
    conda:
        "../../envs/network.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 5000 * attempt,
        runtime=lambda wildcards, attempt: (10 + 2 * len(MODEL_FOLDERS)) * attempt,
        gpu=int(config["predict"]["device"] == "gpu"),
        networks=int(config["predict"]["device"] != "cpu"),
    params:
        recipe=lambda wildcards: recipe_of("select_model"),
        variants={model: MODELS[model]["variant"] for model in MODELS},
        engine=config["predict"]["engine"],
        settings=config["select_model"],
    script:
        "../scripts/select_model.py"
