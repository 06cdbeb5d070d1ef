"""Regions without contrast, which prediction skips."""

import numpy as np
import pytest

from helpers.store_batches import write_image
from tessera.common.errors import InputError
from tessera.data.normalization import IntensityRanges
from tessera.inference.empty_regions import EmptyRegionFilter


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """1024 x 1024, two frames: noise, and in the second channel of the second frame cells of 8 pixels in one corner."""
    pixels = np.random.default_rng(0).normal(100, 2, (2, 2, 1, 1024, 1024)).astype(np.uint16)
    pixels[1, 1, 0, 900:1020:40, 900:1020:40] = 1000
    for row in range(8):
        for column in range(8):
            pixels[1, 1, 0, 900 + row : 1020 : 40, 900 + column : 1020 : 40] = 1000
    return write_image(tmp_path_factory.mktemp("images"), "a", pixels)


def make_filter(path, windows, order, contrast):
    return EmptyRegionFilter(path, IntensityRanges([windows]), order, contrast)


WINDOWS = [(90, 110), (100, 1000)]
CORNER, REST = slice(768, 1024), slice(0, 768)


def test_regions_without_cells_are_empty(store):
    assert (store / "2").is_dir()
    is_empty = make_filter(store, WINDOWS[1:], [1], 0.2).is_empty
    assert not is_empty(1, 0, CORNER, CORNER)
    assert is_empty(1, 0, CORNER, REST)
    assert is_empty(1, 0, REST, CORNER)
    assert is_empty(0, 0, CORNER, CORNER)


def test_a_region_is_empty_only_if_it_is_in_every_channel_that_the_network_sees(store):
    assert make_filter(store, WINDOWS[:1], [0], 0.6).is_empty(1, 0, CORNER, CORNER)
    assert not make_filter(store, WINDOWS, [0, 1], 0.6).is_empty(1, 0, CORNER, CORNER)
    assert not make_filter(store, WINDOWS[::-1], [1, 0], 0.6).is_empty(1, 0, CORNER, CORNER)


def test_a_part_of_a_cell_at_the_edge_of_a_region_is_not_overlooked(store):
    is_empty = make_filter(store, WINDOWS[1:], [1], 0.2).is_empty
    assert not is_empty(1, 0, slice(0, 901), slice(0, 901))
    assert is_empty(1, 0, slice(0, 900), slice(0, 900))
    assert not is_empty(1, 0, slice(987, 988), slice(987, 1024))


def test_a_coarse_level_that_is_damaged_is_named(tmp_path):
    path = write_image(tmp_path, "a", np.random.default_rng(0).integers(0, 9, (1, 1, 1, 700, 700)).astype(np.uint8))
    shard = next(file for file in (path / "1" / "c").rglob("*") if file.is_file())
    shard.write_bytes(b"\0" * shard.stat().st_size)
    with pytest.raises(InputError, match=r"a\.ome\.zarr: the store is damaged, pixels at .* cannot be read"):
        make_filter(path, [(0, 9)], [0], 0.1).is_empty(0, 0, slice(0, 700), slice(0, 700))


def test_no_contrast_finds_nothing_empty_not_even_what_is_constant(tmp_path):
    path = write_image(tmp_path, "a", np.zeros((1, 1, 1, 40, 40), np.uint8))
    everything = (0, 0, slice(0, 40), slice(0, 40))
    assert not make_filter(path, [(0, 1)], [0], 0).is_empty(*everything)
    assert make_filter(path, [(0, 1)], [0], 0.01).is_empty(*everything)


def test_contrast_is_that_of_intensities_before_compression(store):
    ranges = IntensityRanges([[(100, 1000)]], is_compressed=True)
    assert EmptyRegionFilter(store, ranges, [1], 0.9).is_empty(1, 0, CORNER, REST)
    assert not EmptyRegionFilter(store, ranges, [1], 0.9).is_empty(1, 0, CORNER, CORNER)
    assert EmptyRegionFilter(store, ranges, [1], 0.05).is_empty(0, 0, CORNER, CORNER)
