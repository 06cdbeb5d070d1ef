"""Explanations: what a network's layers answer to a patch, and which places speak for a class."""

import difflib
from typing import NamedTuple

import numpy as np

from tessera.common.errors import InputError
from tessera.networks.architectures import bottleneck, decoder_levels
from tessera.networks.tensorflow_setup import keras, tf

LEVELS = ("bottleneck", "last decoder level")
PARTS = ("encoder", "decoder")
_PROBE_PX = 64  # a multiple of every stride
_LARGEST_STRIDE = 32
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


class Layer(NamedTuple):
    """A layer that answers with maps.

    Attributes:
        name: in the network.
        part: "encoder" or "decoder".
        stride: pixels of the image per pixel of a map, along y and x.
        output: its tensor (n, y, x, c).
    """

    name: str
    part: str
    stride: int
    output: object


def choose_layers(network, architecture, names="auto"):
    """The layers to look at, in the network's order.

    Args:
        network: of `tessera.networks.build`.
        architecture: its name.
        names: of layers; "auto" is the last layer of the encoder at each stride, and each level of the decoder.

    Raises:
        InputError: the network has no layer of a name.
    """
    layers = list_layers(network, architecture)
    if names == "auto":
        return _choose_levels(network, architecture, layers)
    known = [layer.name for layer in layers]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise InputError(
                f"explain.layers: the network has no layer {name} with maps; {hint}Its layers are {', '.join(known)}"
            )
    return [layer for layer in layers if layer.name in names]


def list_layers(network, architecture):
    """Every layer of a network that answers with maps at a stride of 1 to 32, from the first convolution on."""
    places = [place for place, layer in enumerate(network.layers) if isinstance(layer, _CONVOLUTIONS)]
    found = [
        layer
        for layer in network.layers[places[0] :]
        if len(getattr(layer.output, "shape", ())) == 4 and not isinstance(layer, keras.layers.ZeroPadding2D)
    ]
    encoder = {layer.name for layer in keras.Model(network.inputs, bottleneck(network, architecture)).layers}
    blank = tf.zeros((1, _PROBE_PX, _PROBE_PX, network.input_shape[-1]))
    answers = tf.nest.flatten(keras.Model(network.inputs, [layer.output for layer in found])(blank, training=False))
    # What is no whole part of the image, such as something padded, has no stride.
    strides = [None if _PROBE_PX % answer.shape[1] else _PROBE_PX // answer.shape[1] for answer in answers]
    return [
        Layer(layer.name, "encoder" if layer.name in encoder else "decoder", stride, layer.output)
        for layer, stride in zip(found, strides, strict=True)
        if stride is not None and stride <= _LARGEST_STRIDE
    ]


def last_level(network):
    """The decoder's last tensor (n, y, x, c), from which the scores are made."""
    return [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][-1].input


def _choose_levels(network, architecture, layers):
    deepest = {layer.stride: layer.name for layer in layers if layer.part == "encoder"}
    levels = [*decoder_levels(network, architecture), last_level(network)]
    names = {*deepest.values(), *(layer.name for layer in layers if any(layer.output is level for level in levels))}
    return [layer for layer in layers if layer.name in names]


class Probe:
    """Looks into a network.

    Args:
        network: a Keras model, pixels (n, y, x, c) to probabilities (n, y, x, outputs); its last layer is the softmax.
        levels: tensors (n, y, x, c) at which class activation maps are made.
        layers: of `choose_layers`, whose answers are wanted.
    """

    def __init__(self, network, levels, layers=()):
        # What the softmax is given: its own gradients vanish where the network is sure.
        scores = network.layers[-1].input
        wanted = [*levels, *(layer.output for layer in layers)]
        self._model = keras.Model(network.inputs, [scores, *wanted])
        self._levels = len(levels)

    def look(self, pixels, regions):
        """What layers answer to a patch, and which places of it speak for classes.

        A class activation map is the sum of the level's channels, each weighed by the mean over its pixels of the
        gradient of the class's scores, summed over a region of the image; what is below 0 speaks against the class and
        is cut off: Vinogradova et al. 2020, Seg-Grad-CAM, https://arxiv.org/abs/2002.11434, equations 1 and 2.

        Args:
            pixels: float32 (y, x, c), normalized.
            regions: {output: bool (y, x)}, the pixels whose scores are explained.

        Returns:
            Answers of the layers, a float32 array (y, x, c) each; and {output: maps (y, x) float32 of each level}, from
            0 on, in no unit.
        """
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            seen = tf.constant(pixels[None], tf.float32)
            tape.watch(seen)
            scores, *answers = tf.nest.flatten(self._model(seen, training=False))
            totals = {
                output: tf.reduce_sum(tf.where(region[None], scores[..., output], 0))
                for output, region in regions.items()
            }
        levels = answers[: self._levels]
        maps = {}
        for output, total in totals.items():
            gradients = tape.gradient(total, levels, unconnected_gradients="zero")
            weights = [tf.reduce_mean(gradient, (1, 2), keepdims=True) for gradient in gradients]
            maps[output] = [
                tf.nn.relu(tf.reduce_sum(weight * level, -1))[0].numpy()
                for weight, level in zip(weights, levels, strict=True)
            ]
        return [answer[0].numpy() for answer in answers[self._levels :]], maps


def strongest(maps, number):
    """Which channels of maps (y, x, c) vary the most from place to place, at most `number`, the first the most."""
    return np.argsort(-maps.std((0, 1)), kind="stable")[:number].tolist()
