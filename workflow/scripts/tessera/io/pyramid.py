"""Multiscale pyramids: each level has half the height and width of the previous one."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import ZstdCodec

from tessera.common.types import StrPath
from tessera.io.shards import AXES, Layout, ZarrArray, iterate_shards, layout_of

SMALLEST_PX = 512  # the longer side of the last level is below this
PART_PX = 2**22  # pixels of a level that are computed at once, unless one row of chunks has more


def create_level(path: StrPath, level: int, shape: Sequence[int], dtype: DTypeLike, layout: Layout) -> ZarrArray:
    """Create the empty array (t, c, z, y, x) of one level of the store at `path`, and replace any previous one."""
    return zarr.create_array(
        Path(path) / str(level),
        shape=tuple(shape),
        dtype=np.dtype(dtype),
        chunks=layout.chunks(shape),
        shards=layout.shards(shape, np.dtype(dtype).itemsize),
        compressors=ZstdCodec(level=3, checksum=True),
        attributes=layout.attributes(),
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
        coarse = create_level(path, count, shape, array.dtype, layout_of(array))
        for region in iterate_shards(coarse):
            reduced = np.empty([part.stop - part.start for part in region], coarse.dtype)
            # A few planes or one row of chunks at a time, because their source is four times as large.
            for part in _split_shard(reduced.shape, coarse.chunks[-2]):
                frames, planes, rows = (
                    slice(span.start + region[axis].start, span.stop + region[axis].start)
                    for axis, span in zip((0, 2, 3), part, strict=True)
                )
                fine = (slice(2 * span.start, 2 * span.stop) for span in (rows, region[4]))
                source = np.asarray(array[(frames, slice(None), planes, *fine)])
                reduced[part[0], :, part[1], part[2]] = reduce(source)
            coarse[region] = reduced
        array = coarse
        count += 1
    return count


def _split_shard(shape: Sequence[int], chunk_rows: int) -> list[tuple[slice, slice, slice]]:
    """Split a shard (t, c, z, y, x) into slices (t, z, y): rows of chunks, or as many planes as have PART_PX pixels."""
    frames, channels, depth, height, width = shape
    rows = min(chunk_rows, height)
    strip_px = channels * rows * width
    planes = min(depth, max(1, PART_PX // strip_px)) if rows == height else 1
    times = max(1, PART_PX // (strip_px * depth)) if rows == height and planes == depth else 1
    starts = itertools.product(range(0, frames, times), range(0, depth, planes), range(0, height, rows))
    return [
        (
            slice(t, min(t + times, frames)),
            slice(z, min(z + planes, depth)),
            slice(y, min(y + rows, height)),
        )
        for t, z, y in starts
    ]


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
