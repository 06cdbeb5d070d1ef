rule explain:
    """Measure the calibration of the selected model, and map the pixels that speak for each class."""
    input:
        selected=ancient_inputs("explain", "results/selected.json"),
        models=ancient_inputs("explain", list(PROJECT.model_folders.values())),
        patches=ancient_inputs("explain", expand("results/patches/{fold}", fold=PROJECT.folds)),
        rerun_if=rerun_if("explain"),
    output:
        explanation=directory("results/explanation"),
        provenance="results/provenance/explain.json",
    log:
        "logs/explain.log",
    benchmark:
        "benchmarks/explain.tsv"
    conda:
        "../../envs/network.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 5000 * attempt,
        runtime=lambda wildcards, attempt: 15 * attempt,
        gpu=int(config["predict"]["device"] == "gpu"),
        networks=int(config["predict"]["device"] != "cpu"),
    params:
        provenance=provenance_of("explain"),
        record=record_of("explain"),
        folds={model: PROJECT.models[model]["fold"] for model in PROJECT.models},
        settings=config["explain"],
    script:
        "../scripts/explain.py"
