"""Lineages do not depend on labels, on the orientation of the image, nor, without divisions, on the direction of time.

The movies are those of the benchmark's simulators, with and without segmentation errors. Ties between equal scores are
decided by the numbers of objects, and sums of floating-point numbers depend on their order, so equality is not a
theorem; it holds for these movies because their scores differ by much more than rounding.
"""

import sys
from collections.abc import Iterable

import numpy as np
import pytest

from helpers.repository import REPOSITORY
from tessera.settings.sections import TrackSettings
from tessera.tracking.detections import detect
from tessera.tracking.tracker import track_detections

sys.path.insert(0, str(REPOSITORY / "bench"))

from peers.movies import degrade, make_movie, shuffle
from peers.other_movies import make_other

FRAMES = 12


def simulate(kind, *, degraded=False, seed=0):
    """A movie int32 (t, z, y, x) of FRAMES frames; ids differ from frame to frame."""
    movie = (make_other if kind in ("crawling", "stack", "rods") else make_movie)(kind, seed)[0][:FRAMES]
    movie = shuffle(degrade(movie, seed) if degraded else movie, seed)
    return np.stack([frame.reshape(-1, *frame.shape[-2:]) for frame in movie])


def find_events(movie, settings=None, rename=lambda t, label: (t, label)):
    """The lineage as sets of links, divisions and fragments between objects, {(t, label)}.

    Args:
        movie: labels (t, z, y, x).
        settings: TrackSettings.
        rename: gives (t, label) of an object in the original movie.
    """
    detections = detect((frame, None) for frame in movie)
    graph = track_detections(detections, settings or TrackSettings())
    objects = [rename(*each) for each in zip(detections.frames.tolist(), detections.labels.tolist(), strict=True)]

    def pairs(indices: Iterable[int]) -> set[frozenset[tuple[int, int]]]:
        return {frozenset((objects[i], objects[other])) for i, other in enumerate(indices) if other >= 0}

    divisions = {
        (objects[each.mother], frozenset((objects[each.daughter_a], objects[each.daughter_b])))
        for each in graph.divisions
    }
    return {"links": pairs(graph.before), "divisions": divisions, "fragments": pairs(graph.fragment_of)}


MOVIES = [("nuclei", False), ("nuclei", True), ("dense nuclei", True), ("rods", False), ("stack", False)]


@pytest.fixture(scope="module", params=MOVIES, ids=lambda each: f"{each[0]}{', degraded' * each[1]}")
def simulated(request):
    kind, degraded = request.param
    movie = simulate(kind, degraded=degraded)
    return movie, find_events(movie)


@pytest.mark.slow
@pytest.mark.parametrize(
    "turn",
    [
        lambda movie: movie[:, :, ::-1],
        lambda movie: movie[..., ::-1],
        lambda movie: np.rot90(movie, axes=(2, 3)),
        lambda movie: movie[:, ::-1],
    ],
    ids=["flip y", "flip x", "rotate", "flip z"],
)
def test_lineage_is_invariant_to_flips_and_rotations(simulated, turn):
    movie, events = simulated
    assert events["links"]
    assert find_events(np.ascontiguousarray(turn(movie))) == events


@pytest.mark.slow
def test_lineage_is_invariant_to_relabeling(simulated):
    movie, events = simulated
    rng = np.random.default_rng(7)
    lookups = [np.append(0, 1 + rng.permutation(int(frame.max()))) for frame in movie]
    inverse = [np.argsort(lookup) for lookup in lookups]
    relabeled = np.stack([lookup[frame] for lookup, frame in zip(lookups, movie, strict=True)]).astype(np.int32)
    assert find_events(relabeled, rename=lambda t, label: (t, int(inverse[t][label]))) == events


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["crawling", "adherent", "dense yeast"])
def test_links_without_divisions_are_invariant_to_time_reversal(kind):
    """The test covers only movies without divisions and segmentation errors.

    A division or a missed object has no mirror image: the model compares a mother with a successor, and it predicts
    positions from the past.
    """
    movie, settings = simulate(kind), TrackSettings(allow_divisions=False)
    forwards = find_events(movie, settings)
    last = len(movie) - 1
    backwards = find_events(np.ascontiguousarray(movie[::-1]), settings, rename=lambda t, label: (last - t, label))
    assert forwards["links"]
    assert backwards["links"] == forwards["links"]
