"""Scores: what the metrics say of one image, frame by frame and as a whole."""

from functools import partial
from pathlib import Path

import numpy as np

from tessera.common.errors import InputError
from tessera.evaluation.segmentation_metrics import (
    add_counts,
    class_counts,
    class_scores,
    class_shares,
    count_overlaps,
    instance_counts,
    instance_scores,
    object_areas,
    overlaps_by_frame,
)
from tessera.io.ome_zarr_store import open_array, read_metadata
from tessera.io.region_of_interest import select_frames


def worst_frame(scores):
    """(t, score) of the lowest of scores {t: score or NaN}; where none is a number, a middle frame and None."""
    known = {t: score for t, score in scores.items() if not np.isnan(score)}
    worst = min(known, key=known.get, default=None)
    return (list(scores)[len(scores) // 2], None) if worst is None else (worst, known[worst])


def score_image(labels, truth, *, task, classes, iou_thresholds, roi=None, frames=None):
    """Score the labels of an image, frame by frame; an object of a stack is one through all planes.

    Args:
        labels, truth: paths of stores; truth is None where there is none.
        task: "instances" or "semantic".
        classes: names of classes, background first.
        iou_thresholds: thresholds for instances.
        roi, frames: what was looked at, see `tessera.io.region_of_interest`; nothing else counts.

    Returns:
        (row of the table without names, {t: score, NaN without truth} of each annotated or else chosen frame).

    Raises:
        InputError: truth and labels differ in shape, or hold what is no class.
    """
    found = open_array(labels)
    chosen = select_frames(Path(labels).name, frames, found.shape[0])
    reference, annotated = None, ()
    if truth is not None:
        reference = open_array(truth)
        annotated = read_metadata(truth).extra.get("annotated_t", range(found.shape[0]))
        if reference.shape != found.shape:
            raise InputError(
                f"{truth}: has shape {reference.shape}, {labels} has {found.shape}; remove the older batch folder"
            )
    if task == "instances":
        count, score = partial(instance_counts, ious=iou_thresholds), partial(instance_scores, ious=iou_thresholds)
        measure, headline = object_areas, "ap_50"
    else:
        count, score = partial(class_counts, classes=classes), partial(class_scores, classes=classes)
        measure, headline = partial(class_shares, classes=classes), "iou_mean"
    measures, counts = [], {}
    try:
        for t, overlaps in overlaps_by_frame(found, reference, roi=roi, frames=set(chosen)):
            measures.append(measure(overlaps))
            if t in annotated:
                counts[t] = count(overlaps)
    except InputError as error:
        raise InputError(f"{labels}{f', {truth}' if truth else ''}: {error}") from error
    total = add_counts(counts.values())
    row = {"frames": len(chosen), "frames_scored": len(counts)}
    if task == "instances":
        areas = np.concatenate(measures)
        row["objects_truth"] = total["tp_50"] + total["fn_50"] if counts else None
        row["objects_found"] = len(areas)
        flat = found.shape[2] == 1
        row["area_px_median"] = float(np.median(areas)) if len(areas) and flat else None
    else:
        row |= {f"share_{name}": share for name, share in zip(classes, np.mean(measures, axis=0), strict=True)}
    nothing = count(count_overlaps([]))
    row |= score(total or nothing)
    row |= total or dict.fromkeys(nothing)
    scores = {t: score(frame)[headline] for t, frame in counts.items()}
    return row, scores or dict.fromkeys(chosen, np.nan)
