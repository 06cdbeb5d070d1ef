"""How common divisions are is learned from the movie: a single clear one counts, and a newcomer is no daughter."""

import math

import numpy as np
import pytest

from helpers.label_movies import tracked
from helpers.store_batches import place_discs

N_FRAMES, SIDE, CHANGE, MIDDLE = 60, 120, 30, 50


def still_cells(in_the_hole):
    """Labels (t, y, x) of a grid of 6 x 6 cells of radius 6 that tremble by half a pixel.

    Args:
        in_the_hole: function of the frame to discs [(offset y, x from the place left free, radius)].
    """
    rng, line = np.random.default_rng(0), np.arange(10, SIDE, 20)
    grid = [(y, x) for y in line for x in line if (y, x) != (MIDDLE, MIDDLE)]
    movie = []
    for t in range(N_FRAMES):
        frame = place_discs((SIDE, SIDE), grid + rng.uniform(-0.5, 0.5, (len(grid), 2)), 6)
        for number, (y, x, radius) in enumerate(in_the_hole(t), start=len(grid) + 1):
            frame[place_discs((SIDE, SIDE), [(MIDDLE + y, MIDDLE + x)], radius) > 0] = number
        movie.append(frame)
    return np.stack(movie)


def test_single_division_of_a_long_movie_is_found():
    movie = still_cells(lambda t: [(0, 0, 6)] if t < CHANGE else [(0, -5, 4.3), (0, 5, 4.3)])
    _, parents, graph = tracked(movie)
    assert len(parents) == 2
    assert len(graph.divisions) == 1
    assert graph.divisions[0].confidence > 0.9
    # One division beside the 50 * 0.005 of the prior, against 50 * 0.01 newcomers of the prior and none of the movie.
    assert graph.divisions[0].evidence["prior"] == pytest.approx(0.7 * math.log(1.25 / 0.5), abs=0.05)


def test_cell_that_appears_in_a_long_movie_is_no_daughter():
    movie = still_cells(lambda t: [] if t < CHANGE else [(0, 0, 6)])
    assert tracked(movie)[1] == {}


def test_cells_that_appear_beside_others_are_no_daughters():
    movie = still_cells(lambda t: [(0, -6, 5)] if t < CHANGE else [(0, -6, 5), (0, 6, 5)])
    assert tracked(movie)[1] == {}
