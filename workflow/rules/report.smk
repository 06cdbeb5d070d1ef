rule report:
    """Gather everything into one page."""
    input:
        metrics=reads("report", expand("results/metrics/{batch}.tsv", batch=BATCHES)),
        pictures=reads("report", expand("results/pictures/{batch}", batch=BATCHES)),
        objects=reads("report", expand("results/objects/{batch}.parquet", batch=BATCHES)),
        tracks=reads("report", expand("results/tracks/{batch}", batch=BATCHES if config["task"] == "instances" else [])),
        images=reads("report", expand("results/images/{batch}", batch=BATCHES)),
        truth=reads("report", truth_folders(ANNOTATED)),
        labels=reads("report", expand("results/labels/{batch}", batch=BATCHES)),
        split=reads("report", "results/split.tsv" if LEARNERS else []),
        leakage=reads("report", "results/leakage.tsv" if LEARNERS else []),
        sheets=reads("report", expand("results/sheets/{fold}.png", fold=LEARNERS)),
        models=reads("report", list(MODEL_FOLDERS.values())),
        selected=reads("report", [] if MASKED else "results/selected.json"),
        explanation=reads("report", [] if MASKED else "results/explanation"),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("report"),
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
        mem_mb=lambda wildcards, attempt: (2000 + 2 * len(ROWS) // 10) * attempt,
        runtime=lambda wildcards, attempt: (10 + len(ROWS) // 100) * attempt,
    params:
        provenance=lambda wildcards: provenance_of("report"),
        groups=GROUPS,
        points={model["variant"]: model["point"] for model in MODELS.values()},
        settings=config["report"],
    script:
        "../scripts/report.py"
