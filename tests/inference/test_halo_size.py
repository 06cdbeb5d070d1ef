"""Halos: found from what a network answers with and without its surroundings."""

import numpy as np
import pytest
from scipy import ndimage

from tessera.inference.halo_size import UNMEASURED, measure_halo


def blur(reach):
    """A network that sees `reach` pixels around each, and nothing beyond its tile."""

    def predict(pixels):
        seen = ndimage.uniform_filter(pixels[..., 0], (0, 2 * reach + 1, 2 * reach + 1), mode="constant")
        return np.rint(255 * np.stack([1 - seen, seen], 1)).astype(np.uint8)

    return predict


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0.3, 0.9, (5, 128, 160, 1)).astype(np.float32)


@pytest.mark.parametrize(("reach", "halo"), [(0, 32), (20, 32), (32, 32), (50, 64), (64, 64), (90, 96), (120, 128)])
def test_the_halo_is_what_the_network_sees_rounded_up_to_its_lattice(images, reach, halo):
    halo_px, measured = measure_halo(blur(reach), images)
    assert halo_px == halo
    assert [row["halo_px"] for row in measured] == list(range(32, halo + 1, 32))
    if reach:
        assert measured[-1]["mean_difference"] == 0
        assert all(row["mean_difference"] > 0.002 for row in measured[:-1])


def test_the_halo_is_the_same_if_the_network_returns_the_same_buffer_each_time(images):
    buffers = {}

    def predict(pixels):
        output = blur(20)(pixels)
        buffer = buffers.setdefault(output.shape, np.empty_like(output))
        buffer[:] = output
        return buffer

    assert measure_halo(predict, images) == measure_halo(blur(20), images)


def test_a_network_that_sees_farther_than_can_be_measured_has_the_largest_halo_that_was(images):
    halo_px, measured = measure_halo(blur(200), images)
    assert halo_px == 192
    assert [row["halo_px"] for row in measured] == [32, 64, 96, 128, 160, 192]


def test_small_patches_tell_of_halos_larger_than_themselves(images):
    assert measure_halo(blur(90), images[:, :64, :64])[0] == 96


def test_patches_smaller_than_the_lattice_measure_nothing(images):
    assert measure_halo(blur(0), images[:, :31, :64]) == (UNMEASURED, [])


def test_the_most_probable_output_counts_even_where_probabilities_hardly_change(images):
    def predict(pixels):
        """Which of two outputs is ahead, by one in 255, depends on what is up to 40 pixels away."""
        ahead = ndimage.uniform_filter(pixels[..., 0], (0, 81, 81), mode="constant") > 0.58
        return np.stack([127 + ~ahead, 127 + ahead], 1).astype(np.uint8)

    halo_px, measured = measure_halo(predict, images)
    assert halo_px == 64
    assert measured[0]["mean_difference"] < 0.002
    assert measured[0]["disagreement"] > 0.001
    assert measured[-1]["disagreement"] == 0
