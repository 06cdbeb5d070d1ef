"""Resamplings: linear between pixels, and the same however an image is cut."""

import numpy as np
import pytest
from scipy import ndimage

from tessera.data.resampling import resample

PIXELS = np.random.default_rng(0).random((7, 40, 3)).astype(np.float32)


def test_pixels_at_integer_positions_are_unchanged():
    for axis, size in enumerate(PIXELS.shape):
        resampled = resample(PIXELS, np.arange(size), axis, reach=1)
        assert resampled.dtype == np.float32
        assert np.array_equal(resampled, PIXELS)


def test_positions_between_pixels_are_interpolated_linearly():
    at = np.sort(np.random.default_rng(1).uniform(-2, 42, 100))
    resampled = resample(PIXELS, at, 1, reach=1)
    assert resampled.shape == (7, 100, 3)
    for row in range(7):
        for channel in range(3):
            expected = np.interp(at, np.arange(40), PIXELS[row, :, channel])
            assert resampled[row, :, channel] == pytest.approx(expected, abs=1e-5)
    both = resample(resample(PIXELS, np.linspace(0, 6, 13), 0, reach=1), np.linspace(0, 39, 77), 1, reach=1)
    places = np.meshgrid(np.linspace(0, 6, 13), np.linspace(0, 39, 77), indexing="ij")
    assert both[..., 0] == pytest.approx(ndimage.map_coordinates(PIXELS[..., 0], places, order=1), abs=1e-5)


@pytest.mark.parametrize("reach", [1, 1.5, 2, 3.7, 100])
def test_constant_image_stays_constant(reach):
    resampled = resample(np.full((40, 2), 7, np.uint16), np.linspace(-3, 43, 60), 0, reach=reach)
    assert resampled == pytest.approx(7, abs=1e-5)


def test_shrinking_by_two_weights_pixels_by_a_triangle():
    line = PIXELS[0, :, 0].astype(float)
    resampled = resample(line, np.arange(10, 30, 2) + 0.5, 0, reach=2)
    kernel = np.array([0.25, 0.75, 0.75, 0.25]) / 2
    expected = [(line[first - 1 : first + 3] * kernel).sum() for first in range(10, 30, 2)]
    assert resampled == pytest.approx(np.array(expected), abs=1e-6)


def test_shrinking_does_not_alias_fine_stripes():
    stripes = np.tile([0.0, 1.0], 100)
    assert np.ptp(resample(stripes, np.arange(10, 190, 4.1), 0, reach=1)) > 0.5
    assert np.ptp(resample(stripes, np.arange(10, 190, 4.1), 0, reach=4.1)) < 0.1


@pytest.mark.parametrize("reach", [1, 2.5])
def test_resampled_tiles_with_halos_equal_the_whole_image(reach):
    at = np.arange(4, 36, 0.37)
    whole = resample(PIXELS, at, 1, reach=reach)
    pieces = []
    for part in np.array_split(at, 5):
        first, stop = max(int(part[0] - reach) - 1, 0), min(int(part[-1] + reach) + 2, 40)
        pieces.append(resample(PIXELS[:, first:stop], part - first, 1, reach=reach))
    assert np.concatenate(pieces, axis=1) == pytest.approx(whole, abs=1e-6)
