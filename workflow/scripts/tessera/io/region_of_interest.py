"""Looks: which parts of an image a network is to look at."""

import re

import numpy as np

from tessera.common.errors import InputError

_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(\d*))?")


def select_frames(name, text, count):
    """The time points that the column frames of the table names.

    Args:
        name: of the image, for messages.
        text: a slice such as 0:100:10, numbers such as 0,5,9, or None for all.
        count: frames of the image.

    Returns:
        A sorted list of numbers.

    Raises:
        InputError: a number that the image does not have, or no frame at all.
    """
    if not text:
        return list(range(count))
    if match := _SLICE.fullmatch(text):
        frames = list(range(count))[slice(*(int(part) if part else None for part in match.groups()))]
    else:
        numbers = [int(part) for part in text.split(",")]
        frames = sorted({number + count if number < 0 else number for number in numbers})
    if not frames or min(frames) < 0 or max(frames) >= count:
        raise InputError(f"{name}: has {count} frames, 0 to {count - 1}, and frames is {text}; correct it in the table")
    return sorted(frames)


def check_roi(name, roi, plane):
    """Refuse a region of interest (y0, y1, x0, x1), or None, that goes beyond the `plane` (y, x) of image `name`."""
    if roi and (roi[1] > plane[0] or roi[3] > plane[1]):
        raise InputError(
            f"{name}: has {plane[0]} x {plane[1]} pixels (y, x), and roi is {roi[0]}:{roi[1]},{roi[2]}:{roi[3]}; "
            "correct it in the table"
        )


def clip_to_roi(roi, region):
    """The part of `region`, slices (y, x), within `roi` (y0, y1, x0, x1) or None for all; None where there is none."""
    if roi is None:
        return region
    spans = [
        slice(max(span.start, low), min(span.stop, high))
        for span, (low, high) in zip(region, (roi[:2], roi[2:]), strict=True)
    ]
    return tuple(spans) if all(span.start < span.stop for span in spans) else None


def mask_outside_roi(read, frames, roi, outside=0):
    """`read` of a Source of ids, with `outside` in frames that are not in `frames` and outside of `roi`, or None.

    It gives (1, y, x) of int64, or float64, so that any number may stand for what is outside.
    """

    def read_part(t, z, rows, columns):
        ids = read(t, z, rows, columns)
        ids = ids.astype(np.float64 if ids.dtype.kind == "f" else np.int64)
        inside = np.zeros(ids.shape, bool)
        if t in frames:
            top, bottom, left, right = roi or (0, rows.stop, 0, columns.stop)
            spans = ((rows, top, bottom), (columns, left, right))
            inside[:, *(slice(max(low - span.start, 0), max(high - span.start, 0)) for span, low, high in spans)] = True
        return np.where(inside, ids, outside)

    return read_part
