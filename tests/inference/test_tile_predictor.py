"""Tiles of one image: batches, seams, and smaller tiles when memory is exhausted."""

import itertools

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.data.normalization import IntensityRanges
from tessera.inference.network_view import NetworkView
from tessera.inference.tile_predictor import TilePredictor
from tessera.inference.tiling import TilePlan
from tessera.io.region_of_interest import clip_to_roi


@pytest.fixture
def predictor():
    plane = np.zeros((1, 1, 1, 600, 600), np.uint8)
    return TilePredictor(plane, None, NetworkView([0], IntensityRanges([[(0, 1)]])), TilePlan(512, 32))


def test_cores_are_halved_once_when_memory_fails_two_threads(predictor, caplog):
    caplog.set_level("INFO")
    predictor.shrink(MemoryError("no room"), 512)
    predictor.shrink(MemoryError("no room"), 512)
    assert predictor.core_px == 256
    assert caplog.messages == ["Not enough memory for a tile (no room); continuing with cores of 256 px"]
    predictor.shrink(MemoryError("no room"), 256)
    assert predictor.core_px == 128


@pytest.mark.parametrize("roi", [None, (100, 590, 37, 300), (0, 600, 256, 257)])
def test_seams_are_where_cores_of_the_region_of_interest_meet(predictor, roi):
    predictor.plan = TilePlan(96, 32)
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


def test_tiles_are_prepared_in_batches_of_the_network():
    hungry = Hungry()
    plane = np.zeros((1, 1, 1, 320, 64), np.uint8)
    predictor = TilePredictor(plane, hungry, NetworkView([0], IntensityRanges([[(0, 1)]])), TilePlan(64, 0))
    tiles = predictor.split((slice(0, 320), slice(0, 64)))
    answers = predictor.predict_tiles([(tile, predictor.read(0, 0, tile)) for tile in tiles])
    assert [answer.shape for answer in answers] == [(2, 64, 64)] * 5
    assert hungry.given == [2, 2, 1]


def test_the_smallest_cores_are_not_halved(predictor):
    predictor.plan = TilePlan(128, 32)
    with pytest.raises(InputError, match=r"not enough memory for the smallest tiles \(no room\)"):
        predictor.shrink(MemoryError("no room"), 128)


def test_tiles_of_a_movie_are_normalized_by_frame():
    rng = np.random.default_rng(0)
    frame = rng.integers(100, 200, (64, 64)).astype(np.float32)
    movie = np.stack([frame, 0.25 * frame + 30])[:, None, None]
    ranges = IntensityRanges([[(100, 200)], [(55, 80)]], is_compressed=True)
    predictor = TilePredictor(movie, None, NetworkView([0], ranges), TilePlan(64, 0))
    (tile,) = predictor.split((slice(0, 64), slice(0, 64)))
    assert predictor.read(1, 0, tile) == pytest.approx(predictor.read(0, 0, tile), abs=1e-5)
