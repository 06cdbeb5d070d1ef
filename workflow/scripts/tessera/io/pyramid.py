"""Multiscale pyramids: each level has half the height and width of the previous one."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import ZstdCodec

from tessera.common.types import StrPath

ZarrArray: TypeAlias = "zarr.Array[Any]"

AXES = ("t", "c", "z", "y", "x")
SMALLEST_PX = 512  # the longer side of the last level is below this


def create_level(
    path: StrPath,
    level: int,
    shape: Sequence[int],
    dtype: DTypeLike,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
) -> ZarrArray:
    """Create the empty array (t, c, z, y, x) of one level of the store at `path`, and replace any previous one."""
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


def build_pyramid(path: StrPath, reduce: Callable[[NDArray[Any]], NDArray[Any]], levels: int | None = None) -> int:
    """Write the reduced levels of the store at `path`, shard by shard.

    Args:
        path: a store whose full-size level is complete.
        reduce: `mean_2x2` or `nearest_2x2`.
        levels: number of levels, including the full size; None: until the longer side is below SMALLEST_PX.

    Returns:
        The number of levels.
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
            # One row of chunks at a time, because its source is four times as large.
            for top in range(rows.start, rows.stop, coarse.chunks[-2]):
                part = slice(top, min(top + coarse.chunks[-2], rows.stop))
                fine = (*planes, slice(2 * part.start, 2 * part.stop), slice(2 * columns.start, 2 * columns.stop))
                reduced[..., part.start - rows.start : part.stop - rows.start, :] = reduce(np.asarray(array[fine]))
            coarse[region] = reduced
        array = coarse
        count += 1
    return count


def mean_2x2(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return means of 2 x 2 pixels in y and x (the last two axes), in the same type; an odd border counts twice."""
    padded = np.pad(pixels, [(0, 0)] * (pixels.ndim - 2) + [(0, size % 2) for size in pixels.shape[-2:]], mode="edge")
    exact = np.float32 if pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32 else np.float64
    rows = padded[..., ::2, :].astype(exact) + padded[..., 1::2, :]
    mean: NDArray[Any] = (rows[..., ::2] + rows[..., 1::2]) / 4
    return np.rint(mean).astype(pixels.dtype) if pixels.dtype.kind in "iu" else mean.astype(pixels.dtype)


def nearest_2x2(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the first of each 2 x 2 pixels in y and x (the last two axes)."""
    return pixels[..., ::2, ::2]


def level_transformations(scale: Sequence[float], level: int, method: str) -> list[dict[str, Any]]:
    """Return the `coordinateTransformations` of a level: its scale, and the offset of its pixel centers.

    For means the offset is (2^level - 1) / 2 pixels of the full size. For nearest neighbors it is 0.

    Args:
        scale: size of a full-size pixel along (t, c, z, y, x).
        level: number of the level, 0 is the full size.
        method: "mean" or "nearest".
    """
    factor = 2**level
    transformations = [{"type": "scale", "scale": [*scale[:3], scale[3] * factor, scale[4] * factor]}]
    if level and method == "mean":
        shift = [0.0, 0.0, 0.0, scale[3] * (factor - 1) / 2, scale[4] * (factor - 1) / 2]
        transformations.append({"type": "translation", "translation": shift})
    return transformations


def iterate_shards(array: ZarrArray) -> Iterator[tuple[slice, ...]]:
    """Yield the region of each shard of `array` (t, c, z, y, x), as slices that end at the border of the array."""
    steps = array.shards or array.chunks
    starts = (range(0, size, step) for size, step in zip(array.shape, steps, strict=True))
    for start in itertools.product(*starts):
        yield tuple(
            slice(first, min(first + step, size)) for first, step, size in zip(start, steps, array.shape, strict=True)
        )
