"""Thresholds are tuned on validation patches, and stay at the defaults unless others are better."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.store_batches import place_discs
from tessera.common.constants import IGNORE
from tessera.data.training_targets import instance_targets
from tessera.evaluation.threshold_tuning import true_objects, tune_model, tune_thresholds

PAIRS = [(y + dy, x) for y in (20, 60, 100) for x in (20, 60, 100) for dy in (-8, 8)]


def outputs_of(target):
    """Probabilities (y, x, 3) that equal the classes."""
    return np.stack([(target == output).astype(np.float32) for output in range(3)], axis=-1)


def bridged(target):
    """As `outputs_of`, but the boundary between touching discs has a probability of interior of 0.85."""
    outputs = outputs_of(target)
    between = (target == 2) & (ndimage.uniform_filter((target == 1).astype(float), (7, 1)) > 0.2)
    outputs[between] = (0.0, 0.85, 0.15)
    return outputs


def to_uint8(outputs):
    """Probabilities (y, x, 3) as networks give them to other steps: (3, y, x), 255 = 1."""
    return np.rint(255 * np.moveaxis(outputs, -1, 0)).astype(np.uint8)


def tune(predict, patches=4):
    target = instance_targets(place_discs((128, 128), PAIRS, 8.2), 2)
    return tune_thresholds(np.stack([to_uint8(predict(target))] * patches), np.stack([target] * patches))


def test_perfect_network_keeps_the_defaults():
    tuned = tune(outputs_of)
    assert (tuned["foreground"], tuned["seed"], tuned["seed_depth_px"]) == (0.5, 0.8, 0)
    assert tuned["ap"] == tuned["default_ap"] == 1
    assert tuned["objects"] == 4 * len(PAIRS)
    assert tuned["min_area_px"] == pytest.approx(0.05 * np.pi * 8.2**2, abs=1)


def test_seed_threshold_rises_until_touching_objects_are_separated():
    tuned = tune(bridged)
    assert tuned["seed"] == 0.9
    assert tuned["ap"] == 1
    assert tuned["default_ap"] < 0.5
    assert [value for value, ap in tuned["curves"]["seed"] if ap == 1] == [0.9]


def joined(target):
    """As `outputs_of`, but a neck of interior, 3 px wide, joins touching discs."""
    outputs = outputs_of(target)
    for y, x in PAIRS[::2]:
        outputs[y : y + 17, x - 1 : x + 2] = (0.0, 1.0, 0.0)
    return outputs


def test_seeds_become_deeper_until_a_neck_joins_no_objects():
    tuned = tune(joined)
    assert 2 <= tuned["seed_depth_px"] <= 2.1
    assert tuned["ap"] == 1
    assert tuned["default_ap"] < 0.2
    assert [depth >= 2 for depth, ap in tuned["curves"]["seed_depth_px"] if ap == 1] == [True] * 3


def test_foreground_threshold_falls_for_an_unsure_network():
    tuned = tune(lambda target: np.where(outputs_of(target)[..., :1] == 1, outputs_of(target), (0.55, 0.05, 0.4)))
    assert tuned["foreground"] == 0.4


def test_too_few_objects_tune_nothing():
    assert tune(outputs_of, patches=1) is None


def test_objects_are_recovered_from_their_classes():
    ids = place_discs((128, 128), PAIRS, 8.2)
    found = true_objects(instance_targets(ids, 2))
    assert found.max() == len(PAIRS)
    assert all(len(np.unique(found[ids == number])) == 1 for number in range(1, len(PAIRS) + 1))


def test_pixels_that_nobody_annotated_do_not_count():
    ids = place_discs((128, 128), PAIRS, 8.2)
    target = instance_targets(ids, 2)
    target[:, 80:] = IGNORE
    outputs = outputs_of(instance_targets(ids, 2))
    tuned = tune_thresholds(np.stack([to_uint8(outputs)] * 4), np.stack([target] * 4))
    assert tuned["ap"] == 1
    assert tuned["objects"] == 4 * 12


def test_models_of_classes_have_no_thresholds():
    assert tune_model({"task": "semantic"}, lambda patch: patch, np.zeros((4, 8, 8, 1)), np.zeros((4, 8, 8))) is None


def test_patches_of_a_model_are_predicted_one_by_one():
    target = instance_targets(place_discs((128, 128), PAIRS, 8.2), 2)
    seen = []

    def predict(patches):
        seen.append(patches.shape)
        return to_uint8(bridged(target))[None]

    images = np.zeros((4, 128, 128, 1), np.float32)
    tuned = tune_model({"task": "instances"}, predict, images, np.stack([target] * 4))
    assert seen == [(1, 128, 128, 1)] * 4
    assert tuned == tune(bridged)
