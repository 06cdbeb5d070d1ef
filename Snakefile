"""Tessera: from microscopy files to segmentations, measurements and a report."""

from snakemake.utils import min_version

min_version("9.27")

# With --configfile the user's own file stands alone: what it leaves out has the default of the schema.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


onstart:
    start_run()


onsuccess:
    end_run()


rule all:
    """Everything: labels, objects and tracks of every batch, the metrics and the report."""
    input:
        labels=expand("results/labels/{batch}", batch=PROJECT.batches),
        objects=expand("results/objects/{batch}.parquet", batch=PROJECT.batches),
        # Classes of pixels are not followed through time.
        tracks=expand(
            ["results/tracks/{batch}", "results/tracked/{batch}.parquet"],
            batch=PROJECT.batches if config["task"] == "instances" else [],
        ),
        metrics="results/metrics.tsv",
        report="results/report.html",


include: "workflow/rules/simulate.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/ingest_truth.smk"


if PROJECT.masks_given:

    include: "workflow/rules/import_masks.smk"

else:

    include: "workflow/rules/split.smk"
    include: "workflow/rules/augment.smk"
    include: "workflow/rules/download_weights.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/select_model.smk"
    include: "workflow/rules/explain.smk"
    include: "workflow/rules/predict.smk"

    if "estimate_scale" in PLANNER.steps:

        include: "workflow/rules/estimate_scale.smk"
    include: "workflow/rules/segment.smk"


include: "workflow/rules/track.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
