"""Losses and IoU compared with values calculated by hand and with those of segmentation-models."""

import numpy as np
import pytest

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import sm, tf
from tessera.training.losses import LOSSES, class_weights, cross_entropy, dice, focal, jaccard, tversky, weighted_sum
from tessera.training.training_model import ClassIoU

# Two pixels: class 0 with p = 0.8, class 1 with p = 0.4.
TARGET = tf.constant([[[0, 1]]], tf.uint8)
PROBABILITIES = tf.constant([[[[0.8, 0.2], [0.6, 0.4]]]], tf.float32)
EVEN, EVEN3 = np.ones(2, "float32"), np.ones(3, "float32")


def random_case(outputs=3):
    random = np.random.default_rng(0)
    target = random.integers(0, outputs, (2, 8, 8)).astype("uint8")
    return target, tf.nn.softmax(random.normal(size=(2, 8, 8, outputs)).astype("float32"))


def test_dice_is_one_minus_twice_the_overlap_over_the_sum():
    # class 0: 2·0.8 / (1 + 1.4); class 1: 2·0.4 / (1 + 0.6)
    assert float(dice(TARGET, PROBABILITIES, EVEN)) == pytest.approx(1 - (1.6 / 2.4 + 0.8 / 1.6) / 2, abs=1e-5)


def test_cross_entropy_is_the_mean_of_minus_log_p():
    assert float(cross_entropy(TARGET, PROBABILITIES, EVEN)) == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)


def test_focal_loss_has_little_weight_where_the_prediction_is_right():
    expected = -(0.2**2 * np.log(0.8) + 0.6**2 * np.log(0.4)) / 2
    assert float(focal(TARGET, PROBABILITIES, EVEN)) == pytest.approx(expected)


def test_jaccard_is_one_minus_the_overlap_over_the_union():
    # class 0: 0.8 / (1 + 1.4 - 0.8); class 1: 0.4 / (1 + 0.6 - 0.4)
    expected = 1 - (0.8 / 1.6 + 0.4 / 1.2) / 2
    assert float(jaccard(TARGET, PROBABILITIES, EVEN)) == pytest.approx(expected, abs=1e-5)


def test_tversky_has_separate_weights_for_misses_and_false_alarms():
    # class 0: misses 0.2, false alarms 0.6; class 1: misses 0.6, false alarms 0.2
    expected = 1 - (0.8 / (0.8 + 0.9 * 0.2 + 0.1 * 0.6) + 0.4 / (0.4 + 0.9 * 0.6 + 0.1 * 0.2)) / 2
    assert float(tversky(TARGET, PROBABILITIES, EVEN, beta=0.9)) == pytest.approx(expected, abs=1e-5)
    half = float(tversky(TARGET, PROBABILITIES, EVEN, beta=0.5))
    assert half == pytest.approx(float(dice(TARGET, PROBABILITIES, EVEN)), abs=1e-5)
    loss = weighted_sum({"tversky": 1.0}, EVEN, tversky_beta=0.9)
    assert float(loss(TARGET, PROBABILITIES)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_class_with_weight_zero_is_not_learned_from_its_own_pixels(name):
    target, probabilities = random_case()
    one = LOSSES[name](target, probabilities, np.array([1, 0, 0], "float32"))
    target[target == 2] = 1
    other = LOSSES[name](target, probabilities, np.array([1, 0, 0], "float32"))
    assert float(one) == pytest.approx(float(other), abs=1e-6)


def test_class_weights_count_relative_to_each_other():
    # -log 0.8 with weight 3, -log 0.4 with weight 1
    expected = (3 * -np.log(0.8) - np.log(0.4)) / 4
    for scale in (1, 10):
        weights = np.array([3, 1], "float32") * scale
        assert float(cross_entropy(TARGET, PROBABILITIES, weights)) == pytest.approx(expected)


def test_class_weights_are_equal_by_pixel_fraction_or_given():
    outputs = ["background", "interior", "boundary"]
    assert class_weights("none", outputs, [0.9, 0.1, 0]).tolist() == [1, 1, 1]
    # Inverse roots of 0.64, 0.32, 0.04: 1.25, 1.77, 5.
    auto = class_weights("auto", outputs, [0.64, 0.32, 0.04])
    assert auto == pytest.approx(np.array([1.25, 1.76777, 5]) / 2.67259, rel=1e-4)
    assert max(class_weights("auto", outputs, [1.0, 0.0, 0.0])) == pytest.approx(
        10 * class_weights("auto", outputs, [1.0, 0.0, 0.0])[0]
    )
    assert class_weights({"boundary": 4}, outputs, None).tolist() == [0.5, 0.5, 2]


def test_losses_agree_with_segmentation_models_without_unknown_pixels():
    target, probabilities = random_case()
    truth = tf.one_hot(target, 3)
    assert float(dice(target, probabilities, EVEN3)) == pytest.approx(
        float(sm.losses.DiceLoss()(truth, probabilities)), abs=1e-5
    )
    assert float(jaccard(target, probabilities, EVEN3)) == pytest.approx(
        float(sm.losses.JaccardLoss()(truth, probabilities)), abs=1e-5
    )
    # Theirs are means over the classes too, and their focal loss has a factor of 0.25.
    assert float(cross_entropy(target, probabilities, EVEN3)) == pytest.approx(
        3 * float(sm.losses.CategoricalCELoss()(truth, probabilities)), rel=1e-5
    )
    assert float(focal(target, probabilities, EVEN3)) == pytest.approx(
        12 * float(sm.losses.CategoricalFocalLoss()(truth, probabilities)), rel=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_pixels_have_no_weight(name):
    target, probabilities = random_case()
    target[:, :, 4:] = IGNORE
    known = LOSSES[name](target[:, :, :4], probabilities[:, :, :4], EVEN3)
    assert float(LOSSES[name](target, probabilities, EVEN3)) == pytest.approx(float(known), abs=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(probabilities)
        loss = LOSSES[name](target, probabilities, EVEN3)
    gradient = tape.gradient(loss, probabilities).numpy()
    assert not gradient[:, :, 4:].any()
    assert gradient[:, :, :4].any()


@pytest.mark.parametrize("name", LOSSES)
def test_loss_of_a_minibatch_without_known_pixels_is_zero(name):
    target, probabilities = random_case()
    assert float(LOSSES[name](np.full_like(target, IGNORE), probabilities, EVEN3)) == 0


def test_dice_ignores_a_class_that_is_not_in_the_minibatch():
    target, probabilities = random_case()
    target[target == 2] = 0
    absent = tf.concat([probabilities[..., :1] + probabilities[..., 2:], probabilities[..., 1:2]], -1)
    three = float(dice(target, tf.concat([absent, tf.zeros_like(absent[..., :1])], -1), EVEN3))
    assert three == pytest.approx(float(dice(target, absent, EVEN)), abs=1e-6)


def test_weighted_sum_adds_losses_with_their_weights():
    loss = weighted_sum({"dice": 2, "cross_entropy": 0.5, "focal": 0}, EVEN)
    expected = 2 * dice(TARGET, PROBABILITIES, EVEN) + 0.5 * cross_entropy(TARGET, PROBABILITIES, EVEN)
    assert float(loss(TARGET, PROBABILITIES)) == pytest.approx(float(expected))


@pytest.mark.parametrize("losses", [{}, {"dice": 0}, {"dice": -1}, {"lovasz": 1}])
def test_invalid_losses_are_refused(losses):
    with pytest.raises(InputError, match=r"train\.losses: "):
        weighted_sum(losses, EVEN)


def test_iou_is_per_class_without_background_and_unknown_pixels():
    score = ClassIoU(["background", "cell", "edge", "never"])
    target = np.array([[[0, 1, 1, 1, 2, IGNORE]]], "uint8")
    predicted = np.array([[[1, 1, 1, 0, 2, 1]]])
    score.update_state(target, tf.one_hot(predicted, 4))
    result = {name: float(value) for name, value in score.result().items()}
    # cell: two right of one wrong and one missed; edge: right; the last class is nowhere.
    assert result.pop("iou_never") != result.get("iou_never", 0)
    assert result == {"iou": pytest.approx(0.75), "iou_cell": pytest.approx(0.5), "iou_edge": pytest.approx(1.0)}
