"""Samples windows of an image as the network sees them, evenly spaced over the analyzed region."""

import math
from pathlib import Path

import cv2
import numpy as np

from tessera.data.normalization import normalize
from tessera.io.ome_zarr_store import open_array, read_block
from tessera.io.region_of_interest import select_frames

LEAST_PX = 32  # side of a window


def sample_windows(path, *, order, ranges, side_px, scale, count, roi=None, frames=None):
    """Normalised windows (y, x, c) of an image, magnified by `scale`, `count` at most.

    Args:
        path: store of the image.
        order: which of its channels is each of the network's.
        ranges: of `tessera.data.normalization.choose_intensity_ranges`.
        side_px: of a window, as the network sees it; less where the image ends.
        scale: pixels of the network per pixel of the image.
        count: of windows.
        roi: (y0, y1, x0, x1) that is looked at, or None.
        frames: see `tessera.io.region_of_interest.select_frames`.
    """
    pixels = open_array(path)
    times, _, depth, *plane = pixels.shape
    frames = select_frames(Path(path).name.removesuffix(".ome.zarr"), frames, times)
    spans = (roi[:2], roi[2:]) if roi else [(0, size) for size in plane]
    side = max(1, round(max(side_px, LEAST_PX) / scale))
    rows, columns = (range(low, max(high - side, low) + 1, side) for low, high in spans)
    shape = len(frames), depth, len(rows), len(columns)
    chosen = np.unique(((np.arange(count) + 0.5) * math.prod(shape) / count).astype(int))
    windows = []
    for t, z, row, column in zip(*np.unravel_index(chosen, shape), strict=True):
        starts = rows[row], columns[column]
        box = (slice(start, min(start + side, high)) for start, (_, high) in zip(starts, spans, strict=True))
        found = read_block(pixels, (frames[t], slice(None), z, *box))
        window = normalize(np.moveaxis(found, 0, -1)[..., order], ranges)
        size = [max(LEAST_PX, round(length * scale)) for length in window.shape[1::-1]]
        resized = cv2.resize(window, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        windows.append(resized.reshape(size[1], size[0], len(order)))
    return windows
