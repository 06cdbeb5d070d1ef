rule select_model:
    """Select the model with the best validation score, and convert it for prediction."""
    input:
        models=ancient_inputs("select_model", list(PROJECT.model_folders.values())),
        rerun_if=rerun_if("select_model"),
    output:
        selected="results/selected.json",
        converted=directory("results/converted"),
        provenance="results/provenance/select_model.json",
    log:
        "logs/select_model.log",
    benchmark:
        "benchmarks/select_model.tsv"
    conda:
        "../../envs/network.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 5000 * attempt,
        runtime=lambda wildcards, attempt: (10 + 2 * len(PROJECT.model_folders)) * attempt,
        gpu=int(config["predict"]["device"] == "gpu"),
        networks=int(config["predict"]["device"] != "cpu"),
    params:
        provenance=provenance_of("select_model"),
        record=record_of("select_model"),
        variants={model: PROJECT.models[model]["variant"] for model in PROJECT.models},
        engine=config["predict"]["engine"],
        settings=config["select_model"],
    script:
        "../scripts/select_model.py"
