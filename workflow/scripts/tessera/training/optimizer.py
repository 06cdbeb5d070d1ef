"""The optimizer of a training."""

from typing import Any

from tessera.networks.tensorflow_setup import keras
from tessera.settings.sections import TrainSettings

ADAMW_WEIGHT_DECAY = 0.01
_NOT_DECAYED = ["bias", "gamma", "beta"]


def make_optimizer(settings: TrainSettings, precision: str) -> Any:
    """Return the optimizer of a training; its learning rate is set before each step.

    Args:
        settings: `optimizer`, `weight_decay` and `clip_norm` are used. AdamW does not decay biases, nor the scales and
            offsets of batch normalization.
        precision: precision of the computation. float16 scales the loss, so that small gradients do not become 0.
    """
    options = {"global_clipnorm": settings.clip_norm}
    if settings.optimizer == "adamw":
        decay = ADAMW_WEIGHT_DECAY if settings.weight_decay is None else settings.weight_decay
        optimizer = keras.optimizers.AdamW(weight_decay=decay, **options)
        optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    else:
        optimizer = keras.optimizers.Adam(**options)
    return keras.mixed_precision.LossScaleOptimizer(optimizer) if precision == "float16" else optimizer
