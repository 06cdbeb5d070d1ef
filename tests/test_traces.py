"""What a movie shows of its cells decides what the border cuts, what is merged at its ends, and how sure sizes are."""

import numpy as np
import pytest
from lib.motions import spread_of, wide_spread_of
from movies import same_cells, shuffled, tracked
from scenes import place_discs

SHAPE = (160, 160)
PLACES = [(y, x + off) for y in range(16, 150, 26) for x in (20, 70, 120) for off in (-7, 8)]  # pairs that touch


def pairs(frames=10):
    """A movie of pairs of discs that touch and stay; ids that last."""
    return np.stack([place_discs(SHAPE, np.add(PLACES, (0.3 * t, 0.0)), 7.5) for t in range(frames)])


def merge(movie, t, pair):
    """The movie with both cells of a pair merged in frame t."""
    seen = movie.copy()
    seen[t][seen[t] == 2 * pair + 2] = 2 * pair + 1
    return seen


@pytest.mark.parametrize("end", ["first", "last"])
def test_where_cells_are_merged_or_in_pieces_now_and_then_those_at_an_end_do_not_divide(end):
    movie = pairs()
    seen = merge(movie, 0, 5)
    for t, pair in ((2, 0), (3, 4), (4, 8), (5, 12), (6, 2), (7, 10)):
        seen = merge(seen, t, pair)
    if end == "last":
        # Pieces are mergers seen backwards; as truth, a pair is one cell that falls apart.
        movie = (movie + 1) // 2
        seen = movie.copy()
        whole = pairs()
        for t, pair in ((9, 5), (2, 0), (3, 4), (4, 8), (5, 12), (6, 2), (7, 10)):
            seen[t][whole[t] == 2 * pair + 2] = 100
    _, parents, decided = tracked(shuffled(seen))
    assert not decided.divisions
    assert not parents


@pytest.mark.parametrize(("t", "missed"), [(4, [10]), (4, [9, 10]), (6, [10]), (6, [9, 10])])
def test_those_that_are_merged_beside_a_frame_in_which_they_were_missed_are_parted_and_filled(t, missed):
    movie = pairs()
    seen = merge(movie, 5, 4)
    seen[t][np.isin(seen[t], missed)] = 0
    labels, parents, decided = tracked(shuffled(seen))
    assert not parents
    assert len(np.unique(labels)) == len(PLACES) + 1
    assert all(len(np.unique(frame)) == len(PLACES) + 1 for frame in labels)
    assert same_cells(labels[7:, 0], movie[7:])
    assert len(decided.hides) == 1
    frames = np.repeat(np.arange(len(seen)), [len(np.unique(frame)) - 1 for frame in seen])
    skips = [row for row, gone in enumerate(decided.before) if gone >= 0 and frames[row] - frames[gone] > 1]
    assert sorted(decided.gaps) == skips


@pytest.mark.parametrize("divides", [True, False])
def test_at_the_border_the_size_of_the_other_cell_tells_a_daughter_from_a_newcomer(divides):
    movie, cell = pairs(), len(PLACES) + 1
    movie[:, 138:, 98:122] = 0
    top, middle = 139, 147
    movie[:, top : 2 * middle - top, 103:117] = cell
    if divides:
        # The lower half goes to the border, which cuts it.
        movie[5:, middle:, 103:117] = 0
        movie[5:, middle + 5 :, 103:117] = cell + 1
    else:
        movie[5:, 2 * middle - top :, 103:117] = cell + 1
    _, parents, decided = tracked(shuffled(movie))
    assert len(decided.divisions) == len(parents) / 2 == divides


def test_the_spread_of_sizes_that_jump_is_not_that_of_those_that_do_not():
    values = np.concatenate([np.zeros(55), np.full(45, 0.5)]) + np.random.default_rng(0).normal(0, 0.01, 100)
    assert spread_of(values, 0.03) == 0.03
    assert 0.25 < wide_spread_of(values, 0.03) < 0.5
    steady = np.random.default_rng(1).normal(0, 0.1, 5000)
    assert wide_spread_of(steady, 0.03) == pytest.approx(spread_of(steady, 0.03), rel=0.2)
    assert wide_spread_of(np.zeros(0), 0.03) == 0.03
