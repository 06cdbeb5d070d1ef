"""Looks: frames, regions of interest, and regions in which nothing is."""

import numpy as np
import pytest

from scenes import write_image
from tessera.common.errors import InputError
from tessera.io.region_of_interest import Emptiness, check_roi, chosen_frames, clip


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ("", [0, 1, 2, 3, 4, 5]),
        (":", [0, 1, 2, 3, 4, 5]),
        ("::", [0, 1, 2, 3, 4, 5]),
        ("3", [3]),
        ("1:3", [1, 2]),
        ("::2", [0, 2, 4]),
        ("1:100:3", [1, 4]),
        ("-2:", [4, 5]),
        ("5,0,5", [0, 5]),
        ("-1,0", [0, 5]),
        ("0,-6", [0]),
    ],
)
def test_frames_are_a_slice_or_numbers(text, frames):
    assert chosen_frames("a", text, 6) == frames


@pytest.mark.parametrize("text", ["6", "0,7", "-7", "4:2", "10:20"])
def test_frames_that_an_image_does_not_have_are_refused(text):
    with pytest.raises(InputError, match=rf"a: has 6 frames, 0 to 5, and frames is {text}; correct it"):
        chosen_frames("a", text, 6)


def test_a_region_of_interest_lies_within_the_plane():
    check_roi("a", None, (10, 20))
    check_roi("a", (0, 10, 5, 20), (10, 20))
    for roi in ((0, 11, 0, 20), (0, 10, 0, 21)):
        with pytest.raises(InputError, match=r"a: has 10 x 20 pixels \(y, x\), and roi is 0:1\d,0:2\d"):
            check_roi("a", roi, (10, 20))


@pytest.mark.parametrize(
    ("roi", "part"),
    [
        (None, (10, 20, 30, 40)),
        ((0, 100, 0, 100), (10, 20, 30, 40)),
        ((12, 18, 32, 38), (12, 18, 32, 38)),
        ((0, 15, 35, 100), (10, 15, 35, 40)),
        ((20, 30, 30, 40), None),
        ((0, 100, 0, 30), None),
    ],
)
def test_a_region_is_cut_to_what_is_of_interest(roi, part):
    region = (slice(10, 20), slice(30, 40))
    expected = part and (slice(*part[:2]), slice(*part[2:]))
    assert clip(roi, region) == expected


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """1024 x 1024, two frames: noise, and in the second channel of the second frame cells of 8 pixels in one corner."""
    pixels = np.random.default_rng(0).normal(100, 2, (2, 2, 1, 1024, 1024)).astype(np.uint16)
    pixels[1, 1, 0, 900:1020:40, 900:1020:40] = 1000
    for row in range(8):
        for column in range(8):
            pixels[1, 1, 0, 900 + row : 1020 : 40, 900 + column : 1020 : 40] = 1000
    return write_image(tmp_path_factory.mktemp("images"), "a", pixels)


WINDOWS = [(90, 110), (100, 1000)]
CORNER, REST = slice(768, 1024), slice(0, 768)


def test_regions_without_cells_are_empty(store):
    assert (store / "2").is_dir()
    is_empty = Emptiness(store, WINDOWS[1:], [1], 0.2)
    assert not is_empty(1, 0, CORNER, CORNER)
    assert is_empty(1, 0, CORNER, REST)
    assert is_empty(1, 0, REST, CORNER)
    assert is_empty(0, 0, CORNER, CORNER)


def test_a_region_is_empty_only_if_it_is_in_every_channel_that_the_network_sees(store):
    assert Emptiness(store, WINDOWS[:1], [0], 0.6)(1, 0, CORNER, CORNER)
    assert not Emptiness(store, WINDOWS, [0, 1], 0.6)(1, 0, CORNER, CORNER)
    assert not Emptiness(store, WINDOWS[::-1], [1, 0], 0.6)(1, 0, CORNER, CORNER)


def test_a_part_of_a_cell_at_the_edge_of_a_region_is_not_overlooked(store):
    is_empty = Emptiness(store, WINDOWS[1:], [1], 0.2)
    assert not is_empty(1, 0, slice(0, 901), slice(0, 901))
    assert is_empty(1, 0, slice(0, 900), slice(0, 900))
    assert not is_empty(1, 0, slice(987, 988), slice(987, 1024))


def test_a_coarse_level_that_is_damaged_is_named(tmp_path):
    path = write_image(tmp_path, "a", np.random.default_rng(0).integers(0, 9, (1, 1, 1, 700, 700)).astype(np.uint8))
    shard = next(file for file in (path / "1" / "c").rglob("*") if file.is_file())
    shard.write_bytes(b"\0" * shard.stat().st_size)
    with pytest.raises(InputError, match=r"a\.ome\.zarr: the store is damaged, pixels at .* cannot be read"):
        Emptiness(path, [(0, 9)], [0], 0.1)(0, 0, slice(0, 700), slice(0, 700))


def test_no_contrast_finds_nothing_empty_not_even_what_is_constant(tmp_path):
    path = write_image(tmp_path, "a", np.zeros((1, 1, 1, 40, 40), np.uint8))
    everything = (0, 0, slice(0, 40), slice(0, 40))
    assert not Emptiness(path, [(0, 1)], [0], 0)(*everything)
    assert Emptiness(path, [(0, 1)], [0], 0.01)(*everything)
