rule ingest:
    """Turn the raw files of batch {wildcards.batch} into OME-Zarr images; ingest.bad_images says what if some are bad."""
    input:
        simulated=lambda wildcards: ancient(simulated_files(wildcards.batch, "files")),
        renewed=lambda wildcards: PRODUCTS.renewed("ingest", wildcards.batch),
    output:
        images=directory("results/images/{batch}"),
        recipe="results/recipes/ingest/{batch}.json",
    log:
        "logs/ingest/{batch}.log",
    benchmark:
        "benchmarks/ingest/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory_mb(1500, 2),
        runtime=minutes(10, 0.02),
    params:
        recipes=lambda wildcards: recipe_of("ingest", wildcards.batch),
        rows=lambda wildcards: raw_rows(wildcards.batch, "files", "axes", "pixel_um", "frame_s"),
        settings=effective(config, "ingest"),
    script:
        "../scripts/ingest.py"
