"""Predictors: tiles become smaller when memory does not suffice, once for all threads that find so."""

import numpy as np
import pytest
from lib.errors import InputError
from lib.predictors import Predictor


@pytest.fixture
def predictor():
    plane = np.zeros((1, 1, 1, 600, 600), np.uint8)
    return Predictor(plane, None, order=[0], windows=[(0, 1)], scale=1.0, core_px=512, halo_px=32)


def test_two_threads_that_memory_fails_halve_the_cores_once(predictor, capsys):
    predictor.shrink(MemoryError("no room"), 512)
    predictor.shrink(MemoryError("no room"), 512)
    assert predictor.core_px == 256
    assert capsys.readouterr().out == "Memory does not suffice for a tile (no room); going on with cores of 256 px\n"
    predictor.shrink(MemoryError("no room"), 256)
    assert predictor.core_px == 128


def test_the_smallest_of_cores_are_not_halved(predictor):
    predictor.core_px = 128
    with pytest.raises(InputError, match=r"memory does not suffice for the smallest of tiles \(no room\)"):
        predictor.shrink(MemoryError("no room"), 128)
