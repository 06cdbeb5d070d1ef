"""A cache of recently read chunks of Zarr arrays, since patches often come from the same chunks."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.io.ome_zarr_store import read_block
from tessera.io.shards import ZarrArray


class ChunkCache:
    """The most recently used chunks of any arrays, shared by threads.

    Args:
        max_bytes: total size of the chunks that are kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._chunks: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the chunk with this key, and call `read()` for it if it is not in the cache."""
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
        chunk = read()
        chunk.setflags(write=False)
        with self._lock:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self._bytes += chunk.nbytes
            while self._bytes > self._max_bytes:
                self._bytes -= self._chunks.popitem(last=False)[1].nbytes
        return chunk


class CachedArray:
    """An array read through a cache. Indices are numbers and slices without steps, one for each axis.

    Args:
        array: array of `tessera.io.ome_zarr_store.open_array`.
        cache: the cache that keeps its chunks.
    """

    def __init__(self, array: ZarrArray, cache: ChunkCache) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.chunks: tuple[int, ...] = array.chunks
        self._array, self._cache = array, cache

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        spans = [
            range(size)[part] if isinstance(part, slice) else range(size)[part : part + 1]
            for part, size in zip(index, self.shape, strict=True)
        ]
        pixels = np.empty([len(span) for span in spans], self.dtype)
        sides = zip(spans, self.chunks, strict=True)
        numbers = [range(span.start // side, -(-span.stop // side)) for span, side in sides]
        for number in itertools.product(*numbers):
            corner = [place * side for place, side in zip(number, self.chunks, strict=True)]
            chunk = self._cache.get((id(self._array), number), partial(self._read, corner))
            target, source = [], []
            for span, first, length in zip(spans, corner, chunk.shape, strict=True):
                low, high = max(span.start, first), min(span.stop, first + length)
                target.append(slice(low - span.start, high - span.start))
                source.append(slice(low - first, high - first))
            pixels[tuple(target)] = chunk[tuple(source)]
        return pixels[tuple(slice(None) if isinstance(part, slice) else 0 for part in index)]

    def _read(self, corner: list[int]) -> NDArray[Any]:
        return read_block(
            self._array, tuple(slice(first, first + side) for first, side in zip(corner, self.chunks, strict=True))
        )
