rule track:
    """Track the objects of batch {wildcards.batch} through time, and find divisions."""
    input:
        labels=ancient_inputs("track", "results/labels/{batch}"),
        images=ancient_inputs("track", "results/images/{batch}"),
        objects=ancient_inputs("track", "results/objects/{batch}.parquet"),
        rerun_if=rerun_if("track"),
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
        mem_mb=RESOURCES.memory_mb(2500, 2),
        runtime=RESOURCES.minutes(15, 0.1),
    params:
        provenance=provenance_of("track"),
        record=record_of("track"),
        regions=lambda wildcards: PROJECT.regions(wildcards.batch),
        settings=config["track"],
    script:
        "../scripts/track.py"
