rule augment:
    """Cut training patches with random transforms, and validation patches without, for {wildcards.fold}."""
    input:
        images=ancient_inputs("augment", image_folders(PROJECT.training_images)),
        truth=ancient_inputs("augment", truth_folders(PROJECT.training_images)),
        rerun_if=rerun_if("augment"),
    output:
        patches=directory("results/patches/{fold}"),
        sheet="results/sheets/{fold}.png",
        provenance="results/provenance/augment/{fold}.json",
    log:
        "logs/augment/{fold}.log",
    benchmark:
        "benchmarks/augment/{fold}.tsv"
    conda:
        "../../envs/images.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: (10 + config["augment"]["n_patches"] // 100) * attempt,
    params:
        provenance=provenance_of("augment"),
        record=record_of("augment"),
        subsets=lambda wildcards: dict(sorted(PROJECT.folds[wildcards.fold].items())),
        task=config["task"],
        classes=config["classes"],
        settings=config["augment"],
    script:
        "../scripts/augment.py"
