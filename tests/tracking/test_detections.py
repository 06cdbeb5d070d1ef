"""Detections, and linking by elongation and orientation."""

from dataclasses import replace

import numpy as np
import pytest
from skimage.draw import ellipse
from skimage.measure import regionprops

from helpers.label_movies import same_cells, shuffled, tracked
from tessera.settings.sections import TrackSettings
from tessera.tracking.detections import detect, measure_frame
from tessera.tracking.division_candidates import find_divisions
from tessera.tracking.division_scores import SISTER_INTENSITY_FACTOR, TERM
from tessera.tracking.frame_linking import MASK_ERROR_PENALTY, link_frames, log_likelihood_ratio_appearance
from tessera.tracking.motion_estimation import MAX_SAMPLED_OBJECTS, learn_motion, with_elongation_parameters
from tessera.tracking.motion_model import (
    MotionModel,
    iou_bins,
    log_likelihood_ratio_intensity,
    log_likelihood_ratio_shape,
    log_likelihood_ratio_size,
    log_size_density,
)
from tessera.tracking.tracker import track_detections

SHAPE = (240, 240)
TURN = np.pi * 0.381966  # the golden angle: all orientations differ


def place_ellipses(places, turns, wide=3.5, long=7.0):
    """Labels (y, x) of ellipses at `places` (y, x), rotated by `turns` in radians."""
    labels = np.zeros(SHAPE, np.int32)
    for label, ((y, x), turn) in enumerate(zip(places, turns, strict=True), start=1):
        labels[ellipse(y, x, long, wide, SHAPE, turn)] = label
    return labels


@pytest.mark.parametrize("steps", [(1.0, 1.0, 1.0), (3.0, 0.5, 1.0)])
def test_elongations_equal_second_moments_of_regionprops(steps):
    rng = np.random.default_rng(1)
    places = [(y, x) for y in range(30, 220, 40) for x in range(30, 220, 40)]
    labels = place_ellipses(places, rng.uniform(0, np.pi, len(places)))
    labels[3, 100] = 99  # a single pixel has no direction
    part = measure_frame(labels[None], None, np.array(steps))
    for region, shape in zip(regionprops(labels, spacing=steps[1:]), part["elongations"], strict=True):
        if region.label == 99:
            assert np.isnan(shape).all()
            continue
        moments = region.moments_central
        yy, xx, xy = moments[2, 0], moments[0, 2], moments[1, 1]
        assert shape == pytest.approx(np.array([yy - xx, 2 * xy]) / (yy + xx), abs=1e-9)


def test_elongations_are_unknown_at_the_border_and_projected_in_stacks():
    labels = place_ellipses([(3, 60), (100, 100)], [0.3, 1.0])
    stack = np.stack([np.zeros_like(labels), labels, labels])
    shapes = measure_frame(stack, None, np.ones(3))["elongations"]
    assert np.isnan(shapes[0]).all()
    assert shapes[1] == pytest.approx(measure_frame(labels[None], None, np.ones(3))["elongations"][1])


def passing(frames=14, seed=0):
    """A movie of ellipses of different orientations that jump about as far as their distance."""
    rng = np.random.default_rng(seed)
    grid = np.array([(y, x) for y in range(40, 220, 44) for x in range(40, 220, 44)], float)
    turns, movie = np.arange(len(grid)) * TURN, []
    for _ in range(frames):
        movie.append(place_ellipses(grid + rng.uniform(-18, 18, grid.shape), turns + rng.normal(0, 0.05, len(grid))))
    return np.stack(movie)


@pytest.mark.parametrize("seed", range(3))
def test_cells_that_jump_are_linked_by_their_shapes(seed):
    movie = passing(seed=seed)
    labels, parents, _ = tracked(shuffled(movie))
    assert not parents
    assert same_cells(labels[:, 0], movie)
    # Discs at the same positions are not linked correctly.
    blind = movie.copy()
    for frame in blind:
        rows, columns = np.indices(SHAPE, sparse=True)
        for label in np.unique(frame[frame > 0]):
            y, x = (places.mean() for places in np.nonzero(frame == label))
            frame[frame == label] = 0
            frame[(rows - y) ** 2 + (columns - x) ** 2 < 45] = label
    labels, _, _ = tracked(shuffled(blind))
    assert not same_cells(labels[:, 0], blind)


def still(frames=14):
    """A movie of ellipses of different orientations that hardly move."""
    places = [(y, x) for y in range(40, 220, 44) for x in range(40, 220, 44)]
    return np.stack([
        place_ellipses(np.add(places, (0, 0.5 * t)), np.arange(len(places)) * 0.7 + 0.02 * t) for t in range(frames)
    ])  # fmt: skip


def halve(movie, t, label):
    """The movie without the upper half of a cell in frame t."""
    seen = movie.copy()
    rows, columns = np.nonzero(seen[t] == label)
    lost = rows < rows.mean()
    seen[t][rows[lost], columns[lost]] = 0
    return seen


def test_half_mask_is_linked_if_it_overlaps_the_cell():
    movie, floored = halve(still(), 4, 3), 0
    labels, parents, decided = tracked(shuffled(movie))
    assert not parents
    assert not decided.gaps
    assert same_cells(labels[:, 0], movie)
    for label in range(1, 26):
        detections = detect((frame[None], None) for frame in halve(still(), 4, label))
        model = learn_motion(detections)
        first, second = (
            detections.frame_starts[t] + np.flatnonzero(detections.labels[detections.frame_slice(t)] == label)
            for t in (3, 4)
        )
        shape = log_likelihood_ratio_shape(detections.elongations, first, second, model)
        anyone = log_size_density(detections.log_sizes[second], detections.touches_border[second], model)
        size = log_likelihood_ratio_size(
            detections.log_sizes[second] - detections.log_sizes[first], anyone, detections.touches_border[second], model
        )
        overlap = model.iou_llr[iou_bins(np.array([40.0]), detections.sizes[first], detections.sizes[second])]
        beside, apart = (
            log_likelihood_ratio_appearance(detections, model, 3, first, second, np.array([pixels]))
            for pixels in (40.0, 0.0)
        )
        spared = beside - apart - overlap + model.iou_llr[0]
        assert spared == pytest.approx(max(min(size, MASK_ERROR_PENALTY) - size - shape, 0))
        floored += spared > 1
    assert floored > 3


def test_shapes_decide_between_two_gaps_that_cross():
    movie = passing()
    # Two cells swap places while both are missed.
    movie[7:] = np.choose(np.isin(movie[7:], [12, 13]), [movie[7:], 25 - movie[7:]])
    for t in range(7, len(movie)):
        places, turns = [], []
        for label in (12, 13):
            rows, columns = np.nonzero(movie[t] == label)
            places.append((rows.mean(), columns.mean()))
            turns.append((label - 1) * TURN)
            movie[t][rows, columns] = 0
        seen = place_ellipses(places, turns)
        movie[t] = np.where(seen > 0, 11 + seen, movie[t])
    movie[5:7][np.isin(movie[5:7], [12, 13])] = 0
    labels, parents, decided = tracked(shuffled(movie), fill=False)
    assert not parents
    assert len(decided.gaps) == 2
    assert same_cells(labels[:, 0], movie)


def test_merged_cells_that_swap_places_are_identified_by_their_shapes():
    movie = still()
    movie[:, :, 150:] = 0
    turns, places = np.array([0.0, np.pi / 2]), np.array([(100.0, 186.0), (100.0, 200.0)])
    for t in range(len(movie)):
        seen = place_ellipses(places if t < 7 else places[::-1], turns, 4.0, 7.0)
        movie[t] = np.where(seen > 0, 90 + seen, movie[t])
    seen = movie.copy()
    seen[7][seen[7] == 92] = 91
    rows, columns = np.nonzero(seen[7] == 91)
    seen[7, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = 91
    labels, parents, decided = tracked(shuffled(seen))
    assert not parents
    assert decided.merged_into
    apart = [t for t in range(len(movie)) if t != 7]
    assert same_cells(labels[apart, 0], movie[apart])


@pytest.mark.parametrize("lasting", [0.0, 0.5, 0.95])
def test_shape_evidence_is_zero_if_shapes_do_not_persist(lasting):
    rng, count = np.random.default_rng(0), 4000
    before = rng.normal(0, 0.1, (count, 2))
    after = lasting * before + np.sqrt(1 - lasting**2) * rng.normal(0, 0.1, (count, 2))
    # A common elongation of all cells is no evidence.
    before, after = (np.add(each, (0.3, 0)) for each in (before, after))
    model = with_elongation_parameters(MotionModel(displacement_scale=1.0), before, after)
    assert model.elongation_persistence == pytest.approx(lasting, abs=0.05)
    rows = np.arange(count)
    shapes = np.concatenate([before, after])
    same = log_likelihood_ratio_shape(shapes, rows, count + rows, model)
    others = log_likelihood_ratio_shape(shapes, rows, count + rng.permutation(count), model)
    if not lasting:
        assert np.abs(same).max() < 0.5
    else:
        assert same.mean() > 0 > others.mean()
    # After many frames the shape is independent of the first one.
    assert np.abs(log_likelihood_ratio_shape(shapes, rows, count + rows, model, 400)).max() < 0.1


def test_sister_intensities_may_differ_more_than_those_of_one_cell():
    model, one, other = (
        MotionModel(displacement_scale=1.0, intensity_change_scale=0.07),
        np.array([0.25]),
        np.array([0.5]),
    )
    assert (
        log_likelihood_ratio_intensity(one, other, model)
        < 0
        < log_likelihood_ratio_intensity(one, other, model, SISTER_INTENSITY_FACTOR)
    )
    assert log_likelihood_ratio_intensity(one, other, replace(model, intensity_change_scale=None)) == 0


def test_frame_without_objects_in_the_sampled_band_is_accepted():
    full = np.zeros((1, 700, 700), np.int32)
    full[0, ::8, ::8] = full[0, 1::8, ::8] = np.arange(1, 88 * 88 + 1).reshape(88, 88)
    bare = np.zeros_like(full)
    bare[0, 10:16, 10:16] = 1
    detections = detect((frame, None) for frame in (full, bare, full))
    assert len(detections) > 2 * MAX_SAMPLED_OBJECTS
    assert not track_detections(detections, TrackSettings()).divisions


def test_nearest_detections_are_the_same_in_the_reversed_movie():
    movie = passing()
    detections = detect((frame[None], None) for frame in movie)
    backwards = detections.reversed()
    last = len(detections) - 1
    places = detections.centers[detections.frame_slice(4)]
    far = np.linalg.norm(places[:, None] - detections.centers[detections.frame_slice(5)][None], axis=-1)
    for most, reach in ((3, np.inf), (2, 30.0), (99, np.inf)):
        near, at = detections.nearest(5, places, most, reach)
        assert near.shape == at.shape == (len(places), min(most, len(places)))
        close = np.sort(far, axis=1)[:, :most]
        assert np.allclose(near, np.where(close < reach, close, np.inf))
        again, there = backwards.nearest(detections.n_frames - 1 - 5, places, most, reach)
        assert (again == near).all()
        known = np.isfinite(near)
        mine, theirs = (
            detections.frame_starts[5] + at[known],
            backwards.frame_starts[detections.n_frames - 6] + there[known],
        )
        assert (last - theirs == mine).all()
        assert (at[~known] == there[~known]).all()


@pytest.mark.parametrize("keeps", [True, False])
def test_cell_that_keeps_its_shape_is_no_daughter(keeps):
    movie = passing()
    t, label = 7, 13
    rows, columns = np.nonzero(movie[t] == label)
    place = np.array([rows.mean(), columns.mean()])
    if not keeps:
        movie[t][movie[t] == label] = 0
        movie[t] = np.maximum(movie[t], label * place_ellipses([place], [label * TURN + np.pi / 2]))
    movie[t] = np.maximum(movie[t], 50 * (place_ellipses([place + 10], [0], 3, 3) > 0) * (movie[t] == 0))
    detections = detect((frame[None], None) for frame in movie)
    model = learn_motion(detections)
    divisions = find_divisions(detections, model, link_frames(detections, model))
    mine = (detections.labels[divisions.daughter_a] == label) & (detections.labels[divisions.daughter_b] == 50)
    assert mine.sum() == 1
    assert (divisions.terms[mine, TERM["shape"]][0] < -0.5) == keeps
