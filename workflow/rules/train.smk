rule train:
    """Train network {wildcards.model} on its patches."""
    input:
        patches=reads("train", lambda wildcards: f"results/patches/{MODELS[wildcards.model]['fold']}"),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("train", wildcards.model),
    output:
        model=directory("results/models/{model}"),
        provenance="results/provenance/train/{model}.json",
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
        provenance=lambda wildcards: provenance_of("train", wildcards.model),
        training_data=lambda wildcards: PROVENANCE.augment(MODELS[wildcards.model]["fold"]),
        settings=lambda wildcards: effective(MODELS[wildcards.model], "train"),
    script:
        "../scripts/train.py"
