"""Samples windows of an image at the scale of the network, evenly spaced over the analyzed region."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tessera.common.types import StrPath
from tessera.data.normalization import normalize
from tessera.io.ome_zarr_store import open_array, read_block
from tessera.io.region_of_interest import select_frames

MIN_WINDOW_PX = 32  # smallest side of a window


def sample_windows(
    path: StrPath,
    *,
    order: Sequence[int],
    ranges: Sequence[tuple[float, float]],
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
    pixels = open_array(path)
    times, _, depth, *plane = pixels.shape
    selected = select_frames(Path(path).name.removesuffix(".ome.zarr"), frames, times)
    spans = (roi[:2], roi[2:]) if roi else [(0, size) for size in plane]
    side = max(1, round(max(side_px, MIN_WINDOW_PX) / scale))
    rows, columns = (range(low, max(high - side, low) + 1, side) for low, high in spans)
    shape = len(selected), depth, len(rows), len(columns)
    chosen = np.unique(((np.arange(count) + 0.5) * math.prod(shape) / count).astype(int))
    windows = []
    for t, z, row, column in zip(*np.unravel_index(chosen, shape), strict=True):
        starts = rows[row], columns[column]
        box = (slice(start, min(start + side, high)) for start, (_, high) in zip(starts, spans, strict=True))
        block = read_block(pixels, (selected[t], slice(None), z, *box))
        window = normalize(np.moveaxis(block, 0, -1)[..., order], ranges)
        size = [max(MIN_WINDOW_PX, round(length * scale)) for length in window.shape[1::-1]]
        resized = cv2.resize(window, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        windows.append(resized.reshape(size[1], size[0], len(order)))
    return windows
