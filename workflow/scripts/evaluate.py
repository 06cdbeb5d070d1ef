"""Score labels against truth, and draw both.

Reads results/labels/{batch}, results/images/{batch} and results/truth/{batch}: stores (t, c, z, y, x), the labels int32
instances or uint8 classes. Writes results/metrics/{batch}.tsv, a row for each image, and
results/pictures/{batch}/{image}/ (see lib/pictures.py).
"""

import shutil
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from lib.batches import find_stores
from lib.errors import InputError
from lib.jobs import running
from lib.metrics import (
    add_counts,
    class_counts,
    class_scores,
    class_shares,
    count_overlaps,
    instance_counts,
    instance_scores,
    object_areas,
    overlaps_by_plane,
)
from lib.pictures import draw_pictures
from lib.splits import PREDICT
from lib.stores import open_array, read_metadata


def worst_frame(scores, frames):
    """(t, score) of the lowest of scores {t: score or NaN}; where none is a number, a middle frame and None."""
    known = {t: score for t, score in scores.items() if not np.isnan(score)}
    worst = min(known, key=known.get, default=None)
    candidates = list(scores) or range(frames)
    return (candidates[len(candidates) // 2], None) if worst is None else (worst, known[worst])


def evaluate_image(labels, truth, *, task, classes, ious):
    """Score the labels of an image, plane by plane: labels of a z-stack have ids of their own in each plane.

    Args:
        labels, truth: paths of stores; truth is None where there is none.
        task: "instances" or "semantic".
        classes: names of classes, background first.
        ious: thresholds for instances.

    Returns:
        (row of the table without names, {t: score} of each annotated frame).

    Raises:
        InputError: truth and labels differ in shape, or hold what is no class.
    """
    found = open_array(labels)
    reference, annotated = None, ()
    if truth is not None:
        reference = open_array(truth)
        annotated = read_metadata(truth).extra.get("annotated_t", range(found.shape[0]))
        if reference.shape != found.shape:
            raise InputError(
                f"{truth}: has shape {reference.shape}, {labels} has {found.shape}; remove the older batch folder"
            )
    if task == "instances":
        count, score = partial(instance_counts, ious=ious), partial(instance_scores, ious=ious)
        measure, headline = object_areas, "ap_50"
    else:
        count, score = partial(class_counts, classes=classes), partial(class_scores, classes=classes)
        measure, headline = partial(class_shares, classes=classes), "iou_mean"
    measures, planes = [], defaultdict(list)
    try:
        for t, overlaps in overlaps_by_plane(found, reference):
            measures.append(measure(overlaps))
            if t in annotated:
                planes[t].append(count(overlaps))
    except InputError as error:
        raise InputError(f"{labels}{f', {truth}' if truth else ''}: {error}") from error
    counts = {t: add_counts(each) for t, each in planes.items()}
    total = add_counts(counts.values())
    row = {"frames": found.shape[0], "frames_scored": len(counts)}
    if task == "instances":
        areas = np.concatenate(measures)
        row["objects_truth"] = total["tp_50"] + total["fn_50"] if counts else None
        row["objects_found"] = len(areas)
        row["area_px_median"] = float(np.median(areas)) if len(areas) else None
    else:
        row |= {f"share_{name}": share for name, share in zip(classes, np.mean(measures, axis=0), strict=True)}
    nothing = count(count_overlaps([]))
    row |= score(total or nothing)
    row |= total or dict.fromkeys(nothing)
    return row, {t: score(frame)[headline] for t, frame in counts.items()}


def evaluate(labels, images, truth, *, recipes, sides, annotated, metrics, pictures, task, classes, ious):
    """Score and draw every image of a batch.

    Args:
        labels, images: folders of the batch.
        truth: folders of the batch's truth, none or one.
        recipes: {image: digest}, kept in the table.
        sides: {image: side of the split}.
        annotated: the images that have a truth.
        metrics: the table to write, a row for each image that was not set aside.
        pictures: the folder to write, a folder in it for each of those.
        task, classes, ious: see `evaluate_image`.
    """
    stores = find_stores([images], recipes)
    found = find_stores([labels], stores)
    true = find_stores(truth, [image for image in found if image in annotated and sides[image] != PREDICT])
    rows = []
    # A job that outlived its Snakemake may have left some.
    shutil.rmtree(pictures, ignore_errors=True)
    Path(pictures).mkdir(parents=True)
    for number, image in enumerate(found, start=1):
        row, scores = evaluate_image(found[image], true.get(image), task=task, classes=classes, ious=ious)
        t, score = worst_frame(scores, row["frames"])
        draw_pictures(
            Path(pictures) / image,
            image=stores[image],
            labels=found[image],
            truth=true.get(image),
            t=t,
            score=score,
            classes=classes if task == "semantic" else (),
        )
        rows.append({"image": image, "batch": Path(metrics).stem, "split": sides[image]} | row)
        rows[-1]["recipe"] = recipes[image]
        print(f"[{number}/{len(found)}] {image}" + (f": {score:.3f}" if score is not None else ""), flush=True)
    table = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["image", "batch", "split", "recipe"])
    table.convert_dtypes().to_csv(metrics, sep="\t", index=False, float_format="%.8g")


if __name__ == "__main__":
    with running(snakemake):
        evaluate(
            labels=snakemake.input.labels,
            images=snakemake.input.images,
            truth=snakemake.input.truth,
            recipes=snakemake.params.recipes,
            sides=snakemake.params.sides,
            annotated=set(snakemake.params.annotated),
            metrics=snakemake.output.metrics,
            pictures=snakemake.output.pictures,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            **snakemake.params.settings,
        )
