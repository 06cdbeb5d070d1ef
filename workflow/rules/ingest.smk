"""Raw files and annotations become OME-Zarr."""


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


rule annotate:
    """Turn the annotations of batch {wildcards.batch} into OME-Zarr labels that fit their images."""
    input:
        images=reads("annotate", "results/images/{batch}"),
        simulated=lambda wildcards: ancient(simulated_files(wildcards.batch, "truth_files")),
        renewed=lambda wildcards: PRODUCTS.renewed("annotate", wildcards.batch),
    output:
        truth=directory("results/truth/{batch}"),
        recipe="results/recipes/annotate/{batch}.json",
    log:
        "logs/annotate/{batch}.log",
    benchmark:
        "benchmarks/annotate/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory_mb(1500, 2),
        runtime=minutes(10, 0.02),
    params:
        recipes=lambda wildcards: recipe_of("annotate", wildcards.batch),
        rows=lambda wildcards: raw_rows(wildcards.batch, "truth_files", "files", "axes"),
        looks=lambda wildcards: looks_of(wildcards.batch),
        task=config["task"],
        classes=config["classes"],
        settings=config["annotate"],
    script:
        "../scripts/annotate.py"
