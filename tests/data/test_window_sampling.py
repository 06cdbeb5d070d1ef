"""Windows sampled from images whose pixels are known."""

import numpy as np
import pytest

from helpers.store_batches import write_image
from tessera.data.normalization import IntensityRanges
from tessera.data.window_sampling import sample_windows

QUADRANTS = np.repeat(np.repeat([[10, 20], [30, 40]], 32, axis=0), 32, axis=1).astype(np.uint8)


@pytest.fixture
def path(tmp_path):
    """Store of two frames of two channels, 64 x 64: the quadrants, and 1 less in the second frame; a channel of 50."""
    planes = np.stack([QUADRANTS, QUADRANTS - 1])
    pixels = np.stack([planes, np.full_like(planes, 50)], axis=1)[:, :, None]
    write_image(tmp_path, "a", pixels, channels=["DAPI", "GFP"])
    return tmp_path / "a.ome.zarr"


def sampled(path, *, order=(0,), count=4, scale=1.0, **region):
    return sample_windows(
        path,
        order=list(order),
        ranges=IntensityRanges([[(0, 100)] * len(order)]),
        side_px=32,
        scale=scale,
        count=count,
        **region,
    )


def values(windows):
    """The value of each constant window of one channel."""
    assert all(np.ptp(window) == 0 for window in windows)
    return [round(float(window[0, 0, 0]), 3) for window in windows]


def test_windows_cover_a_frame_and_are_normalized(path):
    windows = sampled(path, frames="0")
    assert [window.shape for window in windows] == [(32, 32, 1)] * 4
    assert values(windows) == [0.1, 0.2, 0.3, 0.4]


def test_windows_are_evenly_spaced_if_there_are_too_many(path):
    assert values(sampled(path, count=2, frames="0")) == [0.2, 0.4]
    assert values(sampled(path, count=2)) == [0.3, 0.29]


def test_windows_are_inside_the_region_of_interest(path):
    assert values(sampled(path, roi=(0, 32, 32, 64), frames="1")) == [0.19]


def test_channels_are_in_the_order_of_the_network(path):
    window = sampled(path, order=(1, 0), frames="0")[0]
    np.testing.assert_allclose(window[0, 0], [0.5, 0.1], atol=1e-6)


def test_windows_have_their_size_at_the_scale_of_the_network(path):
    windows = sampled(path, scale=2.0, count=16, frames="0")  # windows of 16 pixels of the image
    assert [window.shape for window in windows] == [(32, 32, 1)] * 16
    assert values(windows) == [0.1, 0.1, 0.2, 0.2] * 2 + [0.3, 0.3, 0.4, 0.4] * 2


def test_small_image_is_enlarged_to_the_smallest_window(tmp_path):
    write_image(tmp_path, "a", np.full((1, 1, 1, 20, 24), 70, np.uint8), channels=["DAPI"])
    (window,) = sampled(tmp_path / "a.ome.zarr")
    assert window.shape == (32, 32, 1)
    np.testing.assert_allclose(window, 0.7, atol=1e-6)
