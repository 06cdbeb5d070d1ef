"""Disagreements: what differs between two labellings of a window, in numbers and in words."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from tessera.evaluation.segmentation_metrics import count_overlaps

LISTED = 100
LEAST_PIECE_PX = 16
NEARLY_NONE = 0.1
EVERY_SIDE = np.ones((3, 3), dtype=bool)
COUNTS = {
    "instances": ("seam_tp", "seam_fp", "seam_fn", "seam_iou_sum"),
    "semantic": ("seam_tp", "seam_fp", "seam_fn", "seam_pixels", "seam_pixels_right"),
}


class Event(NamedTuple):
    """Something that is not the same in the labels and in the reference; the worst comes first.

    Attributes:
        gravity: minus the pixels that are not as they should be.
        kind: what became of an object of the reference: "cut", "lost", "shifted", or "merged" with others; "new" where
            there was none; "changed" for classes.
        iou: the best that an object of the other side reaches; 0 for classes.
        area_px: of the object, or of the piece whose class differs.
        at: its centre, (y, x) of the window or (t, z, y, x) of the image.
    """

    gravity: float
    kind: str
    iou: float
    area_px: int
    at: tuple[int, ...]


def f1(seam_tp, seam_fp, seam_fn, **_others):
    """2 tp / (2 tp + fp + fn), from (sums of) the COUNTS; None where there was nothing to compare."""
    whole = 2 * seam_tp + seam_fp + seam_fn
    return 2 * seam_tp / whole if whole else None


def compare_objects(reference, found, unsure):
    """Match the objects of a window.

    Args:
        reference, found: ids (y, x), small numbers, 0 is background.
        unsure: bool (y, x), see `doubtful`; an object with such pixels is not judged, but can be a partner.

    Returns:
        Counts as in COUNTS; and [Event, ...], the worst first, LISTED at most.
    """
    ids = reference, found
    areas = [np.bincount(each.ravel()) for each in ids]
    sure = [np.bincount(each[unsure], minlength=len(area)) == 0 for each, area in zip(ids, areas, strict=True)]
    overlaps = count_overlaps([ids])
    both = (overlaps.truth > 0) & (overlaps.found > 0)
    pairs, pixels = (overlaps.truth[both], overlaps.found[both]), overlaps.pixels[both]
    iou = pixels / (areas[0][pairs[0]] + areas[1][pairs[1]] - pixels)
    match = iou > 0.5
    judged = match & (sure[0][pairs[0]] | sure[1][pairs[1]])
    wrong, holders, best = [], [], []
    for own, other, area, certain in zip(pairs, pairs[::-1], areas, sure, strict=True):
        wrong.append(certain & ~np.isin(np.arange(len(area)), own[match]) & (area > 0))
        wrong[-1][0] = False
        mostly = 2 * pixels > area[own]
        holders.append(np.zeros(len(area), dtype=np.int64))
        holders[-1][own[mostly]] = other[mostly]
        best.append(np.zeros(len(area)))
        np.maximum.at(best[-1], own, iou)
    # What was found mostly inside an object that is not sure cannot be judged either.
    wrong[1] &= (holders[1] == 0) | sure[0][holders[1]]
    events = _name_events(wrong, holders, best, pairs)
    listed = [_describe(kind, ids[side] == number, float(best[side][number])) for kind, side, number in events]
    counts = {"seam_tp": int(judged.sum()), "seam_fp": int(wrong[1].sum()), "seam_fn": int(wrong[0].sum())}
    return counts | {"seam_iou_sum": float(iou[judged].sum())}, sorted(listed)[:LISTED]


def _name_events(wrong, holders, best, pairs):
    """{(kind, side, number)} of what became of unmatched objects; one that concerns several of them is named once.

    Each argument has a part for side 0, the reference, and one for side 1, what was found: which objects are wrong, the
    object of the other side that holds most of each (or 0), the best IoU of each, and pairs of objects that overlap.
    """
    held = [np.bincount(holders[1 - side][holders[1 - side] > 0], minlength=len(holders[side])) for side in (0, 1)]
    events = set()
    for side, (several, within, alone) in enumerate((("cut", "merged", "lost"), ("merged", "cut", "new"))):
        for number in np.flatnonzero(wrong[side]):
            holder = holders[side][number]
            if held[side][number] > 1:
                events.add((several, side, number))
            elif held[1 - side][holder] > 1:
                events.add((within, 1 - side, holder))
            elif best[side][number] < NEARLY_NONE:
                events.add((alone, side, number))
            elif side == 0 or not wrong[0][pairs[0][pairs[1] == number]].any():
                events.add(("shifted", side, number))
    return events


def compare_classes(reference, found):
    """Compare the pixels of a window whose labels are classes, 0 is background.

    Returns:
        As `compare_objects`; pieces of fewer than LEAST_PIECE_PX pixels are counted and not listed.
    """
    differs = reference != found
    counts = {
        "seam_tp": int((~differs & (found > 0)).sum()),
        "seam_fp": int((differs & (found > 0)).sum()),
        "seam_fn": int((differs & (reference > 0)).sum()),
        "seam_pixels": differs.size,
        "seam_pixels_right": int((~differs).sum()),
    }
    pieces, _ = ndimage.label(differs, EVERY_SIDE)
    areas = np.bincount(pieces.ravel())
    large = [number for number in np.flatnonzero(areas >= LEAST_PIECE_PX) if number]
    return counts, sorted(_describe("changed", pieces == number, 0.0) for number in large)[:LISTED]


def _describe(kind, mask, iou):
    """The Event of an object, a mask (y, x)."""
    pixels = np.argwhere(mask)
    return Event(len(pixels) * (iou - 1), kind, iou, len(pixels), tuple(int(place) for place in pixels.mean(0)))
