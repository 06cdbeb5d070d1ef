"""Predictors: tiles become smaller when memory does not suffice, once for all threads that find so."""

import itertools

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.inference.tile_predictor import TilePredictor
from tessera.io.region_of_interest import clip_to_roi


@pytest.fixture
def predictor():
    plane = np.zeros((1, 1, 1, 600, 600), np.uint8)
    return TilePredictor(plane, None, order=[0], windows=[(0, 1)], scale=1.0, core_px=512, halo_px=32)


def test_two_threads_that_memory_fails_halve_the_cores_once(predictor, capsys):
    predictor.shrink(MemoryError("no room"), 512)
    predictor.shrink(MemoryError("no room"), 512)
    assert predictor.core_px == 256
    assert capsys.readouterr().out == "Memory does not suffice for a tile (no room); going on with cores of 256 px\n"
    predictor.shrink(MemoryError("no room"), 256)
    assert predictor.core_px == 128


@pytest.mark.parametrize("roi", [None, (100, 590, 37, 300), (0, 600, 256, 257)])
def test_seams_are_where_the_cores_of_what_is_looked_at_meet(predictor, roi):
    predictor.core_px = 96
    firsts = [set(), set()]
    for y, x in itertools.product(range(0, 600, 256), repeat=2):
        if look := clip_to_roi(roi, (slice(y, min(y + 256, 600)), slice(x, min(x + 256, 600)))):
            for tile in predictor.split(look):
                for axis in (0, 1):
                    firsts[axis].add(tile.core[axis].start)
    expected = [sorted(places)[1:] for places in firsts]
    assert predictor.find_seams((256, 256), roi) == expected


class Hungry:
    """Answers zeros, and keeps how many tiles it was given at once."""

    batch_px = 2 * 64 * 64

    def __init__(self):
        self.given = []

    def predict(self, tiles):
        self.given.append(len(tiles))
        return np.zeros((len(tiles), 2, *tiles.shape[1:3]), np.uint8)


def test_tiles_are_made_ready_as_many_at_once_as_the_network_is_given():
    hungry = Hungry()
    sides = {"core_px": 64, "halo_px": 0}
    plane = np.zeros((1, 1, 1, 320, 64), np.uint8)
    predictor = TilePredictor(plane, hungry, order=[0], windows=[(0, 1)], scale=1.0, **sides)
    tiles = predictor.split((slice(0, 320), slice(0, 64)))
    answers = predictor.predict_tiles([(tile, predictor.read(0, 0, tile)) for tile in tiles])
    assert [answer.shape for answer in answers] == [(2, 64, 64)] * 5
    assert hungry.given == [2, 2, 1]


def test_the_smallest_of_cores_are_not_halved(predictor):
    predictor.core_px = 128
    with pytest.raises(InputError, match=r"memory does not suffice for the smallest of tiles \(no room\)"):
        predictor.shrink(MemoryError("no room"), 128)
