"""Reads blocks of an array whose chunks are decoded at once, so that a chunk is not decoded again for every block."""

import math
from typing import Any

import numpy as np
import zarr

from tessera.io.shards import ZarrArray

MAX_CHUNK_BYTES = 2**30  # larger chunks are refused
KEPT_BYTES = 2**28  # chunks up to this size are kept together


class ChunkReader:
    """A Zarr array that reads whole chunks and keeps the last ones for the next block.

    A block that lies within one chunk, in all channels, decodes it once, however large it is. Smaller chunks are kept
    up to KEPT_BYTES. Blocks that need more are read without keeping anything.

    Args:
        array: the array.
        together: how many chunks beside each other belong to the same place of an image, such as its channels.
    """

    def __init__(self, array: ZarrArray, together: int = 1) -> None:
        self._array = array
        self.dtype: np.dtype[Any] = array.dtype
        chunk_bytes = max(1, math.prod(array.chunks) * array.dtype.itemsize)
        self._kept_bytes = max(KEPT_BYTES, together * chunk_bytes)
        self._parallel = max(1, min(10, KEPT_BYTES // chunk_bytes))
        self._chunks: tuple[slice, ...] | None = None
        self._pixels: Any = None

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        """Return pixels; the index has a whole number or a slice for each dimension."""
        array = self._array
        asked = tuple(
            slice(at, at + 1) if isinstance(at, int) else slice(*at.indices(size)[:2])
            for at, size in zip(index, array.shape, strict=True)
        )
        wide = tuple(
            slice(span.start // step * step, min(-(-span.stop // step) * step, size))
            for span, step, size in zip(asked, array.chunks, array.shape, strict=True)
        )
        wide_bytes = math.prod(span.stop - span.start for span in wide) * array.dtype.itemsize
        with zarr.config.set({"async.concurrency": self._parallel}):
            if wide == asked or wide_bytes > self._kept_bytes:
                return array[index]
            if wide != self._chunks:
                self._chunks = self._pixels = None  # free the memory first
                self._pixels, self._chunks = array[wide], wide
        inner = (
            span.start - whole.start
            if isinstance(at, int)
            else slice(span.start - whole.start, span.stop - whole.start)
            for at, span, whole in zip(index, asked, wide, strict=True)
        )
        return self._pixels[tuple(inner)]
