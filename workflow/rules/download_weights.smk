# Compute nodes of a cluster often have no internet, so this runs where Snakemake was started.
localrules:
    download_weights,


rule download_weights:
    """Download the ImageNet weights of the backbone {wildcards.backbone}."""
    input:
        rerun_if=rerun_if("download_weights"),
    output:
        weights=directory("resources/weights/{backbone}"),
        provenance="results/provenance/download_weights/{backbone}.json",
    log:
        "logs/download_weights/{backbone}.log",
    benchmark:
        "benchmarks/download_weights/{backbone}.tsv"
    conda:
        "../../envs/network.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 3000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        provenance=provenance_of("download_weights"),
        record=record_of("download_weights"),
    script:
        "../scripts/download_weights.py"
