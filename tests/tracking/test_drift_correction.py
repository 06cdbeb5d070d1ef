"""The drift of a frame: in a regular array many drifts explain it, and the shortest is taken."""

import numpy as np
import pytest

from tessera.tracking.drift_correction import estimate_drift

SPACE = 30.0


def array(drift, seed):
    """Centers (objects, 3) of an array of 9 x 9 objects that moved by `drift` along x, and tremble by a pixel."""
    line = SPACE * np.arange(9)
    places = np.stack(np.meshgrid([0.0], line, line, indexing="ij"), -1).reshape(-1, 3)
    return places + np.array([0, 0, drift]) + np.random.default_rng(seed).normal(0, 1, places.shape) * [0, 1, 1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("drift", [-9, 3, 6, 9, 12])
def test_array_moves_by_the_shortest_drift(drift, seed):
    sizes = np.full(81, np.pi * 8**2)
    found = estimate_drift(array(0, 10 + seed), array(drift, seed), sizes, sizes, np.ones(3))
    assert found == pytest.approx([0, 0, drift], abs=1)


def test_longer_drift_is_taken_if_only_it_explains_the_frame():
    rng = np.random.default_rng(0)
    places = np.column_stack([np.zeros(60), rng.uniform(0, 400, (60, 2))])
    sizes = np.full(60, 200.0)
    assert estimate_drift(places, places + np.array([0, 20, -45]), sizes, sizes, np.ones(3)) == pytest.approx(
        [0, 20, -45]
    )
