"""Texture features of windows whose features are known in advance."""

import numpy as np
import pytest

from tessera.data.texture_features import PER_CHANNEL, texture_distances, texture_features


@pytest.fixture
def window():
    """A window (y, x, 1) with bright spots on dark noise."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(0, 0.02, (64, 64, 1))
    pixels[rng.random((64, 64)) > 0.97] += 1
    return pixels.astype(np.float32)


def test_features_of_a_constant_window_are_at_their_limits():
    expected = [-5.0] * 5 + [0.0] * 5 + [0.0] * 2 + [-3.0]  # log10 of 1e-5, no skewness or correlation, log10 of 1e-3
    np.testing.assert_allclose(texture_features(np.full((32, 32, 1), 0.5, np.float32)), expected, atol=1e-6)


def test_features_of_channels_are_concatenated(window):
    constant = np.zeros_like(window)
    features = texture_features(np.concatenate([constant, window], axis=-1))
    assert features.shape == (2 * PER_CHANNEL,)
    np.testing.assert_array_equal(features[:PER_CHANNEL], texture_features(constant))
    np.testing.assert_array_equal(features[PER_CHANNEL:], texture_features(window))


def test_contrast_changes_only_the_last_feature(window):
    difference = texture_features(10 * window) - texture_features(window)
    np.testing.assert_allclose(difference, [0.0] * 12 + [1.0], atol=1e-4)


def test_inversion_changes_the_sign_of_skewness_and_correlation(window):
    features = texture_features(window)
    signs = np.array([1] * 5 + [-1] * 5 + [-1] * 2 + [1])
    np.testing.assert_allclose(texture_features(-window), signs * features, atol=1e-5)
    assert features[5] > 0.5  # bright spots
    assert features[10] > 0  # detail is where the window is bright


def test_texture_distances_are_root_mean_squares_in_units_of_the_spread():
    distances = texture_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(distances, [[np.sqrt((3**2 + 2**2) / 2), 0]])
