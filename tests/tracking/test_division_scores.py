"""Divisions are found in masks of whole cells, of cells that round up before mitosis, and in markers."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.label_movies import shuffled, tracked
from helpers.store_batches import place_discs
from tessera.tracking.detections import detect
from tessera.tracking.division_candidates import find_divisions
from tessera.tracking.division_scores import PRIOR_DIVISIONS, DaughterDistribution, DaughterGeometry
from tessera.tracking.frame_linking import link_frames
from tessera.tracking.motion_estimation import learn_motion
from tessera.tracking.split_merge_repair import find_mergers

SIDE, SPACE, FRAMES = 260, 40, 9


def colony(look, *, seed=0, share=0.5):
    """A movie of cells in a grid that grow and move; every third one divides: (labels (t, y, x), {daughter: mother}).

    Args:
        look: function of the radii of cells, of the frames that each still lives and has lived (cells,), and of a
            random generator, to the radii of their masks.
        share: of the mother's area that one daughter gets.
    """
    rng, line = np.random.default_rng(seed), np.arange(30, SIDE - 25, SPACE)
    places = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2) + rng.normal(0, 2, (len(line) ** 2, 2))
    ids, count = np.arange(1, len(places) + 1), len(places)
    divides = np.where(ids % 3 == 0, rng.integers(2, FRAMES - 2, count), FRAMES + 9)
    # All cells divide at the same size.
    areas, born, parents, movie = 260 * 1.05 ** (-divides.clip(0, 12).astype(float)), np.full(count, -9), {}, []
    for t in range(FRAMES):
        places, areas = places + rng.normal(0, 0.7, places.shape), areas * 1.05
        now = np.flatnonzero(divides == t)
        turn = rng.uniform(0, 2 * np.pi, len(now))
        reach = np.sqrt(areas[now] / np.pi) * (np.sqrt(share) + np.sqrt(1 - share))
        way = reach[:, None] * np.stack([np.sin(turn), np.cos(turn)], 1)
        new = count + 1 + np.arange(2 * len(now))
        parents |= dict(zip(new.tolist(), np.tile(ids[now], 2).tolist(), strict=True))
        count += len(new)
        stays = divides != t
        places = np.concatenate([places[stays], places[now] + (1 - share) * way, places[now] - share * way])
        areas = np.concatenate([areas[stays], share * areas[now], (1 - share) * areas[now]])
        born = np.concatenate([born[stays], np.full(len(new), t)])
        divides = np.concatenate([divides[stays], np.full(len(new), FRAMES + 9)])
        ids = np.concatenate([ids[stays], new])
        radii, frame = look(np.sqrt(areas / np.pi), divides - t, t - born, rng), np.zeros((SIDE, SIDE), np.int32)
        for label, place, radius in zip(ids, places, radii, strict=True):
            frame[place_discs((SIDE, SIDE), [place], radius) > 0] = label
        movie.append(frame)
    return np.stack(movie), parents


def whole(radii, left, lived, rng):
    return radii - 0.3


def markers(radii, left, lived, rng):
    return np.full(len(radii), 2.6)


def markers_of_any_size(radii, left, lived, rng):
    return rng.uniform(2.0, 3.6, len(radii))


def markers_of_two_sizes(radii, left, lived, rng):
    return rng.choice([2.0, 3.8], len(radii), p=[0.6, 0.4])


def rounding(radii, left, lived, rng):
    return radii * np.select([left == 1, left == 2, lived == 0], [0.72, 0.88, 0.9], 1.0) - 0.3


def count_right(look, seed, **movie):
    """Number of divisions found, of those with true daughters, and of true divisions."""
    truth, parents = colony(look, seed=seed, **movie)
    labels, mothers, _ = tracked(shuffled(truth, seed))
    # The first pixel of a track is in its first frame.
    daughters = {int(truth[labels[:, 0] == child][0]) for child in mothers}
    return len(mothers) / 2, len(daughters & set(parents)) / 2, len(parents) / 2


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("look", "movie", "share"),
    [
        (whole, {}, 1.0),
        (rounding, {"share": 0.7}, 0.9),
        (markers, {}, 0.95),
        (markers, {"share": 0.7}, 0.9),
        (markers_of_any_size, {}, 0.95),
    ],
)
def test_divisions_are_found_in_masks_of_cells_rounding_cells_and_markers(look, movie, share, seed):
    n_found, right, true = count_right(look, seed, **movie)
    assert right >= share * true
    assert n_found == right


@pytest.mark.parametrize(
    ("look", "informativeness"), [(whole, 1), (markers, 0), (markers_of_any_size, 0), (markers_of_two_sizes, 0)]
)
def test_size_informativeness_is_high_only_if_sizes_persist(look, informativeness):
    detections = detect((frame[None], None) for frame in colony(look)[0])
    assert learn_motion(detections).size_informativeness == pytest.approx(informativeness, abs=0.15)


def test_daughters_of_unequal_marker_sizes_are_found():
    movie, parents = colony(markers_of_two_sizes)
    _, mothers, decided = tracked(shuffled(movie))
    assert len(mothers) == len(parents)
    assert len({division.evidence["prior"] for division in decided.divisions}) == 1


def linked(movie):
    detections = detect((frame[None], None) for frame in movie)
    model = replace(learn_motion(detections), growth=0.0, velocity_persistence=0.0)
    return detections, model, link_frames(detections, model)


@pytest.mark.parametrize(("look", "spreads"), [(whole, (0.2, 0.45)), (markers, (0.5, 0.7))])
def test_daughter_distribution_is_learned_from_likely_divisions(look, spreads):
    movie, parents = colony(look)
    detections, model, chains = linked(movie)
    candidates = find_divisions(detections, model, chains)
    mothers = np.array([parents.get(label, 0) for label in detections.labels])
    true = (mothers[candidates.daughter_a] == mothers[candidates.daughter_b]) & (
        mothers[candidates.daughter_b] == detections.labels[candidates.mother]
    )
    places = DaughterGeometry(detections, model, candidates, chains.before)
    assert places.learn(candidates.daughter_b, np.full(len(true), -20.0)) == DaughterDistribution()
    learned = places.learn(candidates.daughter_b, np.where(true, 20.0, -20.0))
    known = true.sum() / (true.sum() + PRIOR_DIVISIONS)
    assert learned.log_distance_median == pytest.approx(known * np.median(places.log_distance[true]), abs=0.05)
    assert spreads[0] < learned.log_distance_scale < spreads[1]
    assert learned.overlap_weight == pytest.approx(np.clip(1 - 2 * learned.log_distance_median, 0, 1))
    assert (learned.overlap_weight < 0.6) == (look is markers)
    # The learned distribution raises the score of true divisions and lowers that of the others.
    gains = places.log_likelihood_ratio(learned) - places.log_likelihood_ratio(DaughterDistribution())
    assert gains[true].mean() > 0 > gains[~true].mean()


def test_mergers_are_scored_without_the_learned_daughter_distribution():
    detections, model, chains = linked(colony(markers)[0])
    divisions = find_divisions(detections, model, chains, learn=False)
    again = find_mergers(detections.reversed(), model, chains.reversed())
    ours, theirs = (np.stack([each.mother, each.daughter_a, each.daughter_b], 1) for each in (divisions, again))
    assert {*map(tuple, ours)} == {*map(tuple, len(detections) - 1 - theirs)}
    assert np.sort(divisions.llr) == pytest.approx(np.sort(again.llr))
    assert np.sort(divisions.geometry_llr) == pytest.approx(np.sort(again.geometry_llr))
    assert not np.allclose(find_divisions(detections, model, chains).llr, divisions.llr)


@pytest.mark.parametrize("side", [-1, 1])
def test_newborn_cell_of_half_the_size_does_not_divide(side):
    movie, parents = colony(whole)
    first = {label: int(np.argmax((movie == label).any((1, 2)))) for label in parents}
    one = next(label for label in parents if first[label] < 6)
    two = next(label for label in parents if parents[label] == parents[one] and label != one)
    born = first[one]
    centres = [np.argwhere(movie[born + 1] == label).mean(0) for label in (one, two)][::side]
    # A newcomer beside one daughter, opposite to her sister.
    place = 2 * centres[0] - centres[1]
    for t in range(born + 1, len(movie)):
        disc = place_discs((SIDE, SIDE), [place], np.sqrt((movie[t] == one).sum() / np.pi)) > 0
        movie[t][disc & (movie[t] == 0)] = 1000
    _, mothers, _ = tracked(shuffled(movie))
    assert len(mothers) == len(parents)
