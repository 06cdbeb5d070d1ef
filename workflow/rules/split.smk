rule split:
    """Write the subset of every annotated image, and search for near-duplicates in different subsets."""
    input:
        images=ancient_inputs("split", image_folders(PROJECT.annotated)),
        rerun_if=rerun_if("split"),
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
        runtime=lambda wildcards, attempt: (10 + len(PROJECT.annotated) // 20) * attempt,
    params:
        provenance=provenance_of("split"),
        record=record_of("split"),
        rows=[
            {key: PROJECT.rows[image][key] for key in ("image", "truth", "group", "split")}
            for image in sorted(PROJECT.annotated)
        ],
        settings=config["split"],
    script:
        "../scripts/split.py"
