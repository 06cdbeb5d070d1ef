"""Contrast limits of image channels: robust low and high intensities, from a sample of the pixels."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.io.shards import CHUNK_PX, ZarrArray, iterate_blocks

PERCENTILES = (1, 99.8)
SAMPLED_CHUNKS = 256
SAMPLED_PX = 2**22


def estimate_contrast_limits(array: ZarrArray, channel: int) -> dict[str, float]:
    """Estimate the contrast limits of a channel.

    Args:
        array: image (t, c, z, y, x).
        channel: index of the channel.

    Returns:
        {"min", "max", "start", "end"}, the fields of `window` in the `omero` metadata of OME-Zarr. "start" and "end"
        are PERCENTILES of the sampled pixels, or the extreme pixels where the percentiles are equal. "min" and "max"
        are the range of the integer type, or of the sampled floats.
    """
    values = _sample(array, channel)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        finite = np.zeros(1, array.dtype)
    start, end = np.percentile(finite, PERCENTILES)
    if end <= start:
        # A few cells on a clean background have fewer pixels than the percentiles ignore.
        start, end = _extremes(array, channel)
    if array.dtype.kind in "iu":
        least, most = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
    else:
        least, most = min(finite.min(), start), max(finite.max(), end)
    return {"min": float(least), "max": float(most), "start": float(start), "end": float(end)}


def _extremes(array: ZarrArray, channel: int) -> tuple[Any, Any]:
    """Return the smallest and largest finite pixel of a channel, read block by block; zeros if there is none."""
    least, most = [], []
    for t, _, z, y, x in iterate_blocks(array):
        values = np.asarray(array[t, channel, z, y, x])
        values = values[np.isfinite(values)]
        if values.size:
            least.append(values.min())
            most.append(values.max())
    return (min(least), max(most)) if least else (0, 0)


def _sample(array: ZarrArray, channel: int) -> NDArray[Any]:
    """Return all pixels of a channel of a small image, else a grid of pixels from squares drawn with a fixed seed.

    A square has the default size of a chunk, so that the limits do not depend on the layout of the store.
    """
    frames, _, depth, height, width = array.shape
    if frames * depth * height * width <= SAMPLED_PX:
        return np.asarray(array[:, channel]).ravel()
    rows, columns = min(CHUNK_PX, height), min(CHUNK_PX, width)
    corners = list(itertools.product(range(frames), range(depth), range(0, height, rows), range(0, width, columns)))
    stride = math.ceil(math.sqrt(rows * columns * SAMPLED_CHUNKS / SAMPLED_PX))
    drawn = np.random.default_rng(0).permutation(len(corners))[:SAMPLED_CHUNKS]
    corners = [corners[number] for number in sorted(drawn)]
    return np.concatenate(
        [
            np.asarray(array[t, channel, z, y : y + rows, x : x + columns])[::stride, ::stride].ravel()
            for t, z, y, x in corners
        ]
    )
