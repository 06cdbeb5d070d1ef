"""How well labels agree with the truth: counts that add up over blocks, frames and images, and scores made of them."""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from tessera.common.constants import IGNORE, UNKNOWN
from tessera.common.errors import InputError
from tessera.io.ome_zarr_store import read_block
from tessera.io.pyramid import iterate_shards
from tessera.io.region_of_interest import clip_to_roi

SPLIT_PIECE = 0.1


class Overlaps(NamedTuple):
    """How many pixels carry each pair of labels; three arrays (pairs,)."""

    truth: np.ndarray
    found: np.ndarray
    pixels: np.ndarray


def count_overlaps(blocks):
    """The overlaps of truth and found labels over all blocks, in memory that grows with the pairs, not the pixels.

    Args:
        blocks: pairs of integer arrays (truth, found) of the same shape, any axes, labels from 0 to 2**31 - 1; truth
            may be UNKNOWN.

    Raises:
        InputError: the two arrays of a block differ in shape.
    """
    parts = [pd.Series(dtype="int64", index=pd.Index([], dtype="int64"))]
    for truth, found in blocks:
        if truth.shape != found.shape:
            raise InputError(f"truth has shape {truth.shape}, labels have {found.shape}; they must be of one image")
        keys = truth.astype(np.int64).ravel() << 32 | found.astype(np.int64).ravel()
        parts.append(pd.Series(keys).value_counts(sort=False))
    total = pd.concat(parts).groupby(level=0).sum()
    keys = total.index.to_numpy()
    return Overlaps(keys >> 32, keys & 0xFFFFFFFF, total.to_numpy())


def overlaps_by_frame(found, truth=None, *, roi=None, frames=None):
    """Yield (t, overlaps) of each frame of two arrays (t, 1, z, y, x), with a shard of each in memory at a time.

    The planes of a stack count together, since objects go through them. Without truth, all of it counts as background.
    Where a region of interest (y0, y1, x0, x1) or frames are given, nothing else counts.
    """
    for t, regions in itertools.groupby(iterate_shards(found), key=lambda at: at[0].start):
        if frames is not None and t not in frames:
            continue
        parts = ((*region[:3], clip_to_roi(roi, region[3:])) for region in regions)
        regions = ((*lead, *part) for *lead, part in parts if part)
        blocks = ((region, read_block(found, region)) for region in regions)
        yield (
            t,
            count_overlaps(
                (np.zeros_like(block) if truth is None else read_block(truth, at), block) for at, block in blocks
            ),
        )


def percent(iou):
    """The two digits that name an IoU in a column: 0.5 is "50"."""
    return f"{round(100 * iou):02d}"


def instance_counts(overlaps, ious):
    """What one frame adds to the scores of instances; every value adds up over frames and images.

    Objects are matched one to one at an IoU of at least the threshold, as many as possible. The Jaccard index of the
    Cell Tracking Challenge's SEG is summed in `seg_sum`, the IoU of matches above 0.5 in `iou_sum`. A truth object is
    *split* when two or more found objects lie mostly inside it (more than half of their pixels) and each covers at
    least a tenth of it. A found object is a *merge* when two or more truth objects lie mostly inside it.

    Pixels whose truth is UNKNOWN are not counted. A found object with more than half of its pixels there is left out,
    neither right nor wrong, unless what is known of it has an IoU of at least 0.5 with a truth object: the rule for
    void regions of Kirillov et al. 2019 (https://arxiv.org/abs/1801.00868, section 4), as of Cityscapes.

    Args:
        overlaps: of the frame's instance ids, 0 is background.
        ious: thresholds; 0.5 is always added.

    Returns:
        {name: number}: pixels, pixels_right, foreground_both, foreground_either, tp_50 and so on, fp_50, fn_50,
        iou_sum, seg_sum, splits, merges.
    """
    whole_areas = _areas(overlaps.found, overlaps)
    known = overlaps.truth != UNKNOWN
    overlaps = Overlaps(*(column[known] for column in overlaps))
    truth_areas, found_areas = _areas(overlaps.truth, overlaps), _areas(overlaps.found, overlaps)
    both = (overlaps.truth > 0) & (overlaps.found > 0)
    foreground = overlaps.pixels[both].sum()
    neither = overlaps.pixels[(overlaps.truth == 0) & (overlaps.found == 0)].sum()
    pixels, rows, columns = overlaps.pixels[both], overlaps.truth[both], overlaps.found[both]
    of_truth = truth_areas.loc[rows].to_numpy()
    of_found = found_areas.loc[columns].to_numpy()
    jaccard = pixels / (of_truth + of_found - pixels)
    mostly_known = 2 * found_areas >= whole_areas.loc[found_areas.index]
    found_areas = found_areas[mostly_known | found_areas.index.isin(columns[jaccard >= 0.5])]
    judged = np.isin(columns, found_areas.index)
    pixels, rows, columns, jaccard, of_truth, of_found = (
        column[judged] for column in (pixels, rows, columns, jaccard, of_truth, of_found)
    )
    inside_truth = (2 * pixels > of_found) & (pixels >= SPLIT_PIECE * of_truth)
    inside_found = 2 * pixels > of_truth
    counts = {
        "pixels": overlaps.pixels.sum(),
        "pixels_right": foreground + neither,
        "foreground_both": foreground,
        "foreground_either": overlaps.pixels.sum() - neither,
        "iou_sum": jaccard[jaccard > 0.5].sum(),
        "seg_sum": jaccard[inside_found].sum(),
        "splits": _repeated(rows[inside_truth]),
        "merges": _repeated(columns[inside_found]),
    }
    for iou in sorted({0.5, *ious}):
        counts[f"tp_{percent(iou)}"] = _matches(rows[jaccard >= iou], columns[jaccard >= iou])
    counts["fp_50"] = len(found_areas) - counts["tp_50"]
    counts["fn_50"] = len(truth_areas) - counts["tp_50"]
    return {name: value.item() if hasattr(value, "item") else value for name, value in counts.items()}


def instance_scores(counts, ious):
    """Scores of instances from (sums of) `instance_counts`; NaN where there is nothing to score.

    AP at an IoU is TP / (TP + FP + FN), as in the 2018 Data Science Bowl. Panoptic quality is the summed IoU of the
    matches above 0.5 over TP + FP / 2 + FN / 2 (Kirillov et al. 2019, https://arxiv.org/abs/1801.00868). SEG is the
    mean over truth objects of their Jaccard index with the found object that covers more than half of them, else 0
    (Ulman et al. 2017, https://doi.org/10.1038/nmeth.4473).
    """
    truth, found = counts["tp_50"] + counts["fn_50"], counts["tp_50"] + counts["fp_50"]
    scores = {
        "pixel_accuracy": _ratio(counts["pixels_right"], counts["pixels"]),
        "foreground_iou": _ratio(counts["foreground_both"], counts["foreground_either"]),
    }
    for iou in sorted({0.5, *ious}):
        matched = counts[f"tp_{percent(iou)}"]
        scores[f"ap_{percent(iou)}"] = _ratio(matched, truth + found - matched)
    scores["ap_mean"] = float(np.mean([scores[f"ap_{percent(iou)}"] for iou in ious]))
    scores["panoptic_quality"] = _ratio(2 * counts["iou_sum"], truth + found)
    scores["seg"] = _ratio(counts["seg_sum"], truth)
    return scores


def class_counts(overlaps, classes):
    """What one frame adds to the scores of classes: tp_, fp_ and fn_ pixels of each class; they add up.

    Pixels whose truth is IGNORE are not counted.

    Raises:
        InputError: a label is no number of a class.
    """
    known = overlaps.truth != IGNORE
    truth, found, pixels = (column[known] for column in overlaps)
    beyond = [int(value) for value in np.union1d(truth, found) if value >= len(classes)]
    if beyond:
        raise InputError(f"labels {beyond} are no classes: there are {len(classes)} ({', '.join(classes)}), from 0")
    confusion = coo_array((pixels, (truth, found)), shape=(len(classes), len(classes))).toarray()
    right = np.diag(confusion)
    counts = {"pixels": int(confusion.sum()), "pixels_right": int(right.sum())}
    for number, name in enumerate(classes):
        counts[f"tp_{name}"] = int(right[number])
        counts[f"fp_{name}"] = int(confusion[:, number].sum() - right[number])
        counts[f"fn_{name}"] = int(confusion[number].sum() - right[number])
    return counts


def class_scores(counts, classes):
    """Scores of classes from (sums of) `class_counts`; NaN where a class is in neither truth nor labels.

    `iou_mean` is the mean over the classes but the first, the background, of those that are there.
    """
    scores = {"pixel_accuracy": _ratio(counts["pixels_right"], counts["pixels"])}
    for name in classes:
        tp, fp, fn = (counts[f"{kind}_{name}"] for kind in ("tp", "fp", "fn"))
        absent = tp + fp + fn == 0
        scores[f"precision_{name}"] = np.nan if absent else tp / max(1, tp + fp)
        scores[f"recall_{name}"] = np.nan if absent else tp / max(1, tp + fn)
        scores[f"iou_{name}"] = _ratio(tp, tp + fp + fn)
        scores[f"dice_{name}"] = _ratio(2 * tp, 2 * tp + fp + fn)
    present = [scores[f"iou_{name}"] for name in classes[1:] if not np.isnan(scores[f"iou_{name}"])]
    scores["iou_mean"] = float(np.mean(present)) if present else np.nan
    return scores


def add_counts(counts):
    """The sum of dictionaries of counts that have the same keys; {} of none."""
    counts = list(counts)
    return {name: sum(each[name] for each in counts) for name in counts[0]} if counts else {}


def object_areas(overlaps):
    """Areas (objects,) in pixels of the found objects."""
    return _areas(overlaps.found, overlaps).to_numpy()


def class_shares(overlaps, classes):
    """Shares (classes,) of the pixels that each class was given."""
    shares = np.bincount(overlaps.found, weights=overlaps.pixels, minlength=len(classes))[: len(classes)]
    return shares / shares.sum()


def _areas(labels, overlaps):
    areas = pd.Series(overlaps.pixels).groupby(labels).sum()
    return areas[areas.index > 0]


def _repeated(labels):
    return (np.unique(labels, return_counts=True)[1] > 1).sum()


def _matches(rows, columns):
    """How many pairs can be matched one to one; at IoUs of 0.5 and less, one object may have several candidates."""
    if len(rows) == 0:
        return 0
    rows, columns = (np.unique(labels, return_inverse=True)[1] for labels in (rows, columns))
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns))).tocsr()
    return (maximum_bipartite_matching(graph) >= 0).sum()


def _ratio(part, whole):
    return part / whole if whole else np.nan
