"""Intensities as networks see them."""

import numpy as np
import pytest

from tessera.data.normalization import PERCENTILE, check_normalization, choose_intensity_ranges, normalize


def test_a_window_is_mapped_to_0_to_1_per_channel():
    pixels = np.array([[0, 100], [5, 150], [10, 200]], np.uint8)
    assert normalize(pixels, [(0, 10), (100, 200)]).tolist() == [[0, 0], [0.5, 0.5], [1, 1]]


def test_what_lies_far_outside_the_window_is_clipped():
    assert normalize(np.array([[-50.0], [0], [2], [9]]), [(0, 2)]).ravel().tolist() == [-1, 0, 1, 3]


def test_the_answer_is_float32_whatever_comes_in():
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.uint64, np.float16, np.float32, np.float64):
        assert normalize(np.array([[1], [2]], dtype), [(1, 2)]).dtype == np.float32


def test_a_constant_channel_is_0():
    assert normalize(np.array([[7, 1], [7, 3]], np.uint16), [(7, 7), (1, 3)]).tolist() == [[0, 0], [0, 1]]


def test_what_is_not_a_number_is_0():
    found = normalize(np.array([[np.nan], [np.inf], [-np.inf], [1.0]], np.float32), [(0, 2)])
    assert found.ravel().tolist() == [0, 3, -1, 0.5]


def test_a_small_window_on_a_tall_offset_keeps_its_steps():
    pixels = (2**31 - 10 + np.arange(10)).astype(np.uint32)[:, None]
    assert normalize(pixels, [(2**31 - 10, 2**31 - 1)]).ravel() == pytest.approx(np.arange(10) / 9, abs=1e-6)


def test_the_input_is_left_as_it_is():
    pixels = np.array([[0.0], [4.0]], np.float32)
    normalize(pixels, [(0, 2)])
    assert pixels.ravel().tolist() == [0, 4]


def test_a_window_per_channel_is_needed():
    with pytest.raises(ValueError, match="1 contrast limits for 2 channels"):
        normalize(np.zeros((3, 2)), [(0, 1)])


def test_an_image_has_its_own_windows_or_those_of_the_model():
    own = [(0, 10), (5, 20)]
    for settings in ({}, {"normalization": None}, {"normalization": {"method": "percentile"}}):
        assert choose_intensity_ranges(own, [1, 0], settings) == [(5, 20), (0, 10)]
    fixed = {"normalization": {"method": "fixed", "contrast_limits": [[1, 2], [3, 4]]}}
    assert choose_intensity_ranges(own, [1, 0], fixed) == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    "normalization",
    [
        *({"method": "zscore"}, PERCENTILE | {"low": 0}, "percentile", {"method": "fixed"}),
        *(
            {"method": "fixed", "contrast_limits": windows}
            for windows in ([[0, 1]], [[0, 1], [0]], [[0, 1], [0, "x"]], 3)
        ),
        {"method": "fixed", "contrast_limits": [[0, 1], [0, float("inf")]]},
        {"method": "fixed", "contrast_limits": [[0, 1], [0, 1]], "low": 1},
    ],
)
def test_a_normalisation_that_would_be_misread_is_refused(normalization):
    with pytest.raises(ValueError, match=r"is |has the contrast limits"):
        check_normalization(normalization, 2)


def test_normalization_accepts_percentile_and_fixed_limits():
    fixed = {"method": "fixed", "contrast_limits": [[0, 1], [5, 5]]}
    for normalization in (PERCENTILE, {"method": "percentile"}, fixed):
        assert check_normalization(normalization, 2) is None
