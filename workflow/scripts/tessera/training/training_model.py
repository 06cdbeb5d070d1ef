"""The Keras model that is trained: the network with auxiliary heads (deep supervision), its loss and its IoU.

A `DeepSupervisionModel` wraps the network that is kept. It adds heads on lower levels of the decoder, whose losses are
added to the loss of the full size. The heads are not part of the network and are discarded after the training. A
network that is trained in bfloat16 or float16 is kept as one that computes in float32.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.networks.architectures import decoder_levels
from tessera.networks.build import build_network
from tessera.networks.tensorflow_setup import keras, tf
from tessera.settings.sections import TrainSettings
from tessera.training.data_loader import PatchSet
from tessera.training.losses import Loss, class_weights, weighted_sum

logger = logging.getLogger(__name__)


class ClassIoU(keras.metrics.MeanIoU):
    """Intersection over union of every class except the background, and their mean, over all pixels of known class.

    A class that is neither true nor predicted anywhere has no IoU and does not count in the mean.

    Args:
        outputs: names of the network's outputs, background first.
        name: prefix of the columns in the history.
    """

    def __init__(self, outputs: Sequence[str], name: str = "iou") -> None:
        super().__init__(len(outputs), name=name, ignore_class=IGNORE, sparse_y_pred=False)
        self._outputs = outputs

    def result(self) -> dict[str, Any]:
        """Return {"iou": mean, "iou_<output>": IoU of the output}."""
        overlap = tf.linalg.diag_part(self.total_cm)
        union = tf.reduce_sum(self.total_cm, 0) + tf.reduce_sum(self.total_cm, 1) - overlap
        ious = (overlap / union)[1:]
        mean = tf.reduce_mean(tf.boolean_mask(ious, union[1:] > 0))
        return {self.name: mean} | {f"{self.name}_{o}": ious[i] for i, o in enumerate(self._outputs[1:])}


class DeepSupervisionModel(keras.Model):
    """A network with auxiliary heads on the lower levels of its decoder.

    It shares its layers with the network. A head is a 1 x 1 convolution and a softmax.

    Lee et al. 2015, Deeply-Supervised Nets, https://arxiv.org/abs/1409.5185

    Args:
        network: Keras model, pixels (n, y, x, c) to probabilities (n, y, x, outputs).
        levels: tensors of the decoder's lower levels, finest first.
        weights: weight of the loss of each of these levels; the full size has weight 1. Levels without a weight, or
            with weight 0, have no head.
        objective: loss of target and probabilities, see `tessera.training.losses.weighted_sum`.
        outputs: names of the outputs.

    Raises:
        InputError: there are more weights than levels.
    """

    def __init__(
        self, network: Any, levels: Sequence[Any], weights: Sequence[float], objective: Loss, outputs: Sequence[str]
    ) -> None:
        if len(weights) > len(levels):
            raise InputError(
                f"train.deep_supervision: has {len(weights)} weights, but the decoder has {len(levels)} lower levels; "
                f"give at most {len(levels)} weights"
            )
        supervised = [(level, weight) for level, weight in zip(levels, weights, strict=False) if weight]
        heads = [_make_head(level, len(outputs), number) for number, (level, _) in enumerate(supervised, start=1)]
        super().__init__(network.inputs, [*network.outputs, *heads])
        self._head_weights = [weight for _, weight in supervised]
        self._objective = objective
        self._loss_metric = keras.metrics.Mean(name="loss")
        self._iou_metric = ClassIoU(outputs)

    @property
    def metrics(self) -> list[Any]:
        return [self._loss_metric, self._iou_metric]

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> Any:
        """Return the loss of the full size, which is also the loss in the history, plus those of the lower levels."""
        full, *lower = tf.nest.flatten(y_pred)
        loss = self._objective(y, full)
        self._loss_metric.update_state(loss, sample_weight=tf.shape(y)[0])
        for weight, probabilities in zip(self._head_weights, lower, strict=True):
            loss += weight * self._objective(_subsample(y, probabilities), probabilities)
        # Gradients of all devices that share a minibatch are added up.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        self._iou_metric.update_state(y, tf.nest.flatten(y_pred)[0])
        return self.get_metrics_result()


def _make_head(level: Any, outputs: int, number: int) -> Any:
    scores = keras.layers.Conv2D(outputs, 1, name=f"level{number}_conv")(level)
    return keras.layers.Activation("softmax", dtype="float32", name=f"level{number}")(scores)


def _subsample(target: Any, probabilities: Any) -> Any:
    """Return every s-th pixel of the target (n, y, x), to match probabilities of a lower level."""
    step = tf.shape(target)[1] // tf.shape(probabilities)[1]
    start = step // 2
    return target[:, start::step, start::step]


def build_training_model(settings: TrainSettings, patch_info: Mapping[str, Any]) -> tuple[Any, DeepSupervisionModel]:
    """Return the network that is kept, and the model that is trained, which shares its layers.

    Args:
        settings: section train.
        patch_info: content of patches.json.

    Raises:
        InputError: the network cannot be built, its initial weights cannot be used, or a loss is unknown.
    """
    network = _build(settings, patch_info, encoder_weights=settings.encoder_weights)
    weights = class_weights(settings.class_weights, patch_info["outputs"], patch_info["class_share"])
    objective = weighted_sum(dict(settings.losses), weights, settings.tversky_beta)
    levels = decoder_levels(network, settings.architecture) if settings.deep_supervision else []
    return network, DeepSupervisionModel(network, levels, settings.deep_supervision, objective, patch_info["outputs"])


def copy_in_float32(network: Any, settings: TrainSettings, patch_info: Mapping[str, Any]) -> Any:
    """Return a copy of `network`, which `build_training_model` made, that computes in float32."""
    copy = _build(settings, patch_info)
    copy.set_weights(network.get_weights())
    return copy


def _build(settings: TrainSettings, patch_info: Mapping[str, Any], encoder_weights: str | None = None) -> Any:
    return build_network(
        settings.architecture,
        settings.backbone,
        channels=len(patch_info["channels"]),
        outputs=len(patch_info["outputs"]),
        encoder_weights=encoder_weights,
        width=settings.width,
        depth=settings.depth,
    )


def log_summary(
    settings: TrainSettings, network: Any, patch_info: Mapping[str, Any], train_set: PatchSet, val_set: PatchSet
) -> None:
    """Log what is about to be trained.

    Args:
        settings: section train, with the precision and the batch size that were chosen.
        network: the network that is kept.
        patch_info: content of patches.json.
        train_set: patches to train with.
        val_set: patches to validate with.
    """
    design = (settings.architecture, settings.backbone, settings.width, settings.depth)
    logger.info(
        "%s: %s parameters, %d channels to %s; %s, minibatches of %d patches",
        " ".join(str(value) for value in design if value is not None),
        f"{network.count_params():,}",
        len(patch_info["channels"]),
        ", ".join(patch_info["outputs"]),
        settings.precision,
        settings.batch_size,
    )
    logger.info("Patches: %d for training, %d for validation", train_set.images.shape[0], val_set.images.shape[0])


def set_seed(settings: TrainSettings) -> None:
    """Seed all random numbers of a training, and make its operations deterministic if the settings say so."""
    keras.utils.disable_interactive_logging()
    keras.utils.set_random_seed(settings.seed)
    # Random layers then have a generator, which `reseed` seeds for each epoch.
    keras.backend.experimental.enable_tf_random_generator()
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()


def reseed(model: Any, seed: int, epoch: int) -> None:
    """Make random layers such as dropout depend only on the seed and the epoch.

    Keras does not store the state of its random generators in checkpoints. Layers have a generator if
    `keras.backend.experimental.enable_tf_random_generator` was called before they were made.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.__internal__.layers.BaseRandomLayer)]
    for number, layer in enumerate(layers):
        state = int(np.random.default_rng((seed, epoch, number)).integers(2**31))
        layer._random_generator._generator.reset_from_seed(state)
