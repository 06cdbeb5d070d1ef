"""Trainees: networks with what they need while they learn and nobody keeps, losses on lower levels and scores."""

import json
import math

import numpy as np

from tessera.common.atomic_write import write_json
from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.common.memory_budget import MIB, SHARE, memory_limit_mb, resident_mb
from tessera.networks.architectures import decoder_levels
from tessera.networks.build import build_network
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.history import open_or_reset_run_folder
from tessera.training.losses import class_weights, weighted_sum

DESIGN = ("architecture", "backbone", "width", "depth")  # settings that say what a network is
ADAMW_DECAY = 0.01
MOST_ON_CPU, MOST_ON_GPU = 8, 16  # patches in a step
LEAST_STEPS = 8  # in an epoch
_UNDECAYED = ["bias", "gamma", "beta"]


class ClassIoU(keras.metrics.MeanIoU):
    """Intersection over union of every class but the background, and their mean, over all pixels that are known.

    A class that is neither true nor predicted anywhere has no IoU, and is left out of the mean.
    """

    def __init__(self, outputs, name="iou"):
        super().__init__(len(outputs), name=name, ignore_class=IGNORE, sparse_y_pred=False)
        self._outputs = outputs

    def result(self):
        """{"iou": mean, "iou_<output>": of one class}."""
        overlap = tf.linalg.diag_part(self.total_cm)
        union = tf.reduce_sum(self.total_cm, 0) + tf.reduce_sum(self.total_cm, 1) - overlap
        ious = (overlap / union)[1:]
        mean = tf.reduce_mean(tf.boolean_mask(ious, union[1:] > 0))
        return {self.name: mean} | {f"{self.name}_{o}": ious[i] for i, o in enumerate(self._outputs[1:])}


class DeepSupervisionModel(keras.Model):
    """A network that learns.

    It shares its layers with the network that is kept. Each level of the decoder that is to learn by itself gets a head
    (a convolution of one pixel and a softmax) that is in the trainee alone.

    Lee et al. 2015, Deeply-Supervised Nets, https://arxiv.org/abs/1409.5185

    Args:
        network: Keras model, pixels (n, y, x, c) to probabilities (n, y, x, outputs).
        levels: tensors of the decoder's lower levels, finest first.
        weights: what the loss at each of these levels weighs, beside 1 at the full size; none for further levels.
        objective: loss(target, probabilities), see `tessera.training.losses.weighted_sum`.
        outputs: names of the outputs.
    """

    def __init__(self, network, levels, weights, objective, outputs):
        if len(weights) > len(levels):
            raise InputError(
                f"train.deep_supervision: has {len(weights)} weights, and the decoder has {len(levels)} lower levels; "
                "give no more"
            )
        taken = [(level, weight) for level, weight in zip(levels, weights, strict=False) if weight]
        heads = [_head(level, len(outputs), number) for number, (level, _) in enumerate(taken, start=1)]
        super().__init__(network.inputs, [*network.outputs, *heads])
        self._weights_of_heads = [weight for _, weight in taken]
        self._objective = objective
        self._loss_seen = keras.metrics.Mean(name="loss")
        self._iou_seen = ClassIoU(outputs)

    @property
    def metrics(self):
        return [self._loss_seen, self._iou_seen]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        """The loss at the full size, which is what the history tells, with those of the lower levels added."""
        full, *lower = tf.nest.flatten(y_pred)
        loss = self._objective(y, full)
        self._loss_seen.update_state(loss, sample_weight=tf.shape(y)[0])
        for weight, probabilities in zip(self._weights_of_heads, lower, strict=True):
            loss += weight * self._objective(_shrink(y, probabilities), probabilities)
        # Gradients of all devices that share a batch are added up.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x, y, y_pred, sample_weight):
        self._iou_seen.update_state(y, tf.nest.flatten(y_pred)[0])
        return self.get_metrics_result()


def _head(level, outputs, number):
    scores = keras.layers.Conv2D(outputs, 1, name=f"level{number}_conv")(level)
    return keras.layers.Activation("softmax", dtype="float32", name=f"level{number}")(scores)


def _shrink(target, probabilities):
    """Every s-th pixel of the target (n, y, x), for probabilities at the size of a lower level."""
    step = tf.shape(target)[1] // tf.shape(probabilities)[1]
    start = step // 2
    return target[:, start::step, start::step]


def build_training_model(settings, about):
    """The network to train, and the trainee that it learns as.

    Args:
        settings: of the section train.
        about: content of patches.json.
    """
    network = _draw(settings, about, encoder_weights=settings["encoder_weights"])
    weights = class_weights(settings["class_weights"], about["outputs"], about["class_share"])
    objective = weighted_sum(settings["losses"], weights, settings["tversky_beta"])
    levels = decoder_levels(network, settings["architecture"]) if settings["deep_supervision"] else []
    return network, DeepSupervisionModel(network, levels, settings["deep_supervision"], objective, about["outputs"])


def copy_in_float32(network, settings, about):
    """The network to keep: one that computes in float32, whatever `network`, of `build_training_model`, was trained in."""
    kept = _draw(settings, about)
    kept.set_weights(network.get_weights())
    return kept


def _draw(settings, about, encoder_weights=None):
    shape = {"channels": len(about["channels"]), "outputs": len(about["outputs"])}
    return build_network(**{key: settings[key] for key in DESIGN}, **shape, encoder_weights=encoder_weights)


def make_optimizer(settings, precision):
    """The optimiser of a training; its learning rate is set before each step.

    Args:
        settings: the section train: `optimizer`, `weight_decay`, `clip_norm`.
        precision: that the network computes in; float16 has its losses scaled, so that gradients do not vanish.
    """
    options = {"global_clipnorm": settings["clip_norm"]}
    if settings["optimizer"] == "adamw":
        decay = ADAMW_DECAY if settings["weight_decay"] is None else settings["weight_decay"]
        optimizer = keras.optimizers.AdamW(weight_decay=decay, **options)
        optimizer.exclude_from_weight_decay(var_names=_UNDECAYED)
    else:
        optimizer = keras.optimizers.Adam(**options)
    return keras.mixed_precision.LossScaleOptimizer(optimizer) if precision == "float16" else optimizer


def activation_bytes(network, patch_size_px):
    """Bytes of all that the layers of `network` put out for one patch, as a step of training keeps it for gradients."""
    patch = tf.TensorSpec((1, patch_size_px, patch_size_px, network.input_shape[-1]))

    def step(pixels):
        network(pixels, training=True)

    graph = tf.function(step).get_concrete_function(patch).graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    maps = [tensor for tensor in tensors if tensor.shape.rank == 4 and tensor.shape[0] == 1]
    return sum(math.prod(tensor.shape) * tensor.dtype.size for tensor in maps if tensor.shape.is_fully_defined())


def choose_batch_size(batch_size, network, shape, kind, memory_mb=None):
    """How many patches a step takes, and why.

    Args:
        batch_size: the setting, a number or "auto".
        network: Keras model.
        shape: of the training patches, (n, y, x, c).
        kind: "cpu" or "gpu"; what a GPU holds is not known before it is full.
        memory_mb: MiB that the job was given; None for what the machine has left.
    """
    if batch_size != "auto":
        return batch_size, "as set"
    most = MOST_ON_GPU if kind == "gpu" else MOST_ON_CPU
    need = activation_bytes(network, shape[1]) / MIB
    held = max(memory_limit_mb(memory_mb) - resident_mb(), 0) * SHARE if kind == "cpu" else math.inf
    limits = {
        f"as many as are usual on a {kind.upper()}": most,
        f"so that an epoch of {shape[0]} patches has {LEAST_STEPS} steps": max(shape[0] // LEAST_STEPS, 1),
        f"each needs {need:.0f} MiB, and {held:.0f} are there": max(held / need, 1),
    }
    reason, limit = min(limits.items(), key=lambda item: item[1])
    return 2 ** int(math.log2(limit)), reason


def resolve_batch_size(workplace, provenance, *asked):
    """What `choose_batch_size` says of the rest, kept in the folder `workplace` of a training under `provenance`.

    A training that goes on may have more memory than before, and would not come to the same weights.
    """
    open_or_reset_run_folder(workplace, provenance)
    path = workplace / "batch.json"
    if not path.is_file():
        write_json(path, choose_batch_size(*asked))
    return json.loads(path.read_text())


def reseed(model, seed, epoch):
    """Let what layers draw at random, such as dropout, depend on the seed and the epoch alone.

    Keras keeps the state of its generators in no checkpoint. They have one when
    `keras.backend.experimental.enable_tf_random_generator` was called before the layers were made.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.__internal__.layers.BaseRandomLayer)]
    for number, layer in enumerate(layers):
        state = int(np.random.default_rng((seed, epoch, number)).integers(2**31))
        layer._random_generator._generator.reset_from_seed(state)
