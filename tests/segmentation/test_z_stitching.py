"""Cross-sections become objects through the planes of a stack."""

import numpy as np
import pytest

from tessera.segmentation.z_stitching import stitch_sections


def stitch(areas, overlaps, threshold=0.5):
    """Objects of cross-sections 1, 2, ... with these areas, which share {(below, above): pixels}."""
    pairs = np.array([(*pair, pixels) for pair, pixels in overlaps.items()], np.int64).reshape(-1, 3).T
    return stitch_sections(pairs, np.array([0, *areas]), threshold)[1:].tolist()


def test_cross_sections_that_share_enough_of_the_smaller_one_are_joined():
    assert stitch([10, 100], {(1, 2): 5}) == [1, 1]
    assert stitch([10, 100], {(1, 2): 4}) == [1, 2]
    assert stitch([100, 10], {(1, 2): 5}) == [1, 1]


def test_a_chain_of_cross_sections_is_one_object():
    assert stitch([20, 30, 20, 9], {(1, 2): 18, (2, 3): 15}) == [1, 1, 1, 2]


def test_a_cross_section_joins_only_the_one_that_it_overlaps_most():
    assert stitch([20, 20, 40], {(1, 3): 12, (2, 3): 14}) == [1, 2, 2]
    assert stitch([40, 20, 20], {(1, 2): 14, (1, 3): 14}) == [1, 1, 2]


def test_pairs_that_are_listed_twice_add_up():
    twice = np.array([[1, 1], [2, 2], [3, 2]])
    assert stitch_sections(twice, np.array([0, 10, 10]), 0.5).tolist() == [0, 1, 1]
    assert stitch_sections(twice[:, :1], np.array([0, 10, 10]), 0.5).tolist() == [0, 1, 2]


def brute_force(below, above, threshold):
    """Pairs of ids of two planes to join, by counting pixels of every pair."""
    ids = [np.unique(plane[plane > 0]).tolist() for plane in (below, above)]
    shared = {(a, b): int(((below == a) & (above == b)).sum()) for a in ids[0] for b in ids[1]}
    joined = set()
    for (a, b), pixels in shared.items():
        best_above = max(ids[1], key=lambda other: (shared[a, other], -other))
        best_below = max(ids[0], key=lambda other: (shared[other, b], -other))
        smaller = min((below == a).sum(), (above == b).sum())
        if pixels and best_above == b and best_below == a and pixels >= threshold * smaller:
            joined.add((a, b))
    return joined


@pytest.mark.parametrize("seed", range(5))
def test_two_random_planes_are_stitched_as_by_counting_every_pair(seed):
    random = np.random.default_rng(seed)
    planes = np.zeros((2, 60, 60), int)
    y, x = np.indices(planes.shape[1:])
    for number in range(1, 31):
        row, column, radius = random.integers(60), random.integers(60), random.integers(4, 10)
        planes[int(number > 15)][(y - row) ** 2 + (x - column) ** 2 < radius**2] = number
    pairs, pixels = np.unique(planes.reshape(2, -1)[:, (planes > 0).all(0).ravel()], axis=1, return_counts=True)
    areas = np.bincount(planes.ravel(), minlength=31)
    objects = stitch_sections(np.vstack([pairs, pixels]), areas, 0.3)
    expected = brute_force(*planes, 0.3)
    joined = {(a, b) for a in range(1, 16) for b in range(16, 31) if objects[a] == objects[b]}
    assert joined == expected
    assert expected
