"""Arrays read through a cache are what they are, however little it holds."""

import numpy as np
import pytest

from tessera.io.chunk_cache import CachedArray, ChunkCache
from tessera.io.ome_zarr_store import create_store, open_array


@pytest.fixture
def array(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 999, (2, 3, 1, 70, 50)).astype(np.uint16)
    create_store(tmp_path / "a.ome.zarr", pixels.shape, pixels.dtype, chunk_px=16, shard_px=32)[...] = pixels
    return open_array(tmp_path / "a.ome.zarr")


@pytest.mark.parametrize("most_bytes", [0, 2000, 10**9])
def test_cached_array_equals_the_array(array, most_bytes):
    cached, rng = CachedArray(array, ChunkCache(most_bytes)), np.random.default_rng(1)
    for _ in range(20):
        (y0, y1), (x0, x1) = (np.sort(rng.choice(size + 1, 2, replace=False)) for size in (70, 50))
        index = (int(rng.integers(2)), slice(None), 0, slice(y0, y1), slice(x0, x1))
        assert np.array_equal(cached[index], array[index])
    assert cached[1, 2, 0, 69, 49] == array[1, 2, 0, 69, 49]
    assert np.array_equal(cached[0, 0, 0, 60:99, -3:], array[0, 0, 0, 60:70, 47:50])


def test_cache_keeps_recent_chunks_within_its_limit():
    read, cache = [], ChunkCache(25)

    def get(key):
        return cache.get(key, lambda: read.append(key) or np.zeros(10, np.uint8))

    for key in "ababcacb":
        get(key)
    assert read == ["a", "b", "c", "a", "b"]
