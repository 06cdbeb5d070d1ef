"""Metrics of labels against ground truth: the scores of an image, and of many images together.

Everything starts from `Overlaps`, the number of pixels that carry each pair of labels. `instance_counts` and
`class_counts` turn the overlaps of a frame into counts that add up over frames and images; `instance_scores` and
`class_scores` turn counts, or sums of them, into scores. `score_image` makes the row of an image in
results/metrics/{batch}.tsv from both.

To add a column to that table, add a count or a score to these functions. `tessera.report.report_tables.columns_of`
decides which columns the report shows, and docs/outputs.md describes all of them.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from tessera.common.constants import IGNORE, UNKNOWN
from tessera.common.errors import InputError
from tessera.io.ome_zarr_store import open_array, read_block, read_metadata
from tessera.io.region_of_interest import clip_to_roi, select_frames
from tessera.io.shards import iterate_blocks

MIN_SPLIT_FRACTION = 0.1  # of an object's area: a smaller piece does not make it a split

Counts: TypeAlias = dict[str, Any]  # {name: number}; counts of the same names add up
Scores: TypeAlias = dict[str, float]  # {name: score}; NaN where there is nothing to score
Roi: TypeAlias = tuple[int, int, int, int]  # y0, y1, x0, x1


class Overlaps(NamedTuple):
    """Number of pixels that carry each pair of labels.

    Attributes:
        truth: labels of the ground truth (pairs,).
        labels: labels to score (pairs,).
        pixels: number of pixels of each pair (pairs,).
    """

    truth: NDArray[np.int64]
    labels: NDArray[np.int64]
    pixels: NDArray[np.int64]


class ImageScores(NamedTuple):
    """Scores of an image.

    Attributes:
        row: columns of the table of metrics.
        by_frame: {t: score in the metrics' headline}; NaN where there is no ground truth.
    """

    row: dict[str, Any]
    by_frame: dict[int, float]


@dataclass(frozen=True)
class InstanceMetrics:
    """Metrics of `task: instances`.

    Attributes:
        ious: thresholds on the intersection over union (IoU).
    """

    ious: Sequence[float]
    task: ClassVar[str] = "instances"
    headline: ClassVar[str] = "ap_50"

    def count(self, overlaps: Overlaps) -> Counts:
        return instance_counts(overlaps, self.ious)

    def score(self, counts: Counts) -> Scores:
        return instance_scores(counts, self.ious)

    def measure(self, overlaps: Overlaps) -> NDArray[Any]:
        """Areas (objects,) of the objects of a frame."""
        return object_areas(overlaps)

    def describe(self, areas: Sequence[NDArray[Any]], counts: Counts, flat: bool) -> dict[str, Any]:
        """Numbers of objects of an image and, if it is `flat` (one plane), the median of their areas.

        Args:
            areas: `measure` of each frame.
            counts: summed `count` of the frames with ground truth; empty without any.
            flat: whether the image has a single plane.
        """
        pooled = np.concatenate(areas)
        return {
            "objects_truth": counts["tp_50"] + counts["fn_50"] if counts else None,
            "objects_found": len(pooled),
            "area_px_median": float(np.median(pooled)) if len(pooled) and flat else None,
        }


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of `task: semantic`.

    Attributes:
        classes: names of the classes, background first.
    """

    classes: Sequence[str]
    task: ClassVar[str] = "semantic"
    headline: ClassVar[str] = "iou_mean"

    def count(self, overlaps: Overlaps) -> Counts:
        return class_counts(overlaps, self.classes)

    def score(self, counts: Counts) -> Scores:
        return class_scores(counts, self.classes)

    def measure(self, overlaps: Overlaps) -> NDArray[Any]:
        """Fraction (classes,) of the pixels of a frame in each class."""
        return class_shares(overlaps, self.classes)

    def describe(self, shares: Sequence[NDArray[Any]], counts: Counts, flat: bool) -> dict[str, Any]:
        """Mean fraction of the pixels in each class over the frames, from `measure` of each frame."""
        means = np.mean(shares, axis=0)
        return {f"share_{name}": share for name, share in zip(self.classes, means, strict=True)}


Metrics: TypeAlias = InstanceMetrics | ClassMetrics


def choose_metrics(task: str, classes: Sequence[str], ious: Sequence[float]) -> Metrics:
    """The metrics of a task.

    Args:
        task: "instances" or "semantic".
        classes: names of the classes, background first; for the semantic task.
        ious: IoU thresholds; for instances.
    """
    return InstanceMetrics(tuple(ious)) if task == "instances" else ClassMetrics(tuple(classes))


def score_image(
    labels: Path, truth: Path | None, metrics: Metrics, *, roi: Roi | None = None, frames: str | None = None
) -> ImageScores:
    """Score the labels of an image frame by frame. An object of a z-stack is one object through all of its planes.

    Args:
        labels: store (t, c, z, y, x) of the labels.
        truth: store of the ground truth, of the same shape; None if there is none.
        metrics: metrics of the task.
        roi: region of interest (y0, y1, x0, x1); pixels outside it do not count.
        frames: frames that were predicted, see `tessera.io.region_of_interest.select_frames`; others do not count.

    Raises:
        InputError: the two stores differ in shape, or a label is not a class.
    """
    array = open_array(labels)
    chosen = select_frames(Path(labels).name, frames, array.shape[0])
    reference, annotated = _open_truth(labels, truth)
    measures: list[NDArray[Any]] = []
    counts: dict[int, Counts] = {}
    try:
        for t, overlaps in overlaps_by_frame(array, reference, roi=roi, frames=set(chosen)):
            measures.append(metrics.measure(overlaps))
            if t in annotated:
                counts[t] = metrics.count(overlaps)
    except InputError as error:
        raise InputError(f"{labels}{f', {truth}' if truth else ''}: {error}") from error
    total = add_counts(counts.values())
    zeros = metrics.count(count_overlaps([]))
    row: dict[str, Any] = {"frames": len(chosen), "frames_scored": len(counts)}
    row |= metrics.describe(measures, total, flat=array.shape[2] == 1)
    row |= metrics.score(total or zeros)
    row |= total or dict.fromkeys(zeros)
    by_frame = {t: metrics.score(frame)[metrics.headline] for t, frame in counts.items()}
    return ImageScores(row, by_frame or dict.fromkeys(chosen, np.nan))


def _open_truth(labels: Path, truth: Path | None) -> tuple[Any, Collection[int]]:
    """The array of the ground truth, or None, and its annotated frames."""
    if truth is None:
        return None, ()
    shape, reference = open_array(labels).shape, open_array(truth)
    if reference.shape != shape:
        raise InputError(f"{truth}: has shape {reference.shape}, {labels} has {shape}; remove the older batch folder")
    return reference, read_metadata(truth).extra.get("annotated_t", range(shape[0]))


def worst_frame(by_frame: Mapping[int, float]) -> tuple[int, float | None]:
    """The frame with the lowest score, and that score; the middle frame and None if no frame has a score.

    Args:
        by_frame: {t: score, or NaN}.
    """
    scored = {t: score for t, score in by_frame.items() if not np.isnan(score)}
    if not scored:
        return list(by_frame)[len(by_frame) // 2], None
    worst = min(scored, key=lambda t: scored[t])
    return worst, scored[worst]


def count_overlaps(blocks: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> Overlaps:
    """The overlaps of ground truth and labels over all blocks. Memory grows with the pairs of labels, not the pixels.

    Args:
        blocks: pairs of integer arrays (truth, labels) of the same shape, any axes, with labels from 0 to 2**31 - 1;
            the ground truth may contain UNKNOWN.

    Raises:
        InputError: the two arrays of a block differ in shape.
    """
    parts = [pd.Series(dtype="int64", index=pd.Index([], dtype="int64"))]
    for truth, labels in blocks:
        if truth.shape != labels.shape:
            raise InputError(f"truth has shape {truth.shape}, labels have {labels.shape}; they must be of one image")
        keys = truth.astype(np.int64).ravel() << 32 | labels.astype(np.int64).ravel()
        parts.append(pd.Series(keys).value_counts(sort=False))
    total = pd.concat(parts).groupby(level=0).sum()
    keys = total.index.to_numpy()
    return Overlaps(keys >> 32, keys & 0xFFFFFFFF, total.to_numpy())


def overlaps_by_frame(
    labels: Any, truth: Any = None, *, roi: Roi | None = None, frames: Collection[int] | None = None
) -> Iterator[tuple[int, Overlaps]]:
    """Yield (t, overlaps) of each frame of two arrays (t, 1, z, y, x), with one block of each in memory at a time.

    The planes of a z-stack count together, since objects extend through them. Without ground truth, all of it counts as
    background. With a region of interest (y0, y1, x0, x1) or frames, nothing else counts.
    """
    for t, regions in itertools.groupby(iterate_blocks(labels), key=lambda region: region[0].start):
        if frames is not None and t not in frames:
            continue
        blocks = ((region, read_block(labels, region)) for region in _clip_regions(regions, roi))
        yield (
            t,
            count_overlaps(
                (np.zeros_like(block) if truth is None else read_block(truth, region), block)
                for region, block in blocks
            ),
        )


def _clip_regions(regions: Iterable[tuple[slice, ...]], roi: Roi | None) -> Iterator[tuple[slice, ...]]:
    """Yield the parts of regions, slices (t, c, z, y, x), that are within the region of interest."""
    for t, c, z, rows, columns in regions:
        clipped = clip_to_roi(roi, (rows, columns))
        if clipped is not None:
            yield (t, c, z, *clipped)


def percent(iou: float) -> str:
    """The two digits that stand for an IoU in the name of a column: 0.5 is "50"."""
    return f"{round(100 * iou):02d}"


def instance_counts(overlaps: Overlaps, ious: Iterable[float]) -> Counts:
    """Contribution of one frame to the scores of instances; contributions add up over frames and images.

    Objects are matched one to one at an IoU of at least the threshold, with as many matches as possible. `iou_sum` is
    the summed IoU of the matches above 0.5, `seg_sum` the summed Jaccard index of the Cell Tracking Challenge's SEG.
    A true object is a *split* when two or more labeled objects have more than half of their pixels inside it and each
    covers at least MIN_SPLIT_FRACTION of it. A labeled object is a *merge* when two or more true objects have more than
    half of their pixels inside it.

    Pixels whose truth is UNKNOWN do not count. A labeled object with more than half of its pixels there counts as
    neither correct nor wrong, unless its remaining part has an IoU of at least 0.5 with a true object: the rule for
    void regions of Kirillov et al. 2019 (https://arxiv.org/abs/1801.00868, section 4), as in Cityscapes.

    Args:
        overlaps: overlaps of the instance ids of a frame; 0 is background.
        ious: thresholds; 0.5 is always added.

    Returns:
        {name: number}: pixels, pixels_right, foreground_both, foreground_either, tp_50 etc., fp_50, fn_50, iou_sum,
        seg_sum, splits, merges.
    """
    whole_areas = _areas(overlaps.labels, overlaps)
    known = overlaps.truth != UNKNOWN
    overlaps = Overlaps(*(column[known] for column in overlaps))
    truth_areas, label_areas = _areas(overlaps.truth, overlaps), _areas(overlaps.labels, overlaps)
    both = (overlaps.truth > 0) & (overlaps.labels > 0)
    foreground = overlaps.pixels[both].sum()
    neither = overlaps.pixels[(overlaps.truth == 0) & (overlaps.labels == 0)].sum()
    pixels, truth_ids, label_ids = overlaps.pixels[both], overlaps.truth[both], overlaps.labels[both]
    truth_area = truth_areas.reindex(truth_ids).to_numpy()
    label_area = label_areas.reindex(label_ids).to_numpy()
    jaccard = pixels / (truth_area + label_area - pixels)
    mostly_known = 2 * label_areas >= whole_areas.loc[label_areas.index]
    label_areas = label_areas[mostly_known | label_areas.index.isin(label_ids[jaccard >= 0.5])]
    judged = np.isin(label_ids, label_areas.index)
    pixels, truth_ids, label_ids, jaccard, truth_area, label_area = (
        column[judged] for column in (pixels, truth_ids, label_ids, jaccard, truth_area, label_area)
    )
    inside_truth = (2 * pixels > label_area) & (pixels >= MIN_SPLIT_FRACTION * truth_area)
    inside_label = 2 * pixels > truth_area
    counts: Counts = {
        "pixels": overlaps.pixels.sum(),
        "pixels_right": foreground + neither,
        "foreground_both": foreground,
        "foreground_either": overlaps.pixels.sum() - neither,
        "iou_sum": jaccard[jaccard > 0.5].sum(),
        "seg_sum": jaccard[inside_label].sum(),
        "splits": _count_repeated(truth_ids[inside_truth]),
        "merges": _count_repeated(label_ids[inside_label]),
    }
    for iou in sorted({0.5, *ious}):
        counts[f"tp_{percent(iou)}"] = _count_matches(truth_ids[jaccard >= iou], label_ids[jaccard >= iou])
    counts["fp_50"] = len(label_areas) - counts["tp_50"]
    counts["fn_50"] = len(truth_areas) - counts["tp_50"]
    return {name: value.item() if hasattr(value, "item") else value for name, value in counts.items()}


def instance_scores(counts: Mapping[str, Any], ious: Sequence[float]) -> Scores:
    """Scores of instances from (sums of) `instance_counts`; NaN where there is nothing to score.

    AP at an IoU is TP / (TP + FP + FN), as in the 2018 Data Science Bowl. Panoptic quality is the summed IoU of the
    matches above 0.5 over TP + FP / 2 + FN / 2 (Kirillov et al. 2019, https://arxiv.org/abs/1801.00868). SEG is the
    mean over true objects of their Jaccard index with the labeled object that covers more than half of them, or 0
    (Ulman et al. 2017, https://doi.org/10.1038/nmeth.4473).

    Without true and labeled objects, AP, panoptic quality and the IoU of the foreground are 0 / 0. They are 1 then,
    since an empty result is right for an empty image, as in Metrics Reloaded (Maier-Hein et al. 2024,
    https://doi.org/10.1038/s41592-023-02151-z). If anything is found in an empty image, they are 0. SEG is a mean over
    true objects, so it is NaN without any.
    """
    n_truth, n_labels = counts["tp_50"] + counts["fn_50"], counts["tp_50"] + counts["fp_50"]
    empty = 1.0 if counts["pixels"] else np.nan  # the score of an empty result for an empty image
    scores = {
        "pixel_accuracy": _ratio(counts["pixels_right"], counts["pixels"]),
        "foreground_iou": _ratio(counts["foreground_both"], counts["foreground_either"], empty),
    }
    for iou in sorted({0.5, *ious}):
        matched = counts[f"tp_{percent(iou)}"]
        scores[f"ap_{percent(iou)}"] = _ratio(matched, n_truth + n_labels - matched, empty)
    scores["ap_mean"] = float(np.mean([scores[f"ap_{percent(iou)}"] for iou in ious]))
    scores["panoptic_quality"] = _ratio(2 * counts["iou_sum"], n_truth + n_labels, empty)
    scores["seg"] = _ratio(counts["seg_sum"], n_truth)
    return scores


def class_counts(overlaps: Overlaps, classes: Sequence[str]) -> Counts:
    """Contribution of one frame to the scores of classes: tp_, fp_ and fn_ pixels of each class; they add up.

    Pixels whose truth is IGNORE do not count.

    Raises:
        InputError: a label is not the number of a class.
    """
    known = overlaps.truth != IGNORE
    truth, labels, pixels = (column[known] for column in overlaps)
    beyond = [int(value) for value in np.union1d(truth, labels) if value >= len(classes)]
    if beyond:
        raise InputError(
            f"labels {beyond} are not classes; there are {len(classes)} classes, from 0 to {len(classes) - 1} "
            f"({', '.join(classes)})"
        )
    confusion = coo_array((pixels, (truth, labels)), shape=(len(classes), len(classes))).toarray()
    correct = np.diag(confusion)
    counts = {"pixels": int(confusion.sum()), "pixels_right": int(correct.sum())}
    for number, name in enumerate(classes):
        counts[f"tp_{name}"] = int(correct[number])
        counts[f"fp_{name}"] = int(confusion[:, number].sum() - correct[number])
        counts[f"fn_{name}"] = int(confusion[number].sum() - correct[number])
    return counts


def class_scores(counts: Mapping[str, Any], classes: Sequence[str]) -> Scores:
    """Scores of classes from (sums of) `class_counts`; NaN for a class that is in neither the truth nor the labels.

    `iou_mean` is the mean over the classes that occur, without the first class, the background. If none of them occurs
    in the truth or in the labels, it is 1, as for instances. Precision of a class that was not found, and recall of a
    class that is not there, are 0 if the class occurs in the other one, as in scikit-learn.
    """
    empty = 1.0 if counts["pixels"] else np.nan
    scores = {"pixel_accuracy": _ratio(counts["pixels_right"], counts["pixels"])}
    for name in classes:
        tp, fp, fn = (counts[f"{kind}_{name}"] for kind in ("tp", "fp", "fn"))
        absent = tp + fp + fn == 0
        scores[f"precision_{name}"] = np.nan if absent else tp / max(1, tp + fp)
        scores[f"recall_{name}"] = np.nan if absent else tp / max(1, tp + fn)
        scores[f"iou_{name}"] = _ratio(tp, tp + fp + fn)
        scores[f"dice_{name}"] = _ratio(2 * tp, 2 * tp + fp + fn)
    present = [scores[f"iou_{name}"] for name in classes[1:] if not np.isnan(scores[f"iou_{name}"])]
    scores["iou_mean"] = float(np.mean(present)) if present else empty
    return scores


def add_counts(counts: Iterable[Mapping[Any, Any]]) -> Counts:
    """The sum of dictionaries of counts with the same keys; {} if there are none."""
    counts = list(counts)
    return {name: sum(each[name] for each in counts) for name in counts[0]} if counts else {}


def object_areas(overlaps: Overlaps) -> NDArray[np.int64]:
    """Areas (objects,) in pixels of the labeled objects."""
    return _areas(overlaps.labels, overlaps).to_numpy()


def class_shares(overlaps: Overlaps, classes: Sequence[str]) -> NDArray[np.float64]:
    """Fraction (classes,) of the pixels labeled as each class."""
    shares = np.bincount(overlaps.labels, weights=overlaps.pixels, minlength=len(classes))[: len(classes)]
    return shares / shares.sum()


def _areas(ids: NDArray[np.int64], overlaps: Overlaps) -> pd.Series:
    areas = pd.Series(overlaps.pixels).groupby(ids).sum()
    return areas[areas.index > 0]


def _count_repeated(ids: NDArray[np.int64]) -> Any:
    return (np.unique(ids, return_counts=True)[1] > 1).sum()


def _count_matches(truth_ids: NDArray[np.int64], label_ids: NDArray[np.int64]) -> Any:
    """Number of pairs in a maximum one-to-one matching; at IoUs up to 0.5, an object may have several candidates."""
    if len(truth_ids) == 0:
        return 0
    rows, columns = (np.unique(ids, return_inverse=True)[1] for ids in (truth_ids, label_ids))
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns))).tocsr()
    return (maximum_bipartite_matching(graph) >= 0).sum()


def _ratio(part: float, whole: float, undefined: float = np.nan) -> float:
    return part / whole if whole else undefined
