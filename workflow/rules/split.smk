rule split:
    """Write down the side of every annotated image, and look for near-duplicates across sides."""
    input:
        images=reads("split", image_folders(ANNOTATED)),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("split"),
    output:
        split="results/split.tsv",
        leakage="results/leakage.tsv",
        provenance="results/provenance/split.json",
    log:
        "logs/split.log",
    benchmark:
        "benchmarks/split.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: (10 + len(ANNOTATED) // 20) * attempt,
    params:
        provenance=lambda wildcards: provenance_of("split"),
        rows=[{key: ROWS[image][key] for key in ("image", "truth", "group", "split")} for image in sorted(ANNOTATED)],
        settings=config["split"],
    script:
        "../scripts/split.py"
