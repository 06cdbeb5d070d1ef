rule report:
    """Write the report: one HTML page about all batches."""
    input:
        metrics=ancient_inputs("report", expand("results/metrics/{batch}.tsv", batch=PROJECT.batches)),
        pictures=ancient_inputs("report", expand("results/pictures/{batch}", batch=PROJECT.batches)),
        objects=ancient_inputs("report", expand("results/objects/{batch}.parquet", batch=PROJECT.batches)),
        tracks=ancient_inputs(
            "report", expand("results/tracks/{batch}", batch=PROJECT.batches if config["task"] == "instances" else [])
        ),
        images=ancient_inputs("report", expand("results/images/{batch}", batch=PROJECT.batches)),
        truth=ancient_inputs("report", truth_folders(PROJECT.annotated)),
        labels=ancient_inputs("report", expand("results/labels/{batch}", batch=PROJECT.batches)),
        split=ancient_inputs("report", "results/split.tsv" if PROJECT.folds else []),
        leakage=ancient_inputs("report", "results/leakage.tsv" if PROJECT.folds else []),
        sheets=ancient_inputs("report", expand("results/sheets/{fold}.png", fold=PROJECT.folds)),
        models=ancient_inputs("report", list(PROJECT.model_folders.values())),
        selected=ancient_inputs("report", [] if PROJECT.masks_given else "results/selected.json"),
        explanation=ancient_inputs("report", [] if PROJECT.masks_given else "results/explanation"),
        rerun_if=rerun_if("report"),
    output:
        report=report("results/report.html", category="Tessera", caption="../report/report.rst"),
        metrics=report("results/metrics.tsv", category="Tessera", caption="../report/metrics.rst"),
        provenance="results/provenance/report.json",
    log:
        "logs/report.log",
    benchmark:
        "benchmarks/report.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: (2000 + 2 * len(PROJECT.rows) // 10) * attempt,
        runtime=lambda wildcards, attempt: (10 + len(PROJECT.rows) // 100) * attempt,
    params:
        provenance=provenance_of("report"),
        record=record_of("report"),
        accepted=lambda wildcards: list_accepted(PLANNER),
        groups=PROJECT.groups,
        points={model["variant"]: model["point"] for model in PROJECT.models.values()},
        settings=config["report"],
    script:
        "../scripts/report.py"
