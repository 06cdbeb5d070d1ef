rule estimate_scale:
    """Estimate the diameter of objects in images that belong together."""
    input:
        images=ancient_inputs("estimate_scale", image_folders(PROJECT.scale_groups)),
        selected=ancient_inputs("estimate_scale", "results/selected.json"),
        converted=ancient_inputs("estimate_scale", "results/converted"),
        models=ancient_inputs("estimate_scale", list(PROJECT.model_folders.values())),
        rerun_if=rerun_if("estimate_scale"),
    output:
        scales="results/scales.json",
        provenance="results/provenance/estimate_scale.json",
    log:
        "logs/estimate_scale.log",
    benchmark:
        "benchmarks/estimate_scale.tsv"
    conda:
        "../../envs/network.yaml"
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 5000 * attempt,
        runtime=lambda wildcards, attempt: (15 + len(PROJECT.scale_groups) // 100) * attempt,
        gpu=int(config["predict"]["device"] == "gpu"),
        networks=int(config["predict"]["device"] != "cpu"),
    params:
        provenance=provenance_of("estimate_scale"),
        record=record_of("estimate_scale"),
        code=script_hash("estimate_scale.py"),
        groups={image: group for image, (group, _, _) in PROJECT.scale_groups.items()},
        regions={image: {"roi": roi, "frames": frames} for image, (_, roi, frames) in PROJECT.scale_groups.items()},
        settings=result_settings(config, "predict"),
    script:
        "../scripts/estimate_scale.py"
