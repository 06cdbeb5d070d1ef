rule predict:
    """Apply the selected model to the images of batch {wildcards.batch}, tile by tile."""
    input:
        images=ancient_inputs("predict", "results/images/{batch}"),
        selected=ancient_inputs("predict", "results/selected.json"),
        converted=ancient_inputs("predict", "results/converted"),
        models=ancient_inputs("predict", list(PROJECT.model_folders.values())),
        scales=ancient_inputs("predict", "results/scales.json" if "estimate_scale" in PLANNER.steps else []),
        rerun_if=rerun_if("predict"),
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
        runtime=RESOURCES.minutes(15, 0.1),
        gpu=int(config["predict"]["device"] == "gpu"),
        networks=int(config["predict"]["device"] != "cpu"),
    params:
        provenance=provenance_of("predict"),
        record=record_of("predict"),
        code=script_hash("predict.py"),
        regions=lambda wildcards: PROJECT.regions(wildcards.batch),
        settings=result_settings(config, "predict"),
    script:
        "../scripts/predict.py"
