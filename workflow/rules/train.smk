rule train:
    """Train the model {wildcards.model}."""
    input:
        patches=ancient_inputs("train", lambda wildcards: f"results/patches/{PROJECT.models[wildcards.model]['fold']}"),
        weights=ancient_inputs("train", lambda wildcards: weights_folders(wildcards.model)),
        rerun_if=rerun_if("train"),
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
        runtime=lambda wildcards, attempt: attempt * RESOURCES.training_minutes(wildcards.model),
        gpu=config["train"]["gpus"] if config["train"]["device"] == "gpu" else 0,
        networks=int(config["train"]["device"] != "cpu"),
    params:
        provenance=provenance_of("train"),
        record=record_of("train"),
        training_data=lambda wildcards: PLANNER.provenance.hashes("augment", PROJECT.models[wildcards.model]["fold"]),
        settings=lambda wildcards: result_settings(PROJECT.models[wildcards.model], "train"),
    script:
        "../scripts/train.py"
