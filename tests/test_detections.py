"""How long objects are and in which direction, and what that tells of who is who."""

import numpy as np
import pytest
from lib.births import REASONS
from lib.chains import link_frames
from lib.detections import detect, measure_frame
from lib.divisions import find_divisions
from lib.habits import learn_motion
from movies import same_cells, shuffled, tracked
from skimage.draw import ellipse
from skimage.measure import regionprops

SHAPE = (240, 240)


def place_ellipses(places, turns, wide=4.0, long=7.0):
    """Labels (y, x): ellipses at `places` (y, x), turned by so many radians."""
    labels = np.zeros(SHAPE, np.int32)
    for label, ((y, x), turn) in enumerate(zip(places, turns, strict=True), start=1):
        labels[ellipse(y, x, long, wide, SHAPE, turn)] = label
    return labels


@pytest.mark.parametrize("steps", [(1.0, 1.0, 1.0), (3.0, 0.5, 1.0)])
def test_elongations_are_those_of_the_second_moments(steps):
    rng = np.random.default_rng(1)
    places = [(y, x) for y in range(30, 220, 40) for x in range(30, 220, 40)]
    labels = place_ellipses(places, rng.uniform(0, np.pi, len(places)))
    labels[3, 100] = 99  # a single pixel has no direction
    part = measure_frame(labels[None], None, np.array(steps))
    for region, shape in zip(regionprops(labels, spacing=steps[1:]), part["shapes"], strict=True):
        if region.label == 99:
            assert np.isnan(shape).all()
            continue
        moments = region.moments_central
        yy, xx, xy = moments[2, 0], moments[0, 2], moments[1, 1]
        assert shape == pytest.approx(np.array([yy - xx, 2 * xy]) / (yy + xx), abs=1e-9)


def test_shapes_that_the_border_cuts_are_unknown_and_stacks_are_seen_from_above():
    labels = place_ellipses([(3, 60), (100, 100)], [0.3, 1.0])
    stack = np.stack([np.zeros_like(labels), labels, labels])
    shapes = measure_frame(stack, None, np.ones(3))["shapes"]
    assert np.isnan(shapes[0]).all()
    assert shapes[1] == pytest.approx(measure_frame(labels[None], None, np.ones(3))["shapes"][1])


def passing(frames=14, seed=0):
    """A movie of ellipses, each turned in its own way, that jump about as far as they are apart."""
    rng = np.random.default_rng(seed)
    grid = np.array([(y, x) for y in range(40, 220, 44) for x in range(40, 220, 44)], float)
    turns, movie = np.arange(len(grid)) * np.pi * 0.381966, []
    for _ in range(frames):
        movie.append(place_ellipses(grid + rng.uniform(-16, 16, grid.shape), turns + rng.normal(0, 0.05, len(grid))))
    return np.stack(movie)


@pytest.mark.parametrize("seed", range(3))
def test_cells_that_jump_are_told_apart_by_their_shapes(seed):
    movie = passing(seed=seed)
    labels, parents, _ = tracked(shuffled(movie))
    assert not parents
    assert same_cells(labels[:, 0], movie)
    # Without the shapes they are not.
    blind = movie.copy()
    for frame in blind:
        rows, columns = np.indices(SHAPE, sparse=True)
        for label in np.unique(frame[frame > 0]):
            y, x = (places.mean() for places in np.nonzero(frame == label))
            frame[frame == label] = 0
            frame[(rows - y) ** 2 + (columns - x) ** 2 < 45] = label
    labels, _, _ = tracked(shuffled(blind))
    assert not same_cells(labels[:, 0], blind)


def test_a_mask_that_lost_half_of_itself_for_a_frame_is_the_same_cell():
    movie = np.zeros((14, *SHAPE), np.int32)
    places = [(y, x) for y in range(30, 220, 40) for x in range(30, 220, 40)]
    for t in range(len(movie)):
        movie[t] = place_ellipses(np.add(places, (0, 0.5 * t)), np.arange(len(places)) * 0.7)
    seen = movie.copy()
    for t, label in ((4, 3), (7, 11), (9, 20)):
        rows, columns = np.nonzero(seen[t] == label)
        lost = rows < rows.mean()
        seen[t][rows[lost], columns[lost]] = 0
    labels, parents, decided = tracked(shuffled(seen))
    assert not parents
    assert not decided.gaps
    assert same_cells(labels[:, 0], seen)


def test_the_nearest_are_the_same_forwards_and_backwards():
    movie = passing()
    objects = detect((frame[None], None) for frame in movie)
    backwards = objects.reversed()
    last = len(objects.labels) - 1
    places = objects.centres[objects.rows(4)]
    far = np.linalg.norm(places[:, None] - objects.centres[objects.rows(5)][None], axis=-1)
    for most, reach in ((3, np.inf), (2, 30.0), (99, np.inf)):
        near, at = objects.nearest(5, places, most, reach)
        close = np.sort(far, axis=1)[:, :most]
        assert np.allclose(near, np.where(close < reach, close, np.inf))
        again, there = backwards.nearest(objects.frames - 1 - 5, places, most, reach)
        assert (again == near).all()
        known = np.isfinite(near)
        mine, theirs = objects.starts[5] + at[known], backwards.starts[objects.frames - 6] + there[known]
        assert (last - theirs == mine).all()
        assert (at[~known] == there[~known]).all()


@pytest.mark.parametrize("keeps", [True, False])
def test_one_that_keeps_its_shape_is_no_daughter(keeps):
    movie = passing()
    t, label = 7, 13
    rows, columns = np.nonzero(movie[t] == label)
    place = np.array([rows.mean(), columns.mean()])
    if not keeps:
        movie[t][movie[t] == label] = 0
        movie[t] = np.maximum(movie[t], label * place_ellipses([place], [label * np.pi * 0.381966 + np.pi / 2]))
    movie[t] = np.maximum(movie[t], 50 * (place_ellipses([place + 10], [0], 3, 3) > 0) * (movie[t] == 0))
    objects = detect((frame[None], None) for frame in movie)
    motion = learn_motion(objects)
    found = find_divisions(objects, motion, link_frames(objects, motion))
    mine = (objects.labels[found.heir] == label) & (objects.labels[found.new] == 50)
    assert mine.sum() == 1
    assert (found.terms[mine, REASONS.index("shape")][0] < -0.5) == keeps
