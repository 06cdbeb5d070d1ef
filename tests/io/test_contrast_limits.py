"""Contrast limits of channels, compared with values worked out by hand."""

import numpy as np
import zarr

from tessera.io.contrast_limits import estimate_contrast_limits


def array_of(pixels, chunks=None):
    array = zarr.create_array({}, shape=pixels.shape, dtype=pixels.dtype, chunks=chunks or pixels.shape)
    array[:] = pixels
    return array


def test_limits_are_percentiles_of_all_pixels_of_a_small_channel():
    pixels = np.stack([np.arange(1001), np.full(1001, 7)]).astype(np.uint16).reshape(1, 2, 1, 7, 143)
    # The percentiles 1 and 99.8 of 0, 1, ..., 1000 are 10 and 998.
    expected = {"min": 0.0, "max": 65535.0, "start": 10.0, "end": 998.0}
    assert estimate_contrast_limits(array_of(pixels), 0) == expected


def test_limits_are_extremes_if_the_percentiles_are_equal():
    pixels = np.full((1, 1, 1, 100, 100), 5, np.uint8)
    pixels[0, 0, 0, 0, 0] = 200
    assert estimate_contrast_limits(array_of(pixels), 0) == {"min": 0.0, "max": 255.0, "start": 5.0, "end": 200.0}


def test_limits_of_floats_ignore_pixels_that_are_not_finite():
    pixels = np.linspace(0, 1, 1001, dtype=np.float32).reshape(1, 1, 1, 7, 143)
    pixels[0, 0, 0, 0, :2] = np.nan, np.inf
    limits = estimate_contrast_limits(array_of(pixels), 0)
    assert limits["min"] == np.float32(0.002)
    assert limits["max"] == 1.0
