"""Samples windows of an image at the scale of the network, evenly spaced over the analyzed region."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tessera.common.types import StrPath
from tessera.data.normalization import IntensityRanges
from tessera.io.ome_zarr_store import open_array, read_block
from tessera.io.region_of_interest import select_frames

MIN_WINDOW_PX = 32  # smallest side of a window


class WindowPlace(NamedTuple):
    """A window of an image.

    Attributes:
        t: time point.
        z: plane of the stack.
        rows, columns: slices of the image's pixels.
        size: (x, y), size at the scale of the network, as OpenCV takes it.
    """

    t: int
    z: int
    rows: slice
    columns: slice
    size: tuple[int, int]


def choose_windows(
    path: StrPath,
    *,
    side_px: int,
    scale: float,
    count: int,
    roi: tuple[int, int, int, int] | None = None,
    frames: str | None = None,
) -> Iterator[WindowPlace]:
    """Yield the places of at most `count` windows of an image, see `sample_windows`."""
    times, _, depth, *plane = open_array(path).shape
    selected = select_frames(Path(path).name.removesuffix(".ome.zarr"), frames, times)
    spans = (roi[:2], roi[2:]) if roi else [(0, size) for size in plane]
    side = max(1, round(max(side_px, MIN_WINDOW_PX) / scale))
    rows, columns = (range(low, max(high - side, low) + 1, side) for low, high in spans)
    shape = len(selected), depth, len(rows), len(columns)
    chosen = np.unique(((np.arange(count) + 0.5) * math.prod(shape) / count).astype(int))
    for t, z, row, column in zip(*np.unravel_index(chosen, shape), strict=True):
        starts = rows[row], columns[column]
        row_span, column_span = (
            slice(start, min(start + side, high)) for start, (_, high) in zip(starts, spans, strict=True)
        )
        height, width = (
            max(MIN_WINDOW_PX, round((span.stop - span.start) * scale)) for span in (row_span, column_span)
        )
        yield WindowPlace(selected[t], int(z), row_span, column_span, (width, height))


def sample_windows(
    path: StrPath,
    *,
    order: Sequence[int],
    ranges: IntensityRanges,
    side_px: int,
    scale: float,
    count: int,
    roi: tuple[int, int, int, int] | None = None,
    frames: str | None = None,
) -> list[NDArray[np.float32]]:
    """Read at most `count` windows (y, x, c) of an image, normalized and rescaled for the network.

    Args:
        path: store of the image.
        order: index of the image's channel for each channel of the network.
        ranges: result of `tessera.data.normalization.choose_intensity_ranges`.
        side_px: side of a window in pixels of the network; windows at the border of the region may be smaller.
        scale: pixels of the network per pixel of the image.
        count: largest number of windows.
        roi: region of interest (y0, y1, x0, x1), or None for the whole plane.
        frames: see `tessera.io.region_of_interest.select_frames`.
    """
    pixels, windows = open_array(path), []
    for place in choose_windows(path, side_px=side_px, scale=scale, count=count, roi=roi, frames=frames):
        block = read_block(pixels, (place.t, slice(None), place.z, place.rows, place.columns))
        window = ranges.normalize(np.moveaxis(block, 0, -1)[..., order], place.t)
        resized = cv2.resize(window, place.size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        windows.append(resized.reshape(*place.size[::-1], len(order)))
    return windows
