"""Run-length encoding of label planes: runs of equal pixels within rows are far fewer than pixels."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Runs(NamedTuple):
    """Runs of equal pixels in row order; each array is (runs,).

    Attributes:
        starts: index of the first pixel of each run in the flattened plane.
        values: value of its pixels.
        lengths: number of its pixels; no run continues in the next row.
    """

    starts: NDArray[np.int64]
    values: NDArray[Any]
    lengths: NDArray[np.int64]


def encode_runs(plane: NDArray[Any]) -> Runs:
    """Return the Runs of a plane (y, x) of integers."""
    begins = np.ones(plane.shape, bool)
    np.not_equal(plane[:, 1:], plane[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    return Runs(starts, plane.ravel()[starts], np.diff(starts, append=plane.size))


def count_pixels(ids: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return the number of pixels of each id 0 .. `count` in the plane `ids` (y, x), as (count + 1,)."""
    runs = encode_runs(ids)
    return np.bincount(runs.values, runs.lengths, minlength=count + 1).astype(np.int64)


def count_shared_pixels(labels: NDArray[Any], others: NDArray[Any]) -> NDArray[np.int64]:
    """Count the pixels that ids of two label arrays share.

    Args:
        labels, others: integers of the same shape (..., x), 0 to 2**31 - 1. 0 is background, and so are negative values
            of `labels`.

    Returns:
        (3, pairs): the id in `labels`, the id in `others`, and the number of pixels that have both.
    """
    if not labels.size:
        return np.zeros((3, 0), np.int64)
    keys = np.left_shift(labels, 32, dtype=np.int64) | others
    runs = encode_runs(keys.reshape(-1, keys.shape[-1]))
    both = (runs.values >> 32 > 0) & (runs.values & 0xFFFFFFFF > 0)
    pairs, inverse = np.unique(runs.values[both], return_inverse=True)
    pixels = np.bincount(inverse, runs.lengths[both], len(pairs)).astype(np.int64)
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF, pixels])


def first_values(numbers: NDArray[Any], values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return, for each number 0 .. `count` - 1, the first of `values` at which `numbers` is that number; 0 if none."""
    first = np.zeros(count, values.dtype)
    first[numbers[::-1]] = values[::-1]  # where a number repeats, the value written last stays
    return first
