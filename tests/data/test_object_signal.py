"""Signal of objects with known contrast and noise."""

import numpy as np
import pytest

from helpers.store_batches import write_image
from tessera.data.normalization import IntensityRanges
from tessera.data.object_signal import check_signal, measure_found_objects, measure_objects

IDS = np.zeros((128, 128), np.int32)
for number in range(9):
    top, left = 10 + 40 * (number // 3), 10 + 40 * (number % 3)
    IDS[top : top + 16, left : left + 16] = number + 1


def paint(contrast, noise):
    return np.random.default_rng(0).normal(np.where(IDS > 0, contrast, 0), noise).astype(np.float32)[..., None]


def test_signal_and_contrast_are_those_of_the_objects():
    found = measure_objects(paint(0.8, 0.04), IDS, is_compressed=False)
    assert found.shape == (9, 2)
    assert np.median(found, axis=0) == pytest.approx([20, 0.8], rel=0.1)


def test_dark_objects_have_a_signal_too():
    found = measure_objects(paint(-0.8, 0.04), IDS, is_compressed=False)
    assert np.median(found, axis=0) == pytest.approx([20, 0.8], rel=0.1)


def test_best_channel_of_an_object_counts():
    pixels = np.concatenate([paint(0.0, 0.04), paint(0.8, 0.04)], axis=-1)
    assert np.median(measure_objects(pixels, IDS, is_compressed=False), axis=0) == pytest.approx([20, 0.8], rel=0.1)


def test_objects_of_a_store_are_measured_at_the_scale_of_the_network(tmp_path):
    image = (1000 + 1000 * paint(0.8, 0.04)).astype(np.float32).reshape(1, 1, 1, 128, 128)
    path = write_image(tmp_path / "images", "a", image)
    labels = write_image(tmp_path / "labels", "a", IDS[None, None, None])
    ranges = IntensityRanges([[(1000, 2000)]])
    found = measure_found_objects(path, labels, order=[0], ranges=ranges, scale=1.0)
    assert np.median(found, axis=0) == pytest.approx([20, 0.8], rel=0.1)
    halved = measure_found_objects(path, labels, order=[0], ranges=ranges, scale=0.5)
    assert np.median(halved, axis=0) == pytest.approx([40, 0.8], rel=0.15)  # a mean of four pixels has half the noise


def test_objects_with_much_less_signal_than_the_training_are_a_domain_shift():
    objects = np.tile([7.0, 0.5], (5, 1))
    (warning,) = check_signal("movie", objects, {"signal": {"snr": 20.0, "contrast": 0.8}})
    assert "a ratio of signal to noise of 7, but those of the training at least 20" in warning
    (warning,) = check_signal("movie", objects, {"signal": {"snr": 17.0, "contrast": 1.3}})
    assert "a contrast of 0.5, but those of the training at least 1.3" in warning
    assert check_signal("movie", objects, {"signal": {"snr": 17.0, "contrast": 0.8}}) == []


def test_few_objects_and_models_without_a_signal_give_no_warning():
    assert check_signal("movie", np.tile([7.0, 0.5], (3, 1)), {"signal": {"snr": 99.0, "contrast": 9}}) == []
    assert check_signal("movie", np.tile([7.0, 0.5], (9, 1)), {}) == []
