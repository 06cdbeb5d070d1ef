"""Losses of segmentation; pixels whose class nobody knows (IGNORE) weigh nothing.

Each takes the true classes (n, y, x) uint8, the network's probabilities (n, y, x, outputs), and what each output weighs
(outputs,), and gives one float32 number. Weights count relative to each other.
"""

import functools

import numpy as np

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import tf

_SMOOTH = 1e-5
_SMALLEST = 1e-7
_FOCUS = 2.0
BETA = 0.7  # what a missed pixel weighs in the Tversky loss, unless another is given
_HEAVIEST = 10.0


def dice(target, probabilities, weights):
    """1 - 2 Σpg / (Σp + Σg), the mean over the classes that are in the batch, g being 1 where a class is true.

    Milletari et al. 2016, V-Net, https://arxiv.org/abs/1606.04797
    """
    return _overlap_loss(target, probabilities, weights, misses=0.5, false_alarms=0.5)


def jaccard(target, probabilities, weights):
    """1 - Σpg / (Σp + Σg - Σpg), the mean over the classes that are in the batch.

    Rahman and Wang 2016, https://doi.org/10.1007/978-3-319-50835-1_22
    """
    return _overlap_loss(target, probabilities, weights, misses=1.0, false_alarms=1.0)


def tversky(target, probabilities, weights, beta=BETA):
    """1 - Σpg / (Σpg + βΣ(1-p)g + (1-β)Σp(1-g)), the mean over the classes that are in the batch.

    Salehi et al. 2017, https://arxiv.org/abs/1706.05721
    """
    return _overlap_loss(target, probabilities, weights, misses=beta, false_alarms=1 - beta)


def cross_entropy(target, probabilities, weights):
    """-log p of the true class, the mean over pixels by the weights of their classes."""
    weight, true = _true_probability(target, probabilities, weights)
    return _mean(-tf.math.log(true), weight)


def focal(target, probabilities, weights):
    """-(1 - p)² log p of the true class, the mean over pixels by the weights of their classes.

    Lin et al. 2017, Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002
    """
    weight, true = _true_probability(target, probabilities, weights)
    return _mean(-((1 - true) ** _FOCUS) * tf.math.log(true), weight)


LOSSES = {"dice": dice, "jaccard": jaccard, "tversky": tversky, "cross_entropy": cross_entropy, "focal": focal}


def weighted_sum(losses, weights, tversky_beta=None):
    """One loss(target, probabilities) from {name: weight}; a weight of 0 takes a loss out.

    Args:
        losses: as in the configuration.
        weights: what each output of the network weighs, (outputs,), see `class_weights`.
        tversky_beta: what a missed pixel weighs in the Tversky loss, from 0 to 1; None: BETA.

    Raises:
        InputError: an unknown loss, a negative weight, or none above 0.
    """
    unknown = sorted(set(losses) - set(LOSSES))
    if unknown:
        raise InputError(f"losses: {', '.join(unknown)} is unknown; they can be {', '.join(LOSSES)}")
    taken = {name: weight for name, weight in losses.items() if weight}
    if not taken or min(taken.values()) < 0:
        raise InputError(f"losses: {losses} needs weights of 0 or more, and at least one above 0; for example dice: 1")
    known = LOSSES | {"tversky": functools.partial(tversky, beta=tversky_beta or BETA)}
    weights = tf.constant(weights, tf.float32)

    def loss(target, probabilities):
        probabilities = tf.cast(probabilities, tf.float32)
        return tf.add_n([share * known[name](target, probabilities, weights) for name, share in taken.items()])

    return loss


def class_weights(setting, outputs, shares):
    """What each output weighs in the losses, (outputs,) float32, their mean being 1.

    Args:
        setting: "none": all the same; "auto": by the inverse root of its share of the pixels, since the inverse itself
            lets a few pixels outshout all others, and at most _HEAVIEST times the least; or {output: weight}.
        outputs: names of the network's outputs.
        shares: of the pixels of the training patches that each output has.
    """
    if setting == "none":
        weights = np.ones(len(outputs))
    elif setting == "auto":
        shares = np.asarray(shares, np.float64)
        least = max(shares.max(), 1e-9) / _HEAVIEST**2
        weights = 1 / np.sqrt(np.maximum(shares, least))
    else:
        weights = np.array([setting.get(output, 1.0) for output in outputs])
    return (weights / weights.mean()).astype(np.float32)


def _overlap_loss(target, probabilities, weights, *, misses, false_alarms):
    known, truth = _known(target, probabilities)
    probabilities = probabilities * known
    overlap = tf.reduce_sum(truth * probabilities, (0, 1, 2))
    present = tf.reduce_sum(truth, (0, 1, 2))
    missed, wrong = present - overlap, tf.reduce_sum(probabilities, (0, 1, 2)) - overlap
    score = (overlap + _SMOOTH) / (overlap + misses * missed + false_alarms * wrong + _SMOOTH)
    counts = tf.cast(present > 0, score.dtype) * weights
    return tf.math.divide_no_nan(tf.reduce_sum((1 - score) * counts), tf.reduce_sum(counts))


def _known(target, probabilities):
    """1 where the class is known (n, y, x, 1), and 1 where a class is true (n, y, x, outputs)."""
    known = tf.cast(target != IGNORE, probabilities.dtype)[..., None]
    return known, tf.one_hot(target, probabilities.shape[-1], dtype=probabilities.dtype)


def _true_probability(target, probabilities, weights):
    """What each pixel weighs, 0 where its class is unknown, and the probability of the true class (n, y, x)."""
    _, truth = _known(target, probabilities)
    true = tf.reduce_sum(truth * probabilities, -1)
    return tf.reduce_sum(truth * weights, -1), tf.clip_by_value(true, _SMALLEST, 1.0)


def _mean(values, weight):
    return tf.math.divide_no_nan(tf.reduce_sum(values * weight), tf.reduce_sum(weight))
