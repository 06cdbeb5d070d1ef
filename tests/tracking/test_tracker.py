"""Ambiguous cases: objects at the border, merged and split cells, missed cells, and what the motion model decides."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.label_movies import same_cells, shuffled, tracked
from helpers.store_batches import place_discs
from tessera.tracking import motion_estimation
from tessera.tracking.detections import detect
from tessera.tracking.division_candidates import find_divisions
from tessera.tracking.division_scores import TERM
from tessera.tracking.frame_linking import link_frames
from tessera.tracking.gap_closing import close_gaps, find_gaps
from tessera.tracking.motion_estimation import learn_motion
from tessera.tracking.motion_model import USUAL_MISS_RATE, robust_scale, robust_wide_scale
from tessera.tracking.split_merge_repair import find_mergers, find_splits

SHAPE = (160, 160)
PLACES = [(y, x + off) for y in range(16, 150, 26) for x in (20, 70, 120) for off in (-7, 8)]  # pairs that touch


def pairs(frames=10):
    """A movie of pairs of touching discs that hardly move; labels are track ids."""
    return np.stack([place_discs(SHAPE, np.add(PLACES, (0.3 * t, 0.0)), 7.5) for t in range(frames)])


def merge(movie, t, pair):
    """The movie with both cells of a pair merged in frame t."""
    seen = movie.copy()
    seen[t][seen[t] == 2 * pair + 2] = 2 * pair + 1
    return seen


@pytest.mark.parametrize("end", ["first", "last"])
def test_merged_or_split_cells_at_the_ends_of_the_movie_are_no_divisions(end):
    movie = pairs()
    seen = merge(movie, 0, 5)
    for t, pair in ((2, 0), (3, 4), (4, 8), (5, 12), (6, 2), (7, 10)):
        seen = merge(seen, t, pair)
    if end == "last":
        # Splits are mergers in reversed time: each pair is one cell that is split in some frames.
        movie = (movie + 1) // 2
        seen = movie.copy()
        whole = pairs()
        for t, pair in ((9, 5), (2, 0), (3, 4), (4, 8), (5, 12), (6, 2), (7, 10)):
            seen[t][whole[t] == 2 * pair + 2] = 100
    _, parents, decided = tracked(shuffled(seen))
    assert not decided.divisions
    assert not parents


@pytest.mark.parametrize(("t", "missed"), [(4, [10]), (4, [9, 10]), (6, [10]), (6, [9, 10])])
def test_cells_merged_next_to_a_missed_frame_are_split_and_filled(t, missed):
    movie = pairs()
    seen = merge(movie, 5, 4)
    seen[t][np.isin(seen[t], missed)] = 0
    labels, parents, decided = tracked(shuffled(seen))
    assert not parents
    assert len(np.unique(labels)) == len(PLACES) + 1
    assert all(len(np.unique(frame)) == len(PLACES) + 1 for frame in labels)
    assert same_cells(labels[7:, 0], movie[7:])
    assert len(decided.merged_into) == 1
    frames = np.repeat(np.arange(len(seen)), [len(np.unique(frame)) - 1 for frame in seen])
    skips = [row for row, gone in enumerate(decided.before) if gone >= 0 and frames[row] - frames[gone] > 1]
    assert sorted(decided.gaps) == skips


@pytest.mark.parametrize("divides", [True, False])
def test_daughter_and_newcomer_at_the_border_are_distinguished_by_the_sister_size(divides):
    movie, cell = pairs(), len(PLACES) + 1
    movie[:, 138:, 98:122] = 0
    top, middle = 139, 147
    movie[:, top : 2 * middle - top, 103:117] = cell
    if divides:
        # The lower half touches the border.
        movie[5:, middle:, 103:117] = 0
        movie[5:, middle + 5 :, 103:117] = cell + 1
    else:
        movie[5:, 2 * middle - top :, 103:117] = cell + 1
    _, parents, decided = tracked(shuffled(movie))
    assert len(decided.divisions) == len(parents) / 2 == divides


def test_robust_wide_scale_includes_values_outside_the_median():
    values = np.concatenate([np.zeros(55), np.full(45, 0.5)]) + np.random.default_rng(0).normal(0, 0.01, 100)
    assert robust_scale(values, 0.03) == 0.03
    assert 0.25 < robust_wide_scale(values, 0.03) < 0.5
    steady = np.random.default_rng(1).normal(0, 0.1, 5000)
    assert robust_wide_scale(steady, 0.03) == pytest.approx(robust_scale(steady, 0.03), rel=0.2)
    assert robust_wide_scale(np.zeros(0), 0.03) == 0.03


def wandering(space, step, seed, *, mother, daughters, born, frames=11):
    """A movie of moving discs in a grid; one of them is divided into ids 100 and 101 from frame `born` on.

    Args:
        space: distance of the discs in pixels.
        step: scale of the steps in pixels.
        mother: difference in pixels of the mother's radius from the others'.
        daughters: their radii.

    Returns:
        int32 (t, y, x), and the id of the disc that is next to the daughter 101.
    """
    rng = np.random.default_rng(seed)
    line = range(20, 190, space)
    rows, columns = np.indices((200, 200))
    places, radii = np.array([(y, x) for y in line for x in line], float), rng.normal(6, 0.5, len(line) ** 2)
    dividing, walk, movie = 3 * len(line) + 3, 0.0, []
    radii[dividing] += mother
    for t in range(frames):
        walk = 0.5 * walk + rng.normal(0, step, places.shape)
        discs = [(number, *place) for number, place in enumerate(np.column_stack([places + walk, radii]), start=1)]
        if t >= born:
            _, y, x, _ = discs.pop(dividing)
            one, two = daughters
            discs += [(100, y, x - one, one), (101, y, x + two, two)]
        frame = np.zeros(rows.shape, np.int32)
        for number, y, x, radius in discs:
            frame[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
        movie.append(frame)
    return np.stack(movie), dividing + 2


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_daughter_is_not_linked_to_a_missed_neighbor(seed):
    movie, neighbour = wandering(22, 2, seed, mother=2, daughters=(5.5, 5.5), born=5)
    seen = movie.copy()
    seen[5][seen[5] == neighbour] = 0
    labels, parents, decided = tracked(shuffled(seen))
    assert len(decided.divisions) == len(decided.gaps) == 1
    assert same_cells(labels[:, 0], np.where(seen > 0, movie, 0))
    assert len(parents) == 2


@pytest.mark.parametrize(("daughters", "seed"), [((5.7, 5.7), 0), ((5.7, 5.7), 3), ((4.5, 6.5), 3)])
def test_merged_sisters_are_no_second_division(daughters, seed):
    movie, _ = wandering(26, 1.5, seed, mother=2, daughters=daughters, born=3)
    seen = movie.copy()
    seen[4][seen[4] == 101] = 100
    labels, _, decided = tracked(shuffled(seen))
    assert len(decided.divisions) == len(decided.merged_into) == 1
    apart = np.arange(len(movie)) != 4
    assert same_cells(labels[apart, 0], movie[apart])


def test_persistence_of_a_daughter_counts_frames_after_a_gap():
    movie, _ = wandering(26, 1, 1, mother=2, daughters=(5.5, 5.5), born=5)
    seen = movie.copy()
    seen[6][seen[6] == 101] = 0
    detections = detect((frame[None], None) for frame in seen)
    model = learn_motion(detections)
    cut_short = link_frames(detections, model)
    whole = close_gaps(cut_short, find_gaps(detections, model, cut_short, max_gap_frames=3))
    is_born = detections.frame_starts[5] + np.flatnonzero(detections.labels[detections.frame_slice(5)] >= 100)
    results = {}
    for name, chains in (("cut short", cut_short), ("whole", whole)):
        families = find_divisions(detections, model, chains)
        (place,) = np.flatnonzero(np.isin(families.daughter_a, is_born) & np.isin(families.daughter_b, is_born))
        results[name] = families.terms[place]
    reason = TERM["persistence"]
    assert results["cut short"][reason] < 0 < results["whole"][reason]
    assert np.delete(results["cut short"] - results["whole"], reason) == pytest.approx(0)


def test_motion_of_a_band_equals_motion_of_whole_frames(monkeypatch):
    rng, side = np.random.default_rng(0), 1200
    places = np.stack(np.meshgrid(*[np.arange(3.0, side, 20)] * 2), -1).reshape(-1, 2)
    halves, movie = rng.integers(3, 6, len(places)), []
    for _ in range(4):
        places = places + rng.normal(0, 1.5, places.shape)
        frame = np.zeros((1, side, side), np.int32)
        for number, ((y, x), half) in enumerate(zip(np.rint(places).astype(int), halves, strict=True), start=1):
            if rng.random() > 0.02:
                frame[0, max(y - half, 0) : y + half, max(x - half, 0) : x + half] = number
        movie.append(frame)
    detections = detect((frame, None) for frame in movie)
    part = learn_motion(detections)
    monkeypatch.setattr(motion_estimation, "MAX_SAMPLED_OBJECTS", 10**9)
    whole = learn_motion(detections)
    assert part.death_rate != whole.death_rate  # the band does not hold all objects
    assert part.displacement_scale == pytest.approx(whole.displacement_scale, rel=0.1)
    assert part.size_change_scale == pytest.approx(whole.size_change_scale, rel=0.1)
    assert part.growth == pytest.approx(whole.growth, abs=0.005)
    assert part.death_rate == pytest.approx(whole.death_rate, abs=0.01)
    # A band has fewer objects at the border, so the prior has more weight.
    assert whole.border_death_rate - 0.02 < part.border_death_rate < motion_estimation.PRIOR_BORDER_DEATH_RATE


def test_gap_scores_decrease_with_the_death_rate():
    movie, _ = wandering(26, 1, 1, mother=0, daughters=(6, 6), born=99)
    movie[6][movie[6] == 20] = 0
    detections = detect((frame[None], None) for frame in movie)
    model = replace(learn_motion(detections), death_rate=USUAL_MISS_RATE)
    chains = link_frames(detections, model)
    gaps = {
        lost: find_gaps(detections, replace(model, death_rate=lost), chains, max_gap_frames=1)
        for lost in (0.005, USUAL_MISS_RATE, 0.1)
    }
    assert len(gaps[0.1].scores) == 1
    assert gaps[0.005].scores < gaps[USUAL_MISS_RATE].scores == gaps[0.1].scores


def test_fragments_are_objects_that_separate_and_merge_again():
    seen = pairs(5)
    whole = (seen + 1) // 2
    for t in (0, 1, 3, 4):
        seen[t] = np.where(whole[t] > 1, seen[t], whole[t])  # the first cell is in two pieces in frame 2 alone
    detections = detect((frame[None], None) for frame in seen)
    model = learn_motion(detections)
    chains = link_frames(detections, model)
    divisions, mergers = (find(detections, model, chains) for find in (find_divisions, find_mergers))
    splits = find_splits(detections, model, divisions, mergers, chains.after)
    pieces = {tuple(sorted((*each.chain, *each.second_chain))) for each in splits}
    rows = detections.frame_starts[2] + np.flatnonzero(np.isin(detections.labels[detections.frame_slice(2)], [1, 2]))
    assert pieces == {tuple(rows.tolist())}
    # Mergers of one of the two with another object give no split.
    other = replace(mergers, daughter_b=np.where(mergers.daughter_b == rows[1], rows[1] + 1, mergers.daughter_b))
    other = replace(other, daughter_a=np.where(other.daughter_a == rows[1], rows[1] + 1, other.daughter_a))
    assert not find_splits(detections, model, divisions, other, chains.after)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_empty_frames_interrupt_no_track(lost):
    """Frames without objects, for example out of focus, are bridged for all cells."""
    movie, _ = wandering(26, 1, 1, mother=0, daughters=(6, 6), born=99)
    seen = shuffled(movie)
    seen[4 : 4 + lost] = 0
    labels, _, decided = tracked(seen, fill=False)
    cells = len(np.unique(movie[3][movie[3] > 0]))
    assert len(decided.gaps) == cells
    assert same_cells(labels[:, 0], np.where(seen > 0, movie, 0))


@pytest.mark.parametrize("step", [8, 10, 12])
def test_new_objects_are_linked_by_their_later_motion(step):
    rng, rows, columns = np.random.default_rng(0), *np.indices((240, 240))
    turns = rng.uniform(0, 2 * np.pi, 16)
    places = np.array([(y, x) for y in range(30, 240, 60) for x in range(30, 240, 60)], float)
    movie = []
    for t in range(9):
        discs = list(places + 5 * (t - 4) * np.column_stack([np.sin(turns), np.cos(turns)]))
        # Two objects appear at once, one behind the other on a line.
        discs += [(120, 90 + step * (t + back)) for back in (-1, 0)] if t >= 3 else []
        frame = np.zeros(rows.shape, np.int32)
        for number, (y, x) in enumerate(discs, start=1):
            frame[(rows - y) ** 2 + (columns - x) ** 2 <= 4**2] = number
        movie.append(frame)
    movie = np.stack(movie)
    labels, _, _ = tracked(shuffled(movie), allow_divisions=False)
    assert same_cells(labels[:, 0], movie)
