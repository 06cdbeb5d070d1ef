rule simulate:
    """Simulate the movie {wildcards.movie} of dividing cells, with its ground truth."""
    output:
        movie="resources/demo/{movie}.ome.tif",
        truth=directory("resources/demo/{movie}_truth"),
        provenance="results/provenance/simulate/{movie}.json",
    log:
        "logs/simulate/{movie}.log",
    benchmark:
        "benchmarks/simulate/{movie}.tsv"
    conda:
        "../../envs/images.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        provenance=provenance_of("simulate"),
        record=record_of("simulate"),
        settings=lambda wildcards: PROJECT.movies[wildcards.movie],
    script:
        "../scripts/simulate.py"
