"""Selection of the frames and the region of an image that the table asks to analyze."""

import re
from collections.abc import Callable, Collection
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import Roi


class Region(TypedDict, total=False):
    """The part of an image to analyze, from its row of the table. A missing or empty entry selects everything.

    Attributes:
        roi: region of interest (y0, y1, x0, x1).
        frames: frames, see `select_frames`.
    """

    roi: Roi | None
    frames: str | None


_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(\d*))?")


def select_frames(name: str, text: str | None, count: int) -> list[int]:
    """Return the time points that the column `frames` of the table selects.

    Args:
        name: name of the image, for messages.
        text: a slice such as 0:100:10, numbers such as 0,5,9, or None for all frames.
        count: number of frames of the image.

    Returns:
        Sorted frame numbers.

    Raises:
        InputError: the image has no such frame, or no frame is selected.
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


def check_roi(name: str, roi: Roi | None, plane: tuple[int, int]) -> None:
    """Check that a region of interest lies within an image.

    Args:
        name: name of the image, for messages.
        roi: (y0, y1, x0, x1), or None for the whole plane.
        plane: height and width of the image.

    Raises:
        InputError: the region extends beyond the image.
    """
    if roi and (roi[1] > plane[0] or roi[3] > plane[1]):
        raise InputError(
            f"{name}: has {plane[0]} x {plane[1]} pixels (y, x), and roi is {roi[0]}:{roi[1]},{roi[2]}:{roi[3]}; "
            "correct it in the table"
        )


def clip_to_roi(roi: Roi | None, region: tuple[slice, slice]) -> tuple[slice, slice] | None:
    """Return the part of `region`, slices (y, x), within `roi`; None if they do not overlap.

    Args:
        roi: (y0, y1, x0, x1), or None for the whole plane.
        region: slices (y, x) with start and stop.
    """
    if roi is None:
        return region
    rows, columns = region
    y0, y1, x0, x1 = roi
    rows, columns = slice(max(rows.start, y0), min(rows.stop, y1)), slice(max(columns.start, x0), min(columns.stop, x1))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def mask_outside_roi(
    read: Callable[[int, int, slice, slice], NDArray[Any]],
    frames: Collection[int],
    roi: Roi | None,
    outside: int = 0,
) -> Callable[[int, int, slice, slice], NDArray[Any]]:
    """Wrap the `read` of a LazyImage of ids so that pixels that are not selected have the value `outside`.

    Args:
        read: read(t, z, rows, columns) returns ids (1, y, x).
        frames: the selected frames.
        roi: the selected region (y0, y1, x0, x1), or None for the whole plane.
        outside: value of all other pixels.

    Returns:
        A function like `read`, which returns int64 or float64, so that any number can stand for pixels outside.
    """

    def read_selected(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        ids = read(t, z, rows, columns)
        ids = ids.astype(np.float64 if ids.dtype.kind == "f" else np.int64)
        inside = np.zeros(ids.shape, bool)
        if t in frames:
            top, bottom, left, right = roi or (0, rows.stop, 0, columns.stop)
            spans = ((rows, top, bottom), (columns, left, right))
            inside[:, *(slice(max(low - span.start, 0), max(high - span.start, 0)) for span, low, high in spans)] = True
        return np.where(inside, ids, outside)

    return read_selected
