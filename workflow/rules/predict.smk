rule predict:
    """Apply the chosen network to the images of batch {wildcards.batch}, tile by tile."""
    input:
        images=reads("predict", "results/images/{batch}"),
        selected=reads("predict", "results/selected.json"),
        converted=reads("predict", "results/converted"),
        models=reads("predict", list(MODEL_FOLDERS.values())),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("predict", wildcards.batch),
    output:
        predictions=directory("results/predictions/{batch}"),
        provenance="results/provenance/predict/{batch}.json",
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
        provenance=lambda wildcards: provenance_of("predict", wildcards.batch),
        code=script_hash("predict.py"),
        regions=lambda wildcards: regions_of(wildcards.batch),
        settings=effective(config, "predict"),
    script:
        "../scripts/predict.py"
