"""Chunks are decoded once for all blocks in them."""

import numpy as np
import pytest
import zarr

from tessera.io.chunk_reader import ChunkReader

PIXELS = np.arange(2 * 30 * 40, dtype=np.uint16).reshape(2, 30, 40)


class CountedArray:
    """An array that counts the pixels that are read."""

    def __init__(self, array):
        self.shape, self.chunks, self.dtype, self.read_pixels = array.shape, array.chunks, array.dtype, 0
        self._array = array

    def __getitem__(self, index):
        pixels = self._array[index]
        self.read_pixels += pixels.size
        return pixels


def count_reads(chunks, side, together=1, limit=2**28):
    """Pixels that are read for all blocks of `side` pixels, which are compared with the truth."""
    array = CountedArray(zarr.create_array({}, shape=PIXELS.shape, dtype=PIXELS.dtype, chunks=chunks))
    array._array[:] = PIXELS
    reader = ChunkReader(array, together)
    for y in range(0, 30, side):
        for x in range(0, 40, side):
            block = (slice(None), slice(y, y + side), slice(x, x + side))
            np.testing.assert_array_equal(reader[block], PIXELS[block])
    return array.read_pixels


@pytest.mark.parametrize("side", [7, 10, 16])
@pytest.mark.parametrize(("chunks", "together"), [((2, 30, 40), 1), ((1, 30, 40), 2)])
def test_chunk_larger_than_the_limit_is_read_once(monkeypatch, side, chunks, together):
    monkeypatch.setattr("tessera.io.chunk_reader.KEPT_BYTES", 100)
    assert count_reads(chunks, side, together) == PIXELS.size


def test_blocks_of_whole_chunks_are_read_as_they_are():
    assert count_reads((1, 5, 5), 10) == PIXELS.size


def test_number_and_slice_of_an_index_are_read_from_kept_chunks():
    reader = ChunkReader(zarr.create_array({}, data=PIXELS, chunks=(2, 30, 40)))
    np.testing.assert_array_equal(reader[1, 3:5, :], PIXELS[1, 3:5])
    np.testing.assert_array_equal(reader[0, :, 39], PIXELS[0, :, 39])
