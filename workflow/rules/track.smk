rule track:
    """Link the objects of the movies of batch {wildcards.batch} through time, and find which divide."""
    input:
        labels=reads("track", "results/labels/{batch}"),
        images=reads("track", "results/images/{batch}"),
        objects=reads("track", "results/objects/{batch}.parquet"),
        rerun_if=lambda wildcards: PRODUCTS.rerun_if("track", wildcards.batch),
    output:
        tracks=directory("results/tracks/{batch}"),
        objects="results/tracked/{batch}.parquet",
        provenance="results/provenance/track/{batch}.json",
    log:
        "logs/track/{batch}.log",
    benchmark:
        "benchmarks/track/{batch}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=memory_mb(2500, 2),
        runtime=minutes(15, 0.1),
    params:
        provenance=lambda wildcards: provenance_of("track", wildcards.batch),
        regions=lambda wildcards: regions_of(wildcards.batch),
        settings=config["track"],
    script:
        "../scripts/track.py"
