"""Cells are parted, specks and holes go, faint cells stay."""

import numpy as np
import pytest
from lib.instances import fill, label_classes, number_densely, separate
from lib.targets import instance_targets
from PIL import Image
from scipy import ndimage
from skimage.measure import label

SETTINGS = {"foreground": 0.5, "seed_interior": 0.5, "min_area_px": 16, "fill_holes": True}


def draw_discs(shape, *discs):
    """int ids (y, x) of discs (y, x, radius), later ones over earlier ones."""
    ids = np.zeros(shape, int)
    y, x = np.indices(shape)
    for number, (centre_y, centre_x, radius) in enumerate(discs, start=1):
        ids[(y - centre_y) ** 2 + (x - centre_x) ** 2 <= radius**2] = number
    return ids


def paint(ids, certainty=255, blur=0.0):
    """uint8 probabilities (3, y, x) that a network sure by `certainty` would give for `ids`."""
    targets = instance_targets(ids, 2)
    exact = np.stack([targets == output for output in range(3)]).astype(float) * certainty
    exact += (255 - certainty) / 2 * (exact == 0)
    if blur:
        exact = ndimage.gaussian_filter(exact, (0, blur, blur))
    return np.rint(exact * 255 / exact.sum(0)).astype(np.uint8)


def same_partition(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_two_discs_that_touch_are_parted():
    ids = draw_discs((60, 90), (30, 30, 16), (30, 60, 15))
    assert label(ids > 0).max() == 1
    assert same_partition(separate(paint(ids), **SETTINGS), ids)


def test_two_discs_that_touch_are_parted_where_the_network_is_blurred_and_unsure():
    ids = draw_discs((60, 90), (30, 30, 16), (30, 60, 15))
    found = separate(paint(ids, certainty=200, blur=1), **SETTINGS)
    assert found.max() == 2
    overlap = [(found[ids == number] == found[30, x]).mean() for number, x in ((1, 30), (2, 60))]
    assert min(overlap) > 0.9


def test_specks_are_removed_and_ids_stay_dense():
    ids = draw_discs((60, 90), (4, 4, 1.5), (30, 30, 12), (8, 80, 1), (30, 60, 12))
    found = separate(paint(ids), **SETTINGS)
    assert np.unique(found).tolist() == [0, 1, 2]
    assert found[4, 4] == found[8, 80] == 0


def test_a_speck_of_interior_in_the_boundary_takes_nothing_from_its_cell():
    ids = draw_discs((60, 60), (30, 30, 20))
    probabilities = paint(ids)
    assert probabilities[2, 30, 10] == 255
    probabilities[:, 30, 10] = (0, 255, 0)
    np.testing.assert_array_equal(separate(probabilities, **SETTINGS), ids)


def test_a_hole_within_a_cell_is_filled_only_when_asked():
    ids = draw_discs((60, 60), (30, 30, 20))
    holed = paint(ids)
    holed[:, 28:32, 28:32] = np.array([255, 0, 0])[:, None, None]
    np.testing.assert_array_equal(separate(holed, **SETTINGS), ids)
    assert separate(holed, **SETTINGS | {"fill_holes": False})[30, 30] == 0


def test_a_cell_too_faint_to_be_seeded_is_kept_beside_one_that_is_not():
    ids = draw_discs((60, 90), (30, 20, 14), (30, 70, 14))
    probabilities = paint(ids)
    faint = ids == 2
    probabilities[:, faint] = np.array([90, 100, 65])[:, None]
    assert same_partition(separate(probabilities, **SETTINGS), ids)


def test_nothing_at_all_gives_no_cell():
    nothing = np.zeros((3, 40, 50), np.uint8)
    nothing[0] = 255
    found = separate(nothing, **SETTINGS)
    assert (found.dtype, found.shape, found.max()) == (np.int32, (40, 50), 0)


def test_a_plane_that_is_all_cell_gives_one():
    everything = np.zeros((3, 40, 50), np.uint8)
    everything[1] = 255
    assert np.all(separate(everything, **SETTINGS) == 1)


def test_noise_gives_the_same_cells_each_time_and_each_is_connected():
    noise = np.random.default_rng(0).dirichlet([1, 1, 1], (80, 80)).transpose(2, 0, 1)
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2))
    probabilities = np.rint(255 * smooth / smooth.sum(0)).astype(np.uint8)
    settings = SETTINGS | {"seed_interior": 0.36, "foreground": 0.65}
    found = separate(probabilities, **settings)
    np.testing.assert_array_equal(found, separate(probabilities.copy(), **settings))
    assert found.max() > 5
    assert all(ndimage.label(found == number)[1] == 1 for number in range(1, found.max() + 1))
    assert np.bincount(found.ravel())[1:].min() >= 16


def test_a_hole_between_two_cells_or_at_the_edge_or_round_another_cell_is_nobodys():
    ids = np.zeros((20, 40), int)
    ids[2:12, 2:10], ids[2:12, 10:18] = 1, 2
    ids[5:7, 9:11] = 0
    ids[14:20, 2:10] = 3
    ids[17:20, 5:7] = 0
    ids[2:18, 20:38] = 4
    ids[4:16, 22:36] = 0
    ids[8:10, 26:30] = 5
    np.testing.assert_array_equal(fill(ids), ids)


def test_holes_are_filled_as_scipy_does_for_one_cell():
    mask = ndimage.gaussian_filter(np.random.default_rng(1).random((100, 100)), 2) > 0.49
    for number in range(1, ndimage.label(mask)[1] + 1):
        cell = ndimage.label(mask)[0] == number
        np.testing.assert_array_equal(fill(cell.astype(int)) > 0, ndimage.binary_fill_holes(cell))


def test_classes_fall_into_connected_pieces():
    classes = np.array([[1, 1, 0, 2], [0, 1, 2, 2], [1, 0, 0, 0], [1, 0, 2, 0]], np.uint8)
    ids, of_class = label_classes(classes)
    assert ids.tolist() == [[1, 1, 0, 2], [0, 1, 2, 2], [3, 0, 0, 0], [3, 0, 4, 0]]
    assert of_class.tolist() == [1, 2, 1, 2]
    ids, of_class = label_classes(classes, min_area_px=3)
    assert ids.tolist() == [[1, 1, 0, 2], [0, 1, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert of_class.tolist() == [1, 2]


def test_dense_numbers_keep_the_order():
    ids = np.array([[7, 7, 0], [3, 9, 9]])
    assert number_densely(ids).tolist() == [[2, 2, 0], [1, 3, 3]]
    assert number_densely(ids, 2).tolist() == [[1, 1, 0], [0, 2, 2]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1)])
def test_planes_of_one_row_work(shape):
    probabilities = np.zeros((3, *shape), np.uint8)
    probabilities[1] = 255
    assert separate(probabilities, **SETTINGS | {"min_area_px": 1}).max() == 1


def test_probabilities_that_are_right_give_nearly_all_real_nuclei_back(real_data):
    folders = sorted((real_data / "nuclei-dsb2018" / "stage1_train").iterdir())[::8]
    hits = misses = extras = 0
    for folder in folders:
        masks = np.stack([np.asarray(Image.open(file).convert("L")) > 0 for file in sorted(folder.glob("masks/*.png"))])
        ids = number_densely((masks * np.arange(1, len(masks) + 1)[:, None, None]).max(0))
        found = separate(paint(ids), **SETTINGS)
        shared = np.histogram2d(
            ids.ravel(), found.ravel(), bins=(np.arange(ids.max() + 2), np.arange(found.max() + 2))
        )[0]
        unions = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
        matched = int((shared[1:, 1:] > 0.75 * unions[1:, 1:]).sum())
        hits, misses, extras = hits + matched, misses + ids.max() - matched, extras + found.max() - matched
    assert hits > 300
    assert hits / (hits + misses + extras) > 0.97
