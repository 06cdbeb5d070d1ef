"""Caches: chunks of arrays that were read lately stay in memory, since patches lie in the same ones again and again."""

import itertools
import threading
from collections import OrderedDict

import numpy as np

from tessera.io.ome_zarr_store import read_block


class ChunkCache:
    """Chunks of any arrays, the last used ones, up to so many bytes; threads share it.

    Args:
        most_bytes: what the chunks may take.
    """

    def __init__(self, most_bytes):
        self._most, self._bytes, self._chunks = most_bytes, 0, OrderedDict()
        self._turn = threading.Lock()

    def get(self, key, read):
        """The chunk of this key, by `read()` where it is not there."""
        with self._turn:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
        chunk = read()
        chunk.setflags(write=False)
        with self._turn:
            if key not in self._chunks:
                self._chunks[key] = chunk
                self._bytes += chunk.nbytes
            while self._bytes > self._most:
                self._bytes -= self._chunks.popitem(last=False)[1].nbytes
        return chunk


class CachedArray:
    """An array of `tessera.io.ome_zarr_store.open_array`, read by numbers and slices without steps, through a cache.

    Args:
        array: zarr.Array.
        cache: ChunkCache.
    """

    def __init__(self, array, cache):
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks
        self._array, self._cache = array, cache

    def __getitem__(self, index):
        spans = [
            range(size)[part] if isinstance(part, slice) else range(size)[part : part + 1]
            for part, size in zip(index, self.shape, strict=True)
        ]
        found = np.empty([len(span) for span in spans], self.dtype)
        sides = zip(spans, self.chunks, strict=True)
        numbers = [range(span.start // side, -(-span.stop // side)) for span, side in sides]
        for number in itertools.product(*numbers):
            corner = [place * side for place, side in zip(number, self.chunks, strict=True)]
            chunk = self._cache.get((id(self._array), number), lambda corner=corner: self._read(corner))
            into, out_of = [], []
            for span, first, length in zip(spans, corner, chunk.shape, strict=True):
                low, high = max(span.start, first), min(span.stop, first + length)
                into.append(slice(low - span.start, high - span.start))
                out_of.append(slice(low - first, high - first))
            found[tuple(into)] = chunk[tuple(out_of)]
        return found[tuple(slice(None) if isinstance(part, slice) else 0 for part in index)]

    def _read(self, corner):
        return read_block(
            self._array, tuple(slice(first, first + side) for first, side in zip(corner, self.chunks, strict=True))
        )
