rule explain:
    """Show what speaks for the classes in validation patches, and whether probabilities are right."""
    input:
        selected=reads("explain", "results/selected.json"),
        models=reads("explain", list(MODEL_FOLDERS.values())),
        patches=reads("explain", expand("results/patches/{fold}", fold=LEARNERS)),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("explain"),
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
        provenance=lambda wildcards: provenance_of("explain"),
        folds={model: MODELS[model]["fold"] for model in MODELS},
        settings=config["explain"],
    script:
        "../scripts/explain.py"
