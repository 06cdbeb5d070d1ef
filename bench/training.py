"""Yeast: the effect of the loss, deep supervision and the architecture on the IoU of mothers and daughters.

Networks train from scratch. The split is by position (see datasets/yeast.py): 8 images of three positions train, 2 of
one position validate, 3 of two positions test. All variants see the same patches for the same number of epochs. The
epoch with the highest validation IoU counts, because losses of variants cannot be compared. One run of the pipeline
sweeps over variants and seeds. Then one run for each model applies it to the test images. Finished steps are not
repeated.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

import pandas
import yaml
from accuracy import FOLDERS, snakemake
from datasets import yeast
from figures import RESULTS, Figures

BENCH = Path(__file__).resolve().parent
VARIANTS = {
    "base": {"losses": {"dice": 1.0, "cross_entropy": 1.0}},
    "dice": {"losses": {"dice": 1.0}},
    "cross-entropy": {"losses": {"cross_entropy": 1.0}},
    "levels": {"deep_supervision": [0.5, 0.25]},
    "plain": {"architecture": "PlainUnet", "backbone": None, "width": 16},
}
NAMES = {
    "base": "Dice + cross-entropy, Unet/resnet18",
    "dice": "Dice alone, Unet/resnet18",
    "cross-entropy": "cross-entropy alone, Unet/resnet18",
    "levels": "deep supervision (0.5, 0.25), Dice + cross-entropy, Unet/resnet18",
    "plain": "plain U-Net (16 filters, 4 levels), Dice + cross-entropy",
}
PAIRS = (("dice", "cross-entropy"), ("base", "dice"), ("base", "cross-entropy"), ("levels", "base"), ("plain", "base"))


def train_all(work, data, seeds, epochs, patches, patch_size_px):
    """Train all variants, and return {(variant, seed): folder of the model}."""
    settings = yaml.safe_load((BENCH / "datasets" / "yeast.yaml").read_text())
    settings["augment"] |= {"n_patches": patches, "patch_size_px": patch_size_px}
    settings["train"] = {"epochs": epochs, "patience": epochs, "monitor": "val_iou", "batch_size": 4}
    settings["sweep"] = {"design": VARIANTS, "seed": seeds}
    write_project(work, settings, yeast.rows(data))
    snakemake(work, "results/selected.json")
    folders = {}
    for path in sorted((work / "results" / "models").glob("*/model.json")):
        trained = json.loads(path.read_text())["settings"]
        for variant, own in VARIANTS.items():
            for seed in seeds:
                if path.parent.name.startswith(f"design~{variant}_seed~{seed}_"):
                    assert trained | own | {"seed": seed} == trained, (
                        f"{path}: its settings are not those of this variant"
                    )
                    folders[variant, seed] = path.parent
    return folders


def test(work, data, model):
    """Apply a model to the test images, and return their metrics, one row per image."""
    settings = {
        key: yaml.safe_load((BENCH / "datasets" / "yeast.yaml").read_text())[key] for key in ("task", "classes")
    }
    rows = [row for row in yeast.rows(data) if row[-1] == "test"]
    write_project(work, settings | {"model": os.path.relpath(model, work)}, rows)
    snakemake(work, "results/metrics.tsv")
    return pandas.read_csv(work / "results" / "metrics.tsv", sep="\t", dtype={"image": str})


def write_project(work, settings, rows):
    work.mkdir(parents=True, exist_ok=True)
    lines = [yeast.COLUMNS, *rows]
    (work / "images.tsv").write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    (work / "config.yaml").write_text(yaml.safe_dump({"images": "images.tsv"} | settings))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with yeast-ac295")
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings of each variant")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="try it with one seed and one epoch; records nothing")
    arguments = parser.parse_args()
    images = arguments.data.resolve() / FOLDERS["yeast"]
    work = BENCH / "work" / ("training-quick" if arguments.quick else "training")
    seeds, epochs, patches, patch_size_px = list(range(arguments.seeds)), arguments.epochs, 96, 128
    if arguments.quick:
        seeds, epochs, patches, patch_size_px = [0], 1, 16, 96
    folders = train_all(work / "trained", images, seeds, epochs, patches, patch_size_px)
    scores = {
        (variant, seed): test(work / "tested" / f"{variant}-{seed}", images, model)
        for (variant, seed), model in folders.items()
    }
    figures = Figures("make bench-training", Path(os.devnull) if arguments.quick else RESULTS)
    length = f"{epochs} epochs of {patches} patches of {patch_size_px}²"
    data = f"yeast, 3 test images of 2 positions, {len(seeds)} seeds, {length}"
    record(scores, seeds, data, figures)
    figures.finish()


def record(scores, seeds, data, figures):
    """Add the mean over test images and seeds of each variant, and its gain over another variant for equal seeds."""
    means = {key: table["iou_mean"].mean() for key, table in scores.items()}
    for variant, name in NAMES.items():
        each = [means[variant, seed] for seed in seeds]
        classes = {
            label: statistics.mean(scores[variant, seed][f"iou_{label}"].mean() for seed in seeds)
            for label in ("mother", "daughter")
        }
        of_classes = ", ".join(f"{label} {value:.3f}" for label, value in classes.items())
        figures.add(f"foreground IoU: {name}", summary(each), data=f"{data}; {of_classes}")
    for variant, other in PAIRS:
        gains = [means[variant, seed] - means[other, seed] for seed in seeds]
        figures.add(f"foreground IoU, ahead: {NAMES[variant]}; of: {NAMES[other]}", summary(gains, "+"), data=data)


def summary(values, sign=""):
    """Mean, standard deviation (of several values), and the values themselves."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    listed = ", ".join(f"{value:{sign}.3f}" for value in values)
    return f"{statistics.mean(values):{sign}.3f}{spread} ({listed})"


if __name__ == "__main__":
    main()
