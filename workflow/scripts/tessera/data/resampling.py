"""Resampling of pixels at other positions, with the same result for any tiling of an image."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array


def resample(values: NDArray[Any], positions: ArrayLike, axis: int, *, reach: float) -> NDArray[np.float32]:
    """Compute values at other positions along an axis, as means weighted by a triangle around each position.

    With a reach of 1 this is linear interpolation. To shrink an image, set the reach to the size of the new pixels, so
    that finer detail does not cause aliasing. At the ends of the axis, only the part of the triangle over pixels
    counts.

    Args:
        values: array with any axes.
        positions: positions along `axis` in pixels; 0 is the center of the first pixel.
        axis: the axis that is resampled.
        reach: half the width of the triangle in pixels, at least 1.

    Returns:
        Array like `values`, with len(positions) along `axis`.
    """
    size = values.shape[axis]
    positions = np.clip(np.asarray(positions, np.float64), 0, size - 1)
    offsets = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 2)
    columns = np.floor(positions).astype(int)[:, None] + offsets
    weights = np.maximum(1 - np.abs(columns - positions[:, None]) / reach, 0)
    weights *= (columns >= 0) & (columns < size)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(positions)), len(offsets))
    kept = weights.ravel() > 0
    matrix = csr_array(
        (weights.ravel()[kept].astype(np.float32), (rows[kept], columns.ravel()[kept])), shape=(len(positions), size)
    )
    moved = np.moveaxis(values, axis, 0)
    flat = matrix @ np.ascontiguousarray(moved, np.float32).reshape(size, -1)
    return np.moveaxis(flat.reshape(len(positions), *moved.shape[1:]), 0, axis)
