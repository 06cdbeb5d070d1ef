"""Losses of segmentation, their weighted sum, and class weights.

To add a loss, write a function here and list it in LOSSES. Each loss takes the true classes (n, y, x) uint8, the
network's probabilities (n, y, x, outputs) and the weight of each output (outputs,), and returns one float32 number.
Weights count relative to each other. Pixels whose class is unknown (IGNORE) have no weight.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import tf

Loss: TypeAlias = Callable[[Any, Any], Any]
"""loss(target, probabilities), a scalar tensor."""

TVERSKY_BETA = 0.7  # default weight of a missed pixel in the Tversky loss
_SMOOTH = 1e-5
_MIN_PROBABILITY = 1e-7
_FOCAL_GAMMA = 2.0
_MAX_WEIGHT_RATIO = 10.0  # of the automatic class weights


def dice(target: Any, probabilities: Any, weights: Any) -> Any:
    """Return 1 - 2 Σpg / (Σp + Σg), the mean over the classes in the minibatch; g is 1 where a class is true.

    Milletari et al. 2016, V-Net, https://arxiv.org/abs/1606.04797
    """
    return _overlap_loss(target, probabilities, weights, miss_weight=0.5, false_alarm_weight=0.5)


def jaccard(target: Any, probabilities: Any, weights: Any) -> Any:
    """Return 1 - Σpg / (Σp + Σg - Σpg), the mean over the classes in the minibatch.

    Rahman and Wang 2016, https://doi.org/10.1007/978-3-319-50835-1_22
    """
    return _overlap_loss(target, probabilities, weights, miss_weight=1.0, false_alarm_weight=1.0)


def tversky(target: Any, probabilities: Any, weights: Any, beta: float = TVERSKY_BETA) -> Any:
    """Return 1 - Σpg / (Σpg + βΣ(1-p)g + (1-β)Σp(1-g)), the mean over the classes in the minibatch.

    Salehi et al. 2017, https://arxiv.org/abs/1706.05721
    """
    return _overlap_loss(target, probabilities, weights, miss_weight=beta, false_alarm_weight=1 - beta)


def cross_entropy(target: Any, probabilities: Any, weights: Any) -> Any:
    """Return -log p of the true class, the mean over pixels weighted by their classes."""
    pixel_weight, true_probability = _true_probability(target, probabilities, weights)
    return _weighted_mean(-tf.math.log(true_probability), pixel_weight)


def focal(target: Any, probabilities: Any, weights: Any) -> Any:
    """Return -(1 - p)² log p of the true class, the mean over pixels weighted by their classes.

    Lin et al. 2017, Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002
    """
    pixel_weight, true_probability = _true_probability(target, probabilities, weights)
    return _weighted_mean(-((1 - true_probability) ** _FOCAL_GAMMA) * tf.math.log(true_probability), pixel_weight)


LOSSES: dict[str, Callable[..., Any]] = {
    "dice": dice,
    "jaccard": jaccard,
    "tversky": tversky,
    "cross_entropy": cross_entropy,
    "focal": focal,
}


def weighted_sum(losses: Mapping[Any, float], weights: Any, tversky_beta: float | None = None) -> Loss:
    """Return the weighted sum of several losses as one function of target and probabilities.

    Args:
        losses: {name: weight}; a loss with weight 0 is left out.
        weights: weight of each output of the network (outputs,), see `class_weights`.
        tversky_beta: weight of a missed pixel in the Tversky loss, from 0 to 1; None: TVERSKY_BETA.

    Raises:
        InputError: a loss is unknown, a weight is negative, or all weights are 0.
    """
    unknown = sorted(set(losses) - set(LOSSES))
    if unknown:
        raise InputError(f"train.losses: {', '.join(unknown)} is unknown; choose from {', '.join(LOSSES)}")
    used = {name: weight for name, weight in losses.items() if weight}
    if not used or min(used.values()) < 0:
        raise InputError(
            f"train.losses: {losses} needs weights of at least 0, and one weight above 0; for example dice: 1"
        )
    functions = LOSSES | {"tversky": functools.partial(tversky, beta=tversky_beta or TVERSKY_BETA)}
    weights = tf.constant(weights, tf.float32)

    def loss(target: Any, probabilities: Any) -> Any:
        probabilities = tf.cast(probabilities, tf.float32)
        return tf.add_n([weight * functions[name](target, probabilities, weights) for name, weight in used.items()])

    return loss


def class_weights(
    setting: str | Mapping[str, float], outputs: Sequence[str], pixel_fractions: Sequence[float]
) -> NDArray[np.float32]:
    """Return the weight of each output in the losses, (outputs,), with a mean of 1.

    Args:
        setting: "none": equal weights; "auto": inverse square root of the fraction of pixels, at most
            _MAX_WEIGHT_RATIO times the smallest weight (the inverse itself would let a few pixels dominate);
            or {output: weight}, 1 for outputs that are not listed.
        outputs: names of the network's outputs.
        pixel_fractions: fraction of the pixels of the training patches that each output has.
    """
    if setting == "none":
        weights = np.ones(len(outputs))
    elif setting == "auto":
        fractions = np.asarray(pixel_fractions, np.float64)
        least = max(fractions.max(), 1e-9) / _MAX_WEIGHT_RATIO**2
        weights = 1 / np.sqrt(np.maximum(fractions, least))
    else:
        assert not isinstance(setting, str)
        weights = np.array([setting.get(output, 1.0) for output in outputs])
    return (weights / weights.mean()).astype(np.float32)


def _overlap_loss(
    target: Any, probabilities: Any, weights: Any, *, miss_weight: float, false_alarm_weight: float
) -> Any:
    known, truth = _known_and_truth(target, probabilities)
    probabilities = probabilities * known
    overlap = tf.reduce_sum(truth * probabilities, (0, 1, 2))
    present = tf.reduce_sum(truth, (0, 1, 2))
    missed, wrong = present - overlap, tf.reduce_sum(probabilities, (0, 1, 2)) - overlap
    score = (overlap + _SMOOTH) / (overlap + miss_weight * missed + false_alarm_weight * wrong + _SMOOTH)
    counts = tf.cast(present > 0, score.dtype) * weights
    return tf.math.divide_no_nan(tf.reduce_sum((1 - score) * counts), tf.reduce_sum(counts))


def _known_and_truth(target: Any, probabilities: Any) -> tuple[Any, Any]:
    """Return 1 where the class is known (n, y, x, 1), and 1 where each class is true (n, y, x, outputs)."""
    known = tf.cast(target != IGNORE, probabilities.dtype)[..., None]
    return known, tf.one_hot(target, probabilities.shape[-1], dtype=probabilities.dtype)


def _true_probability(target: Any, probabilities: Any, weights: Any) -> tuple[Any, Any]:
    """Return the weight of each pixel, 0 if its class is unknown, and the probability of its true class (n, y, x)."""
    _, truth = _known_and_truth(target, probabilities)
    true_probability = tf.reduce_sum(truth * probabilities, -1)
    return tf.reduce_sum(truth * weights, -1), tf.clip_by_value(true_probability, _MIN_PROBABILITY, 1.0)


def _weighted_mean(values: Any, weight: Any) -> Any:
    return tf.math.divide_no_nan(tf.reduce_sum(values * weight), tf.reduce_sum(weight))
