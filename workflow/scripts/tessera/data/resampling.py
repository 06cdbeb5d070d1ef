"""Resampling of pixels at other positions, with the same result however an image is tiled."""

import numpy as np
from scipy.sparse import csr_array


def resample(values, at, axis, *, reach):
    """`values` between and beyond their pixels: weighted means by a triangle of half-width `reach` around each place.

    With a reach of 1 this is linear interpolation; where pixels get larger, a reach of their new size keeps what is
    finer from turning into noise. Beyond the first and the last pixel, what is there of the triangle counts.

    Args:
        values: array of any axes.
        at: positions along `axis` in pixels, 0 is the centre of the first.
        axis: which is resampled.
        reach: half the width of the triangle in pixels, at least 1.

    Returns:
        float32, like `values`, with len(at) along `axis`.
    """
    size = values.shape[axis]
    at = np.clip(np.asarray(at, np.float64), 0, size - 1)
    offsets = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 2)
    columns = np.floor(at).astype(int)[:, None] + offsets
    weights = np.maximum(1 - np.abs(columns - at[:, None]) / reach, 0)
    weights *= (columns >= 0) & (columns < size)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(at)), len(offsets))
    kept = weights.ravel() > 0
    matrix = csr_array(
        (weights.ravel()[kept].astype(np.float32), (rows[kept], columns.ravel()[kept])), shape=(len(at), size)
    )
    moved = np.moveaxis(values, axis, 0)
    flat = matrix @ np.ascontiguousarray(moved, np.float32).reshape(size, -1)
    return np.moveaxis(flat.reshape(len(at), *moved.shape[1:]), 0, axis)
