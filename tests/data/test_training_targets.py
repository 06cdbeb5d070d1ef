"""What networks learn, made from masks."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import disk, line

from tessera.common.constants import IGNORE, INSTANCE_OUTPUTS
from tessera.data.training_targets import instance_targets


def drawn(picture):
    """An array from rows of digits."""
    return np.array([[int(digit) for digit in row] for row in picture.split()])


def test_touching_cells_are_separated_by_boundary():
    ids = drawn("""
        00000000000
        01111155550
        01111155550
        01111155550
        01111155550
        00000000000
    """)
    assert np.array_equal(
        instance_targets(ids, 1),
        drawn("""
            00000000000
            02222222220
            02111221120
            02111221120
            02222222220
            00000000000
        """),
    )


def test_boundary_width_equals_the_setting():
    ids = np.zeros((30, 30), int)
    ids[5:25, 5:25] = 9
    for width in (1, 2, 3, 5):
        targets = instance_targets(ids, width)
        assert (targets[15, 5 : 5 + width] == 2).all()
        assert targets[15, 5 + width] == 1
        assert (targets == 1).sum() == (20 - 2 * width) ** 2


def test_boundary_is_inside_the_cell():
    ids = drawn("000 030 000")
    assert np.array_equal(instance_targets(ids, 2) > 0, ids > 0)


@pytest.mark.parametrize("boundary_px", [1, 2, 3, 8])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_thin_cell_keeps_an_interior(side, boundary_px):
    ids = np.zeros((9, 30), int)
    ids[2 : 2 + side, 3:27] = 4
    targets = instance_targets(ids, boundary_px)
    _, pieces = ndimage.label(targets == 1)
    assert pieces == 1
    assert (targets[ids == 0] == 0).all()


def test_one_pixel_wide_line_is_all_interior():
    ids = np.zeros((12, 12), int)
    ids[line(1, 1, 10, 6)] = 3
    assert np.array_equal(instance_targets(ids, 2), ids > 0)


def test_thin_touching_cells_keep_their_interiors():
    ids = np.repeat([[1], [1], [1], [2], [2], [2]], 20, axis=1)
    targets = instance_targets(np.pad(ids, 3), 2)
    assert (targets == 1)[ids_at(targets.shape, 4)].any()
    assert (targets == 1)[ids_at(targets.shape, 7)].any()


def ids_at(shape, row):
    mask = np.zeros(shape, bool)
    mask[row, 3:-3] = True
    return mask


def test_array_border_is_no_boundary():
    assert (instance_targets(np.ones((6, 6), int), 2) == 1).all()
    ids = np.zeros((6, 8), int)
    ids[:, :5] = 1
    assert np.array_equal(instance_targets(ids, 1)[3], [1, 1, 1, 1, 2, 0, 0, 0])


def test_each_component_of_a_cell_has_an_interior():
    ids = np.zeros((20, 20), int)
    ids[2:12, 2:12] = 5
    ids[16, 16] = 5
    targets = instance_targets(ids, 2)
    assert targets[16, 16] == 1
    assert targets[7, 7] == 1


def test_targets_do_not_depend_on_values_and_type_of_ids():
    ids = np.zeros((20, 30), np.int32)
    ids[disk((9, 9), 7)] = 1
    ids[disk((9, 21), 6)] = 2
    expected = instance_targets(ids, 2)
    assert np.array_equal(instance_targets(np.where(ids == 2, 2**31 - 1, ids), 2), expected)
    assert np.array_equal(instance_targets(ids.astype(np.uint16), 2), expected)
    assert sorted(np.unique(expected)) == list(range(len(INSTANCE_OUTPUTS)))


def test_empty_mask_is_background():
    targets = instance_targets(np.zeros((4, 5), int), 2)
    assert targets.dtype == np.uint8
    assert not targets.any()


def test_boundary_width_0_gives_no_boundary():
    ids = drawn("0110 0112 0112")
    assert np.array_equal(instance_targets(ids, 0), ids > 0)


def test_cell_edge_at_unannotated_pixels_is_ignored():
    ids = drawn("""
        00000000
        01111000
        01111000
        01111000
        01111000
        00000000
    """)
    known = np.ones(ids.shape, bool)
    known[:, 5:] = False
    expected = drawn("""
        00000999
        02222999
        02119999
        02119999
        02222999
        00000999
    """)
    assert np.array_equal(instance_targets(ids, 1, known), np.where(expected == 9, IGNORE, expected))
    assert np.array_equal(instance_targets(ids, 1, known | True), instance_targets(ids, 1))
