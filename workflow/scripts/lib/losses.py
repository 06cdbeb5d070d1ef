"""Losses of segmentation; pixels whose class nobody knows (IGNORE) weigh nothing.

Each takes the true classes (n, y, x) uint8 and the network's probabilities (n, y, x, outputs), and gives one number.
"""

from .errors import InputError
from .frameworks import tf
from .targets import IGNORE

_SMOOTH = 1e-5
_SMALLEST = 1e-7
_FOCUS = 2.0


def dice(target, probabilities):
    """1 - 2 Σpg / (Σp + Σg), the mean over the classes that are in the batch, g being 1 where a class is true.

    Milletari et al. 2016, V-Net, https://arxiv.org/abs/1606.04797
    """
    known, truth = _known(target, probabilities)
    probabilities = probabilities * known
    overlap = tf.reduce_sum(truth * probabilities, (0, 1, 2))
    present = tf.reduce_sum(truth, (0, 1, 2))
    score = (2 * overlap + _SMOOTH) / (present + tf.reduce_sum(probabilities, (0, 1, 2)) + _SMOOTH)
    counts = tf.cast(present > 0, score.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum((1 - score) * counts), tf.reduce_sum(counts))


def cross_entropy(target, probabilities):
    """-log p of the true class, the mean over pixels."""
    known, true = _true_probability(target, probabilities)
    return _mean(-tf.math.log(true), known)


def focal(target, probabilities):
    """-(1 - p)² log p of the true class, the mean over pixels.

    Lin et al. 2017, Focal Loss for Dense Object Detection, https://arxiv.org/abs/1708.02002
    """
    known, true = _true_probability(target, probabilities)
    return _mean(-((1 - true) ** _FOCUS) * tf.math.log(true), known)


LOSSES = {"dice": dice, "cross_entropy": cross_entropy, "focal": focal}


def weighted_sum(losses):
    """One loss(target, probabilities) from {name: weight}; a weight of 0 takes a loss out.

    Raises:
        InputError: an unknown loss, a negative weight, or none above 0.
    """
    unknown = sorted(set(losses) - set(LOSSES))
    if unknown:
        raise InputError(f"losses: {', '.join(unknown)} is unknown; they can be {', '.join(LOSSES)}")
    taken = {name: weight for name, weight in losses.items() if weight}
    if not taken or min(taken.values()) < 0:
        raise InputError(f"losses: {losses} needs weights of 0 or more, and at least one above 0; for example dice: 1")

    def loss(target, probabilities):
        return tf.add_n([weight * LOSSES[name](target, probabilities) for name, weight in taken.items()])

    return loss


def _known(target, probabilities):
    """1 where the class is known (n, y, x, 1), and 1 where a class is true (n, y, x, outputs)."""
    known = tf.cast(target != IGNORE, probabilities.dtype)[..., None]
    return known, tf.one_hot(target, probabilities.shape[-1], dtype=probabilities.dtype)


def _true_probability(target, probabilities):
    """1 where the class is known, and the probability of the true class there (n, y, x)."""
    known, truth = _known(target, probabilities)
    true = tf.reduce_sum(truth * probabilities, -1)
    return known[..., 0], tf.clip_by_value(true, _SMALLEST, 1.0)


def _mean(values, known):
    return tf.math.divide_no_nan(tf.reduce_sum(values * known), tf.reduce_sum(known))
