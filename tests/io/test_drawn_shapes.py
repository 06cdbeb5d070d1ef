"""Which pixels are inside of drawn shapes."""

import numpy as np
import pytest
from skimage.draw import ellipse as skimage_ellipse
from skimage.draw import polygon

from tessera.io.drawn_shapes import Polygons, RunLengths, Window, ellipse, rectangle

PLANE = Window(0, 0, 40, 50)


def fill(*polygons, window=PLANE):
    return Polygons(polygons).fill(window)


@pytest.mark.parametrize("seed", range(5))
def test_random_polygon_equals_that_of_skimage(seed):
    ring = np.random.default_rng(seed).uniform((-5, -5), (55, 45), (9, 2))  # crosses itself and the border
    expected = np.zeros((40, 50), bool)
    # Pixel centers of skimage are at whole numbers, and it has the same rule of odd crossings.
    expected[polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, (40, 50))] = True
    np.testing.assert_array_equal(fill([ring]), expected)


def test_rectangle_holds_the_pixels_whose_centers_are_inside():
    np.testing.assert_array_equal(np.argwhere(fill([rectangle(2, 1, 3, 1)])), [(1, 2), (1, 3), (1, 4)])
    # from 1.5 to 3.5: the center on the left outline is inside, the one on the right outline is not
    np.testing.assert_array_equal(np.argwhere(fill([rectangle(1.5, 0.5, 2, 1)])), [(0, 1), (0, 2)])


def test_shapes_that_share_an_outline_share_no_pixel():
    left = [(0, 0), (20.5, 0), (10.5, 40), (0, 40)]
    right = [(10.5, 40), (20.5, 0), (50, 0), (50, 40)]
    first, second = fill([np.array(left)]), fill([np.array(right)])
    assert not (first & second).any()
    assert (first | second).all()


def test_holes_are_outside_and_parts_are_joined():
    inside = fill([rectangle(0, 0, 10, 10), rectangle(2, 2, 4, 4)], [rectangle(3, 3, 1, 1)])
    assert inside.sum() == 100 - 16 + 1
    assert inside[3, 3]
    assert not inside[2, 2]


def test_result_does_not_depend_on_the_window():
    ring = np.random.default_rng(7).uniform(0, 40, (30, 2))
    whole = fill([ring])
    for window in (Window(3, 11, 9, 20), Window(25, 0, 15, 50)):
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        np.testing.assert_array_equal(fill([ring], window=window), whole[rows, columns])


def test_ellipse_equals_that_of_skimage():
    expected = np.zeros((40, 50), bool)
    expected[skimage_ellipse(18.7, 24.2, 11.3, 17.9)] = True
    np.testing.assert_array_equal(fill([ellipse(24.7, 19.2, 17.9, 11.3)]), expected)


def test_run_lengths_go_down_the_columns():
    shape = RunLengths(np.array([1, 8]), np.array([3, 13]), 4)
    expected = np.zeros((4, 5), bool)
    expected[1:3, 0] = True
    expected[:, 2] = True
    expected[0, 3] = True
    np.testing.assert_array_equal(shape.fill(Window(0, 0, 4, 5)), expected)
    np.testing.assert_array_equal(shape.fill(Window(1, 1, 2, 2)), expected[1:3, 1:3])
    assert shape.box == Window(0, 0, 4, 4)
    assert shape.area == 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_coordinate_that_is_no_place_is_refused(bad):
    with pytest.raises(ValueError, match="coordinate"):
        Polygons([[[(0, 0), (1, bad), (1, 1)]]])
