"""Scores of the pipeline on real images. Each network trains for the time that the settings of its data set give."""

import argparse
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import yaml
from figures import Figures

BENCH = Path(__file__).resolve().parent
FOLDERS = {"yeast": "yeast-ac295", "nuclei": "nuclei-dsb2018", "phase": "phase-usiigaci"}


def run_dataset(name, data, trained):
    """Run the pipeline on a data set.

    Args:
        name: name of the data set.
        data: folder with all data sets.
        trained: use the model of an earlier run.

    Returns:
        The settings; the metrics, a row per test image.
    """
    earlier = BENCH / "work" / name
    work = earlier.with_name(f"{name}-trained") if trained else earlier
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    dataset = importlib.import_module(f"datasets.{name}")
    lines = [dataset.COLUMNS, *dataset.rows(data / FOLDERS[name])]
    (work / "images.tsv").write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    settings = {"images": "images.tsv"} | yaml.safe_load((BENCH / "datasets" / f"{name}.yaml").read_text())
    settings |= {"model": str(earlier / "results" / "models" / "fold1")} if trained else {}
    (work / "config.yaml").write_text(yaml.safe_dump(settings))
    snakemake(work)
    metrics = pandas.read_csv(work / "results" / "metrics.tsv", sep="\t", dtype={"image": str})
    split = pandas.read_csv(earlier / "results" / "split.tsv", sep="\t", dtype={"image": str})
    return settings, metrics[metrics["image"].isin(split["image"][split["split"] == "test"])]


def snakemake(work, *targets):
    """Run the pipeline in the folder `work`, with the file config.yaml in it."""
    command = [Path(sys.executable).with_name("snakemake"), *targets, "--snakefile", BENCH.parent / "Snakefile"]
    subprocess.run([*command, "--directory", work, "--configfile", work / "config.yaml"], check=True)


def pooled_ap(metrics):
    """AP at IoU 0.5 over the objects of all images: TP / (TP + FP + FN)."""
    true, false, missed = metrics[["tp_50", "fp_50", "fn_50"]].sum()
    return true / (true + false + missed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--only", choices=FOLDERS, nargs="*", default=list(FOLDERS))
    parser.add_argument("--trained", action="store_true", help="use the models of an earlier run instead of training")
    arguments = parser.parse_args()
    figures = Figures("bench/accuracy.py --trained" if arguments.trained else "make bench-accuracy")
    for name in arguments.only:
        settings, tested = run_dataset(name, arguments.data.resolve(), arguments.trained)
        data = f"{name}: {len(tested)} test images, trained {settings['train']['max_minutes']} min"
        if settings["task"] == "semantic":
            for label in settings["classes"]:
                figures.add(f"IoU of {label}, mean over images", f"{tested[f'iou_{label}'].mean():.3f}", data=data)
            continue
        figures.add("AP at IoU 0.5, all objects", f"{pooled_ap(tested):.3f}", data=data)
        if tested["batch"].nunique() > 1:
            for batch, part in tested.groupby("batch"):
                figures.add(f"AP at IoU 0.5, {batch}", f"{pooled_ap(part):.3f}", data=f"{len(part)} of these")
    figures.finish()


if __name__ == "__main__":
    main()
