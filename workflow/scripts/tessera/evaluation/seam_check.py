"""Seam check: whether the seams between tiles changed the labels.

`predict` predicts some windows on seams a second time, each in one piece. Labels made from such a window serve as the
reference, and the labels of the image are compared with them. The reference is made from the window alone. It is
therefore unreliable for objects that the border of the window cuts, and for objects so close to the border that the
pixels beyond it may have affected them; see `mask_undecidable`.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tessera.common.errors import InputError
from tessera.evaluation.segmentation_metrics import count_overlaps
from tessera.inference.seam_windows import read_seam_windows
from tessera.io.ome_zarr_store import open_array, read_block, read_metadata
from tessera.segmentation.seeded_growth import REACH_PX, segment_plane
from tessera.segmentation.thresholds import Thresholds, read_thresholds, resolve_thresholds
from tessera.settings.sections import SegmentSettings

MAX_DIFFERENCES = 100  # kept of an image
MAX_CROPS = 6  # of an image, to draw
MAX_NAMED = 5  # images, and places, in an error message
MIN_PIECE_PX = 16  # smaller pieces of another class are counted and not listed
MIN_PARTNER_IOU = 0.1  # an object whose best IoU is lower has no counterpart
EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)
SEAM_COUNTS = {
    "instances": ("seam_tp", "seam_fp", "seam_fn", "seam_iou_sum"),
    "semantic": ("seam_tp", "seam_fp", "seam_fn", "seam_pixels", "seam_pixels_right"),
}

Ids = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class SeamDifference:
    """An object or a piece of a class that differs between the labels and the reference.

    Attributes:
        kind: "cut", "lost", "shifted" or "merged" (an object of the reference), "new" (an object of the labels), or
            "changed" (a piece of a class).
        iou: best IoU with an object of the other labels; 0 for classes.
        area_px: area of the object or piece.
        position: its center: (y, x) in the window, or (t, z, y, x) in the image.
    """

    kind: str
    iou: float
    area_px: int
    position: tuple[int, ...]

    @property
    def severity(self) -> float:
        """Number of pixels that differ."""
        return self.area_px * (1 - self.iou)

    @property
    def rank(self) -> tuple[float, str, float, int, tuple[int, ...]]:
        """Sorts differences: the most severe first."""
        return -self.severity, self.kind, self.iou, self.area_px, self.position


class LocatedDifference(NamedTuple):
    """A difference and, for the most severe ones of an image, the labels around it.

    Attributes:
        difference: its position is (t, z, y, x) in the image.
        corner: (y, x) of the first pixel of the crops in the plane.
        reference: crop (y, x) of the reference, or None.
        labels: crop (y, x) of the labels, or None.
    """

    difference: SeamDifference
    corner: tuple[int, int]
    reference: Ids | None
    labels: Ids | None


@dataclass(frozen=True)
class SeamCheck:
    """Result of the seam check of an image.

    Attributes:
        row: columns of the table of metrics: seam_windows, seam_f1 = 2 tp / (2 tp + fp + fn), and the SEAM_COUNTS of
            the task, which add up over images; None where there are no windows.
        differences: at most MAX_DIFFERENCES, the most severe first.
    """

    row: dict[str, Any]
    differences: list[LocatedDifference]


def seam_f1(seam_tp: float, seam_fp: float, seam_fn: float, **_others: float) -> float | None:
    """2 tp / (2 tp + fp + fn), from (sums of) the SEAM_COUNTS; None if nothing was compared."""
    denominator = 2 * seam_tp + seam_fp + seam_fn
    return 2 * seam_tp / denominator if denominator else None


def check_seams(predictions: Path | None, labels: Path, *, task: str, segment: SegmentSettings | None) -> SeamCheck:
    """Compare the labels of an image with labels that are not affected by seams.

    Objects match when their IoU is above 0.5, which makes matches unique. For the semantic task, pixels of all classes
    but the first, the background, are counted instead of objects.

    Args:
        predictions: store of the image's predictions, or None.
        labels: store of the image's labels.
        task: "instances" or "semantic".
        segment: the settings that the labels were made with; None only if there are no predictions.
    """
    counts: dict[str, Any] = dict.fromkeys(SEAM_COUNTS[task], 0)
    tuned = read_thresholds(predictions) if predictions else Thresholds()
    # Pixels beyond a window decide how deep a seed is, and seeds decide about pixels within their reach.
    margin_px = REACH_PX + (math.ceil(resolve_thresholds(segment, tuned).seed_depth_px) if segment else 0)
    n_windows, worst = 0, list[LocatedDifference]()
    for origin, reference, found, plane in _read_pairs(predictions, labels, task, segment, tuned):
        added, differences = (
            _compare_instances(origin, reference, found, plane, margin_px)
            if task == "instances"
            else compare_classes(reference, found)
        )
        counts = {name: counts[name] + added[name] for name in counts}
        n_windows += 1
        worst += [_locate(difference, origin, reference, found) for difference in differences]
        worst = sorted(worst, key=lambda each: each.difference.rank)[:MAX_DIFFERENCES]
        worst[MAX_CROPS:] = [each._replace(reference=None, labels=None) for each in worst[MAX_CROPS:]]
    if not n_windows:
        return SeamCheck({"seam_windows": 0, "seam_f1": None} | dict.fromkeys(counts), [])
    return SeamCheck({"seam_windows": n_windows, "seam_f1": seam_f1(**counts)} | counts, worst)


def require_seam_f1(
    rows: Sequence[Mapping[str, Any]], differences: Mapping[str, Sequence[SeamDifference]], min_f1: float | None
) -> None:
    """Refuse a batch whose labels seams have changed too much.

    Args:
        rows: rows of the table of metrics, with `image` and the columns of `SeamCheck.row`.
        differences: {image: its differences}.
        min_f1: lowest acceptable F1 of all images together; None accepts any.

    Raises:
        InputError: F1 is lower; the message names the images and the most severe differences.
    """
    compared = sorted((row for row in rows if row["seam_f1"] is not None), key=lambda row: row["seam_f1"])
    pooled = seam_f1(**{name: sum(row[name] for row in compared) for name in ("seam_tp", "seam_fp", "seam_fn")})
    if min_f1 is None or pooled is None or pooled >= min_f1:
        return
    poor = [row for row in compared if row["seam_f1"] < min_f1]
    images = ", ".join(
        [f"{row['image']} ({row['seam_f1']:.4f})" for row in poor[:MAX_NAMED]] + ["..."] * (len(poor) > MAX_NAMED)
    )
    located = ((row["image"], each) for row in poor for each in differences[row["image"]])
    worst = sorted(located, key=lambda pair: (pair[1].rank, pair[0]))[:MAX_NAMED]
    places = (f"{image} at t, z, y, x = {', '.join(map(str, each.position))}: {each.kind}" for image, each in worst)
    raise InputError(
        f"{images}: seams between tiles change the labels. Their F1 in this batch is {pooled:.4f}, below "
        f"evaluate.min_seam_f1 = {min_f1:g} ({'; '.join(places)}). Increase predict.halo_px, or lower "
        "evaluate.min_seam_f1"
    )


def compare_objects(
    reference: Ids, labels: Ids, undecidable: NDArray[np.bool_]
) -> tuple[dict[str, Any], list[SeamDifference]]:
    """Match the objects of two labelings of a window.

    Args:
        reference: ids (y, x), small numbers; 0 is background.
        labels: ids (y, x), likewise.
        undecidable: mask (y, x), see `mask_undecidable`; an object with such pixels is not judged but can be matched.

    Returns:
        The SEAM_COUNTS, and at most MAX_DIFFERENCES differences, the most severe first.
    """
    ids = reference, labels
    areas = [np.bincount(each.ravel()) for each in ids]
    decidable = [
        np.bincount(each[undecidable], minlength=len(area)) == 0 for each, area in zip(ids, areas, strict=True)
    ]
    overlaps = count_overlaps([ids])
    both = (overlaps.truth > 0) & (overlaps.labels > 0)
    pairs, pixels = (overlaps.truth[both], overlaps.labels[both]), overlaps.pixels[both]
    iou = pixels / (areas[0][pairs[0]] + areas[1][pairs[1]] - pixels)
    match = iou > 0.5
    judged = match & (decidable[0][pairs[0]] | decidable[1][pairs[1]])
    unmatched, containers, best_iou = [], [], []
    for own, other, area, certain in zip(pairs, pairs[::-1], areas, decidable, strict=True):
        unmatched.append(certain & ~np.isin(np.arange(len(area)), own[match]) & (area > 0))
        unmatched[-1][0] = False
        mostly = 2 * pixels > area[own]
        containers.append(np.zeros(len(area), dtype=np.int64))
        containers[-1][own[mostly]] = other[mostly]
        best_iou.append(np.zeros(len(area)))
        np.maximum.at(best_iou[-1], own, iou)
    # A labeled object that is mostly inside an undecidable object of the reference cannot be judged either.
    unmatched[1] &= (containers[1] == 0) | decidable[0][containers[1]]
    errors = _classify_errors(unmatched, containers, best_iou, pairs)
    differences = [
        _describe_difference(kind, ids[which] == number, float(best_iou[which][number]))
        for kind, which, number in errors
    ]
    counts = {"seam_tp": int(judged.sum()), "seam_fp": int(unmatched[1].sum()), "seam_fn": int(unmatched[0].sum())}
    return counts | {"seam_iou_sum": float(iou[judged].sum())}, _most_severe(differences)


def _classify_errors(
    unmatched: Sequence[NDArray[Any]],
    containers: Sequence[NDArray[Any]],
    best_iou: Sequence[NDArray[Any]],
    pairs: Sequence[NDArray[Any]],
) -> set[tuple[str, int, int]]:
    """{(kind, which, number)} of the unmatched objects; an error that concerns several of them is listed once.

    Each argument has a part for the reference (`which` = 0) and a part for the labels (`which` = 1): which objects are
    unmatched, the object of the other labeling that holds most of each object (or 0), the best IoU of each object, and
    the pairs of objects that overlap.
    """
    n_contained = [
        np.bincount(containers[1 - which][containers[1 - which] > 0], minlength=len(containers[which]))
        for which in (0, 1)
    ]
    errors = set()
    for which, (contains, contained, alone) in enumerate((("cut", "merged", "lost"), ("merged", "cut", "new"))):
        for number in map(int, np.flatnonzero(unmatched[which])):
            container = int(containers[which][number])
            if n_contained[which][number] > 1:
                errors.add((contains, which, number))
            elif n_contained[1 - which][container] > 1:
                errors.add((contained, 1 - which, container))
            elif best_iou[which][number] < MIN_PARTNER_IOU:
                errors.add((alone, which, number))
            elif which == 0 or not unmatched[0][pairs[0][pairs[1] == number]].any():
                errors.add(("shifted", which, number))
    return errors


def compare_classes(reference: Ids, labels: Ids) -> tuple[dict[str, Any], list[SeamDifference]]:
    """Compare the pixels of two labelings of a window with classes; 0 is background.

    Returns:
        As `compare_objects`; pieces of fewer than MIN_PIECE_PX pixels are counted and not listed.
    """
    differs = reference != labels
    counts = {
        "seam_tp": int((~differs & (labels > 0)).sum()),
        "seam_fp": int((differs & (labels > 0)).sum()),
        "seam_fn": int((differs & (reference > 0)).sum()),
        "seam_pixels": differs.size,
        "seam_pixels_right": int((~differs).sum()),
    }
    pieces, _ = ndimage.label(differs, EIGHT_NEIGHBORS)
    areas = np.bincount(pieces.ravel())
    large = [number for number in np.flatnonzero(areas >= MIN_PIECE_PX) if number]
    return counts, _most_severe([_describe_difference("changed", pieces == number, 0.0) for number in large])


def mask_undecidable(
    reference: Ids,
    labels: Ids,
    inner_borders: Sequence[tuple[bool, bool]],
    margin_px: int = REACH_PX,
) -> NDArray[np.bool_]:
    """Pixels of objects that the surroundings of a window may have changed.

    These are the pixels near a border of the window, inside the image, that are connected with that border.

    Args:
        reference: ids (y, x) of the window.
        labels: ids (y, x) of the window.
        inner_borders: ((first, last), (first, last)) for y and x: whether the image continues beyond that border.
        margin_px: how far the surroundings of a window can affect it through connected foreground.

    Returns:
        Mask (y, x).
    """
    pieces, _ = ndimage.label((reference > 0) | (labels > 0), EIGHT_NEIGHBORS)
    near, cut = np.zeros(pieces.shape, dtype=bool), []
    for axis, (first, last) in enumerate(inner_borders):
        for continues, line, band in ((first, 0, slice(margin_px)), (last, -1, slice(-margin_px, None))):
            if continues:
                cut.append(pieces.take(line, axis))
                np.moveaxis(near, axis, 0)[band] = True
    return near & (pieces > 0) & np.isin(pieces, np.concatenate(cut)) if cut else near


def _read_pairs(
    predictions: Path | None, labels: Path, task: str, segment: SegmentSettings | None, tuned: Thresholds
) -> Iterator[tuple[tuple[int, int, int, int], Ids, Ids, tuple[int, int]]]:
    """Yield the origin (t, z, y, x) of each window, its reference and its labels (y, x), and the shape of the plane."""
    stored, pixel_size_um = open_array(labels), read_metadata(labels).pixel_size_um
    for (t, z, y, x), probabilities in read_seam_windows(predictions) if predictions else ():
        height, width = probabilities.shape[1:]
        found = read_block(stored, np.s_[t, 0, z, y : y + height, x : x + width])
        if task == "instances":
            assert segment is not None, "labels of instances come with the settings of rule segment"
            plane = segment_plane(probabilities, segment, tuned=tuned, pixel_size_um=pixel_size_um, name=str(labels))
            reference = _renumber(plane)
            found = _renumber(found)
        else:
            reference = probabilities.argmax(0).astype(found.dtype)
        yield (t, z, y, x), reference, found, (stored.shape[3], stored.shape[4])


def _compare_instances(
    origin: tuple[int, int, int, int], reference: Ids, labels: Ids, plane: tuple[int, int], margin_px: int
) -> tuple[dict[str, Any], list[SeamDifference]]:
    inner_borders = [
        (first > 0, first + length < whole)
        for first, length, whole in zip(origin[2:], labels.shape, plane, strict=True)
    ]
    return compare_objects(reference, labels, mask_undecidable(reference, labels, inner_borders, margin_px))


def _locate(
    difference: SeamDifference, origin: tuple[int, int, int, int], reference: Ids, labels: Ids
) -> LocatedDifference:
    """The difference with its position in the image, and crops of the labels around it."""
    t, z, y, x = origin
    center_y, center_x = difference.position
    crop = _crop_around(difference.position, labels.shape, difference.area_px)
    located = replace(difference, position=(t, z, y + center_y, x + center_x))
    corner = int(y + crop[0].start), int(x + crop[1].start)
    return LocatedDifference(located, corner, reference[crop].copy(), labels[crop].copy())


def _describe_difference(kind: str, mask: NDArray[np.bool_], iou: float) -> SeamDifference:
    """The difference whose object is a mask (y, x) in the window."""
    pixels = np.argwhere(mask)
    return SeamDifference(kind, iou, len(pixels), tuple(int(coordinate) for coordinate in pixels.mean(0)))


def _most_severe(differences: Collection[SeamDifference]) -> list[SeamDifference]:
    return sorted(differences, key=lambda each: each.rank)[:MAX_DIFFERENCES]


def _crop_around(center: Sequence[int], shape: Sequence[int], area_px: int) -> tuple[slice, slice]:
    """Slices (y, x) around an object in a window of this shape, about four times as wide as the object."""
    lengths = [min(length, max(96, 4 * int(area_px**0.5))) for length in shape]
    starts = [
        min(max(place - length // 2, 0), whole - length)
        for place, length, whole in zip(center, lengths, shape, strict=True)
    ]
    rows, columns = (slice(start, start + length) for start, length in zip(starts, lengths, strict=True))
    return rows, columns


def _renumber(ids: Ids) -> NDArray[np.int32]:
    """The same objects with ids 0, 1, 2, ..., int32."""
    return np.unique(np.append(ids.ravel(), 0), return_inverse=True)[1][:-1].reshape(ids.shape).astype(np.int32)
