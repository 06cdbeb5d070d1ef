"""Pyramids: one image in several sizes, levels of a store, each of half the height and width of the one before."""

import itertools
import math
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

AXES = ("t", "c", "z", "y", "x")
SMALLEST_PX = 512  # the longer side of a pyramid's last level is below this


def create_level(path, level, shape, dtype, chunks, shards):
    """Make the empty array (t, c, z, y, x) of one level of the store at `path`, in place of any that is there."""
    return zarr.create_array(
        Path(path) / str(level),
        shape=tuple(shape),
        dtype=np.dtype(dtype),
        chunks=chunks,
        shards=shards,
        compressors=ZstdCodec(level=3, checksum=True),
        dimension_names=AXES,
        zarr_format=3,
        overwrite=True,
    )


def build_pyramid(path, reduce, levels=None):
    """Write the smaller levels of the store at `path`, shard by shard.

    Args:
        path: a store whose full-size level is written.
        reduce: `mean_2x2` or `nearest_2x2`.
        levels: how many there are to be, the full size included; None: until the longer side is below 512.

    Returns:
        How many levels there are.
    """
    count = 1
    array = zarr.open_array(Path(path) / "0", mode="r")
    while (max(array.shape[-2:]) >= SMALLEST_PX) if levels is None else (count < levels):
        *outer, height, width = array.shape
        shape = (*outer, math.ceil(height / 2), math.ceil(width / 2))
        coarse = create_level(path, count, shape, array.dtype, array.chunks, array.shards)
        for region in iterate_shards(coarse):
            *planes, rows, columns = region
            reduced = np.empty([part.stop - part.start for part in region], coarse.dtype)
            # A chunk's height of the coarse shard at a time, since what it is made of is four times as large.
            for top in range(rows.start, rows.stop, coarse.chunks[-2]):
                part = slice(top, min(top + coarse.chunks[-2], rows.stop))
                fine = (*planes, slice(2 * part.start, 2 * part.stop), slice(2 * columns.start, 2 * columns.stop))
                reduced[..., part.start - rows.start : part.stop - rows.start, :] = reduce(array[fine])
            coarse[region] = reduced
        array = coarse
        count += 1
    return count


def mean_2x2(pixels):
    """Means of 2 x 2 pixels in y and x (the last two axes), of the same type; an odd border counts twice."""
    padded = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(0, size % 2) for size in pixels.shape[-2:]], mode="edge")
    exact = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    rows = padded[..., ::2, :].astype(exact) + padded[..., 1::2, :]
    mean = (rows[..., ::2] + rows[..., 1::2]) / 4
    return np.rint(mean).astype(pixels.dtype) if pixels.dtype.kind in "iu" else mean.astype(pixels.dtype)


def nearest_2x2(pixels):
    """The first of each 2 x 2 pixels in y and x (the last two axes)."""
    return pixels[..., ::2, ::2]


def level_transformations(scale, level, method):
    """Scale of a level, and the shift of its pixels' centres against those of the full size.

    The shift is (2^level - 1) / 2 for means of pixels, and none where the first of them was taken.
    """
    factor = 2**level
    transformations = [{"type": "scale", "scale": [*scale[:3], scale[3] * factor, scale[4] * factor]}]
    if level and method == "mean":
        shift = [0.0, 0.0, 0.0, scale[3] * (factor - 1) / 2, scale[4] * (factor - 1) / 2]
        transformations.append({"type": "translation", "translation": shift})
    return transformations


def iterate_shards(array):
    """Regions of `array` (t, c, z, y, x), as tuples of slices: one per shard, the last ones cut at the border."""
    steps = array.shards or array.chunks
    starts = (range(0, size, step) for size, step in zip(array.shape, steps, strict=True))
    for start in itertools.product(*starts):
        yield tuple(
            slice(first, min(first + step, size)) for first, step, size in zip(start, steps, array.shape, strict=True)
        )
