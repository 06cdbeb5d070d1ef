"""Precisions: a lower one passes where it changes next to nothing, and fails where it does not."""

import numpy as np
import pytest

from tessera.common.constants import IGNORE
from tessera.inference.precision_check import check_precision


def answers(classes):
    """A `predict` that finds `classes`, written into the pixels of one channel, out of three."""

    def predict(pixels):
        ids = classes(np.rint(pixels[..., 0]).astype(int))
        return (255 * (np.arange(3)[:, None, None] == ids[:, None])).astype(np.uint8)

    return predict


right = answers(lambda ids: ids)


@pytest.fixture
def patches():
    """Two patches of three quarters class 0 and one quarter class 1; class 2 is absent."""
    targets = np.zeros((2, 32, 64), np.uint8)
    targets[:, :16, :32] = 1
    return targets[..., None].astype(np.float32), targets


def test_the_same_answers_pass(patches):
    check = check_precision(right, right, patches, 0.0)
    assert check == {
        "iou_change": 0.0,
        "mean_difference": 0.0,
        "argmax_equal": 1.0,
        "patches": 2,
        "tolerance": 0.0,
        "passed": True,
    }


def test_a_candidate_that_finds_something_else_fails_by_as_much_as_its_worst_class_changes(patches):
    images, targets = patches
    images = images.copy()
    images[0, :4, :32] = 3  # a sixteenth of the first patch, an eighth of class 1, which only the candidate misses
    candidate = answers(lambda ids: np.where(ids == 3, 0, ids))
    reference = answers(lambda ids: np.where(ids == 3, 1, ids))
    check = check_precision(reference, candidate, (images, targets), 0.1)
    assert check["iou_change"] == pytest.approx(1 / 8)
    assert check["argmax_equal"] == pytest.approx(1 - 1 / 32)
    assert check["mean_difference"] == pytest.approx(1 / 32 * 2 / 3)
    assert not check["passed"]
    assert check_precision(reference, candidate, (images, targets), 0.13)["passed"]


def test_probabilities_may_differ_where_the_most_probable_does_not(patches):
    def unsure(pixels):
        return right(pixels) // 2 + 10

    check = check_precision(right, unsure, patches, 0.0)
    assert check["passed"]
    assert check["mean_difference"] > 0.1


def test_unknown_pixels_do_not_count(patches):
    images, targets = patches
    images, targets = images.copy(), targets.copy()
    images[0, :4], targets[0, :4] = 3, IGNORE
    candidate, reference = (answers(lambda ids, to=to: np.where(ids == 3, to, ids)) for to in (0, 1))
    check = check_precision(reference, candidate, (images, targets), 0.0)
    assert check["iou_change"] == 0
    assert check["passed"]


def test_a_class_that_only_the_candidate_finds_does_count_by_what_it_takes_from_others(patches):
    images, targets = patches
    images = images.copy()
    images[:, :16, :32] = 3  # all of class 1 is found as class 2
    candidate, reference = (answers(lambda ids, to=to: np.where(ids == 3, to, ids)) for to in (2, 1))
    check = check_precision(reference, candidate, (images, targets), 0.5)
    assert check["iou_change"] == 1
    assert not check["passed"]


def test_targets_of_a_class_that_the_model_does_not_have_are_unknown(patches):
    images, targets = patches
    targets = targets.copy()
    targets[0, 0, 0] = 7
    assert check_precision(right, right, (images, targets), 0.0)["passed"]


def test_patches_are_cropped_to_what_networks_take(patches):
    images, targets = (np.pad(part, [(0, 0), (0, 8), (0, 31)] + [(0, 0)] * (part.ndim - 3)) for part in patches)
    seen = []

    def predict(pixels):
        seen.append(pixels.shape)
        return right(pixels)

    assert check_precision(predict, predict, (images, targets), 0.0)["passed"]
    assert set(seen) == {(1, 32, 64, 1)}
