"""Runs: the stretches of equal pixels in the rows of a plane, far fewer than its pixels."""

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """Stretches of equal pixels, in the order of rows; arrays (runs,).

    Attributes:
        starts: positions of the first pixels in the flattened plane.
        values: of the pixels.
        lengths: numbers of pixels; none goes beyond its row.
    """

    starts: np.ndarray
    values: np.ndarray
    lengths: np.ndarray


def encode_runs(plane):
    """The Runs of a plane (y, x) of integers."""
    begins = np.ones(plane.shape, bool)
    np.not_equal(plane[:, 1:], plane[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    return Runs(starts, plane.ravel()[starts], np.diff(starts, append=plane.size))


def count_pixels(ids, count):
    """How many pixels of the plane `ids` (y, x) each id 0 .. count has: int64 (count + 1,)."""
    runs = encode_runs(ids)
    return np.bincount(runs.values, runs.lengths, minlength=count + 1).astype(np.int64)


def count_overlaps(one, two):
    """How many pixels the ids of two arrays share: int64 (3, pairs), an id of `one`, one of `two`, and the pixels.

    Args:
        one, two: integers of one shape (..., x), 0 to 2**31 - 1, 0 is background, as what is negative in `one`.
    """
    if not one.size:
        return np.zeros((3, 0), np.int64)
    keys = np.left_shift(one, 32, dtype=np.int64) | two
    runs = encode_runs(keys.reshape(-1, keys.shape[-1]))
    both = (runs.values >> 32 > 0) & (runs.values & 0xFFFFFFFF > 0)
    pairs, of = np.unique(runs.values[both], return_inverse=True)
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF, np.bincount(of, runs.lengths[both], len(pairs)).astype(np.int64)])


def first_values(numbers, values, count):
    """The first of `values` that goes with each number 0 .. count - 1 in the array `numbers`; 0 if none."""
    first = np.zeros(count, values.dtype)
    first[numbers[::-1]] = values[::-1]  # of repeated places, the last that is written stays
    return first
