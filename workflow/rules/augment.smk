rule augment:
    """Render training patches by random transforms, and validation patches as they are, for {wildcards.fold}."""
    input:
        images=reads("augment", image_folders(learning_images())),
        truth=reads("augment", truth_folders(learning_images())),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("augment", wildcards.fold),
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
        provenance=lambda wildcards: provenance_of("augment", wildcards.fold),
        sides=lambda wildcards: dict(sorted(LEARNERS[wildcards.fold].items())),
        task=config["task"],
        classes=config["classes"],
        settings=config["augment"],
    script:
        "../scripts/augment.py"
