rule evaluate:
    """Score the labels of batch {wildcards.batch} against ground truth, check their seams, and draw them over the images."""
    input:
        labels=reads("evaluate", "results/labels/{batch}"),
        predictions=reads("evaluate", [] if MASKED else "results/predictions/{batch}"),
        images=reads("evaluate", "results/images/{batch}"),
        truth=reads("evaluate", lambda wildcards: truth_folders(BATCHES[wildcards.batch])),
        tracks=reads("evaluate", "results/tracks/{batch}" if config["task"] == "instances" else []),
        selected=reads("evaluate", [] if MASKED else "results/selected.json"),
        models=reads("evaluate", list(MODEL_FOLDERS.values())),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("evaluate", wildcards.batch),
    output:
        metrics="results/metrics/{batch}.tsv",
        pictures=directory("results/pictures/{batch}"),
        provenance="results/provenance/evaluate/{batch}.json",
    log:
        "logs/evaluate/{batch}.log",
    benchmark:
        "benchmarks/evaluate/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory_mb(2000, 20),
        runtime=minutes(15, 0.1),
    params:
        provenance=lambda wildcards: provenance_of("evaluate", wildcards.batch),
        subsets=lambda wildcards: {image: SIDES[image] for image in BATCHES[wildcards.batch]},
        annotated=lambda wildcards: with_truth(BATCHES[wildcards.batch]),
        task=config["task"],
        classes=config["classes"],
        regions=lambda wildcards: regions_of(wildcards.batch),
        segment=None if MASKED else config["segment"],
        settings=config["evaluate"],
    script:
        "../scripts/evaluate.py"
