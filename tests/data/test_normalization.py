"""Intensities as networks see them."""

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.data.normalization import (
    ASINH,
    PERCENTILE,
    IntensityRanges,
    check_normalization,
    choose_intensity_ranges,
    compress,
    expand,
    normalize,
)
from tessera.io.ome_zarr_store import Metadata


def test_contrast_limits_of_each_channel_become_0_and_1():
    pixels = np.array([[0, 100], [5, 150], [10, 200]], np.uint8)
    assert normalize(pixels, [(0, 10), (100, 200)]).tolist() == [[0, 0], [0.5, 0.5], [1, 1]]


def test_intensities_far_outside_the_contrast_limits_are_clipped():
    assert normalize(np.array([[-50.0], [0], [2], [9]]), [(0, 2)]).ravel().tolist() == [-1, 0, 1, 3]


def test_normalized_pixels_are_float32_for_any_input_type():
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.uint64, np.float16, np.float32, np.float64):
        assert normalize(np.array([[1], [2]], dtype), [(1, 2)]).dtype == np.float32


def test_constant_channel_becomes_0():
    assert normalize(np.array([[7, 1], [7, 3]], np.uint16), [(7, 7), (1, 3)]).tolist() == [[0, 0], [0, 1]]


def test_nan_becomes_0():
    normalized = normalize(np.array([[np.nan], [np.inf], [-np.inf], [1.0]], np.float32), [(0, 2)])
    assert normalized.ravel().tolist() == [0, 3, -1, 0.5]


def test_narrow_contrast_limits_on_a_large_offset_keep_precision():
    pixels = (2**31 - 10 + np.arange(10)).astype(np.uint32)[:, None]
    assert normalize(pixels, [(2**31 - 10, 2**31 - 1)]).ravel() == pytest.approx(np.arange(10) / 9, abs=1e-6)


def test_input_array_is_not_modified():
    pixels = np.array([[0.0], [4.0]], np.float32)
    normalize(pixels, [(0, 2)])
    assert pixels.ravel().tolist() == [0, 4]


def test_wrong_number_of_contrast_limits_is_refused():
    with pytest.raises(ValueError, match="1 contrast limits for 2 channels"):
        normalize(np.zeros((3, 2)), [(0, 1)])


def test_intensity_ranges_are_those_of_the_image_or_fixed_by_the_model():
    image = Metadata(channels=["a", "b"], contrast_limits=[(0, 10), (5, 20)])
    for settings in ({}, {"normalization": None}, {"normalization": {"method": "percentile"}}):
        assert choose_intensity_ranges(image, [1, 0], settings) == IntensityRanges([[(5, 20), (0, 10)]])
    fixed = {"normalization": {"method": "fixed", "contrast_limits": [[1, 2], [3, 4]]}}
    assert choose_intensity_ranges(image, [1, 0], fixed) == IntensityRanges([[(1, 2), (3, 4)]])


def test_intensity_ranges_of_asinh_are_those_of_each_frame():
    image = Metadata(channels=["a", "b"], frame_ranges=[[(0, 10), (0, 5)], [(1, 3), (1, 2)]])
    ranges = choose_intensity_ranges(image, [1, 0], {"normalization": ASINH})
    assert ranges == IntensityRanges([[(1, 3), (0, 10)], [(1, 2), (0, 5)]], is_compressed=True)
    assert ranges.normalize(np.array([[3.0, 10.0]]), 0).ravel() == pytest.approx([1, 1])
    assert ranges.normalize(np.array([[2.0, 5.0]]), 1).ravel() == pytest.approx([1, 1])


def test_store_without_ranges_of_frames_is_refused():
    with pytest.raises(InputError, match="older version"):
        choose_intensity_ranges(Metadata(channels=["a"], contrast_limits=[(0, 1)]), [0], {"normalization": ASINH})


def test_compression_is_that_of_asinh_and_can_be_undone():
    # asinh(4) = 2.0947; asinh(0.4) = 0.3900, so a tenth of the typical contrast keeps a fifth of it.
    values = np.array([-1, 0, 0.1, 1, 10, 100], np.float32)
    assert compress(values).tolist() == pytest.approx([-1, 0, 0.1862, 1, 2.0920, 3.1911], abs=2e-4)
    assert expand(compress(values)) == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_compressed_intensities_are_clipped_to_a_wider_range():
    found = normalize(np.array([[-1e9], [0], [1e9]]), [(0, 2)], is_compressed=True)
    assert found.ravel().tolist() == [-2, 0, 4]


@pytest.mark.parametrize(
    "normalization",
    [
        *({"method": "zscore"}, ASINH | {"softening": 3}, PERCENTILE | {"low": 0}, "percentile", {"method": "fixed"}),
        *(
            {"method": "fixed", "contrast_limits": windows}
            for windows in ([[0, 1]], [[0, 1], [0]], [[0, 1], [0, "x"]], 3)
        ),
        {"method": "fixed", "contrast_limits": [[0, 1], [0, float("inf")]]},
        {"method": "fixed", "contrast_limits": [[0, 1], [0, 1]], "low": 1},
    ],
)
def test_invalid_normalization_is_refused(normalization):
    with pytest.raises(ValueError, match=r"is |has the contrast limits"):
        check_normalization(normalization, 2)


def test_normalization_accepts_asinh_percentile_and_fixed_limits():
    fixed = {"method": "fixed", "contrast_limits": [[0, 1], [5, 5]]}
    for normalization in (ASINH, {"method": "asinh"}, PERCENTILE, {"method": "percentile"}, fixed):
        assert check_normalization(normalization, 2) is None
