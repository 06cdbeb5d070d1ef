"""Windows: the range of a channel's intensities that it is shown in, found in a sample of its pixels."""

import itertools
import math

import numpy as np

from tessera.io.pyramid import iterate_shards

PERCENTILES = (1, 99.8)
SAMPLED_CHUNKS = 256
SAMPLED_PX = 2**22


def estimate_contrast_limits(array, channel):
    """Least and greatest value (of the type, or of floats in the sample), and percentiles of the channel's pixels.

    Args:
        array: zarr.Array (t, c, z, y, x).
        channel: its number.

    Returns:
        {"min", "max", "start", "end"}, as OME-Zarr's `omero` has it.
    """
    values = _sample(array, channel)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        finite = np.zeros(1, array.dtype)
    start, end = np.percentile(finite, PERCENTILES)
    if end <= start:
        # A few cells on a clean background are less than the percentiles leave out.
        start, end = _extremes(array, channel)
    if array.dtype.kind in "iu":
        least, most = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
    else:
        least, most = min(finite.min(), start), max(finite.max(), end)
    return {"min": float(least), "max": float(most), "start": float(start), "end": float(end)}


def _extremes(array, channel):
    """The least and the greatest finite pixel of one channel, read shard by shard; zeros where there is none."""
    least, most = [], []
    for region in iterate_shards(array):
        if region[1].start <= channel < region[1].stop:
            values = array[region[0], channel, *region[2:]]
            values = values[np.isfinite(values)]
            if values.size:
                least.append(values.min())
                most.append(values.max())
    return (min(least), max(most)) if least else (0, 0)


def _sample(array, channel):
    """Pixels of one channel: all of a small image, otherwise a grid out of chunks drawn with a fixed seed."""
    frames, _, depth, height, width = array.shape
    rows, columns = array.chunks[-2:]
    stride = 1
    corners = list(itertools.product(range(frames), range(depth), range(0, height, rows), range(0, width, columns)))
    if frames * depth * height * width > SAMPLED_PX:
        stride = math.ceil(math.sqrt(rows * columns * SAMPLED_CHUNKS / SAMPLED_PX))
        drawn = np.random.default_rng(0).permutation(len(corners))[:SAMPLED_CHUNKS]
        corners = [corners[number] for number in sorted(drawn)]
    return np.concatenate(
        [array[t, channel, z, y : y + rows, x : x + columns][::stride, ::stride].ravel() for t, z, y, x in corners]
    )
