rule evaluate:
    """Compare the labels of batch {wildcards.batch} with ground truth, check their seams, and draw overlays."""
    input:
        labels=ancient_inputs("evaluate", "results/labels/{batch}"),
        predictions=ancient_inputs("evaluate", [] if PROJECT.masks_given else "results/predictions/{batch}"),
        images=ancient_inputs("evaluate", "results/images/{batch}"),
        truth=ancient_inputs("evaluate", lambda wildcards: truth_folders(PROJECT.batches[wildcards.batch])),
        tracks=ancient_inputs("evaluate", "results/tracks/{batch}" if config["task"] == "instances" else []),
        selected=ancient_inputs("evaluate", [] if PROJECT.masks_given else "results/selected.json"),
        models=ancient_inputs("evaluate", list(PROJECT.model_folders.values())),
        rerun_if=rerun_if("evaluate"),
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
        mem_mb=RESOURCES.memory_mb(2000, 20),
        runtime=RESOURCES.minutes(15, 0.1),
    params:
        provenance=provenance_of("evaluate"),
        record=record_of("evaluate"),
        subsets=lambda wildcards: {image: PROJECT.subsets[image] for image in PROJECT.batches[wildcards.batch]},
        annotated=lambda wildcards: PROJECT.with_truth(PROJECT.batches[wildcards.batch]),
        task=config["task"],
        classes=config["classes"],
        regions=lambda wildcards: PROJECT.regions(wildcards.batch),
        segment=None if PROJECT.masks_given else config["segment"],
        settings=config["evaluate"],
    script:
        "../scripts/evaluate.py"
