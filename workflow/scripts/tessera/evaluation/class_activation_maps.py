"""Class activation maps: which pixels of a patch speak for a class, and what the layers of a network respond to.

The tensors at the bottleneck, at the decoder's last level and of chosen layers become outputs of one more Keras model,
together with the scores that enter the softmax. One forward pass, and one backward pass for each class, give the
feature maps of the layers and the class activation maps.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.networks.architectures import bottleneck, decoder_levels
from tessera.networks.tensorflow_setup import keras, tf

LEVELS = ("bottleneck", "last decoder level")
PARTS = ("encoder", "decoder")
_PROBE_PX = 64  # a multiple of every stride
_MAX_STRIDE = 32
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)

FeatureMaps = NDArray[np.float32]


class Layer(NamedTuple):
    """A layer whose output is a set of feature maps.

    Attributes:
        name: its name in the network.
        part: "encoder" or "decoder".
        stride: pixels of the image per pixel of a feature map, along y and x.
        output: its tensor (n, y, x, c).
    """

    name: str
    part: str
    stride: int
    output: Any


def choose_layers(network: Any, architecture: str, names: Sequence[str] | Literal["auto"] = "auto") -> list[Layer]:
    """The layers to inspect, in the network's order.

    Args:
        network: a network of `tessera.networks.build`.
        architecture: name of its architecture.
        names: names of layers; "auto" chooses the last layer of the encoder at each stride and each level of the
            decoder.

    Raises:
        InputError: the network has no layer of one of the names.
    """
    layers = list_layers(network, architecture)
    if names == "auto":
        return _choose_levels(network, architecture, layers)
    available = [layer.name for layer in layers]
    for name in names:
        if name not in available:
            close = difflib.get_close_matches(name, available, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise InputError(
                f"explain.layers: the network has no layer {name} with feature maps.{hint} Its layers are "
                f"{', '.join(available)}"
            )
    return [layer for layer in layers if layer.name in names]


def list_layers(network: Any, architecture: str) -> list[Layer]:
    """All layers with feature maps at a stride of 1 to 32, from the first convolution on."""
    convolutions = [place for place, layer in enumerate(network.layers) if isinstance(layer, _CONVOLUTIONS)]
    candidates = [
        layer
        for layer in network.layers[convolutions[0] :]
        if len(getattr(layer.output, "shape", ())) == 4 and not isinstance(layer, keras.layers.ZeroPadding2D)
    ]
    encoder = {layer.name for layer in keras.Model(network.inputs, bottleneck(network, architecture)).layers}
    blank = tf.zeros((1, _PROBE_PX, _PROBE_PX, network.input_shape[-1]))
    outputs = keras.Model(network.inputs, [layer.output for layer in candidates])(blank, training=False)
    # Feature maps that are not a whole fraction of the image, such as padded ones, have no stride.
    strides = [
        None if _PROBE_PX % output.shape[1] else _PROBE_PX // output.shape[1] for output in tf.nest.flatten(outputs)
    ]
    return [
        Layer(layer.name, "encoder" if layer.name in encoder else "decoder", stride, layer.output)
        for layer, stride in zip(candidates, strides, strict=True)
        if stride is not None and stride <= _MAX_STRIDE
    ]


def last_level(network: Any) -> Any:
    """The decoder's last tensor (n, y, x, c), from which the scores are computed."""
    return [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][-1].input


def _choose_levels(network: Any, architecture: str, layers: Sequence[Layer]) -> list[Layer]:
    deepest = {layer.stride: layer.name for layer in layers if layer.part == "encoder"}
    levels = [*decoder_levels(network, architecture), last_level(network)]
    names = {*deepest.values(), *(layer.name for layer in layers if any(layer.output is level for level in levels))}
    return [layer for layer in layers if layer.name in names]


class Probe:
    """Inspects a network.

    Args:
        network: a Keras model, pixels (n, y, x, c) to probabilities (n, y, x, outputs); its last layer is the softmax.
        levels: tensors (n, y, x, c) at which class activation maps are computed.
        layers: layers whose feature maps are wanted, from `choose_layers`.
    """

    def __init__(self, network: Any, levels: Sequence[Any], layers: Sequence[Layer] = ()) -> None:
        # The scores before the softmax: its own gradients vanish where the network is certain.
        scores = network.layers[-1].input
        outputs = [*levels, *(layer.output for layer in layers)]
        self._model = keras.Model(network.inputs, [scores, *outputs])
        self._n_levels = len(levels)

    def inspect(
        self, pixels: NDArray[np.float32], regions: Mapping[int, NDArray[np.bool_]]
    ) -> tuple[list[FeatureMaps], dict[int, list[FeatureMaps]]]:
        """Feature maps of a patch, and class activation maps of some of its regions.

        A class activation map is the sum of the level's channels, each weighted with the mean over its pixels of the
        gradient of the class's scores, summed over a region of the image. Values below 0 speak against the class and
        are set to 0 (Seg-Grad-CAM, Vinogradova et al. 2020, https://arxiv.org/abs/2002.11434, equations 1 and 2).

        Args:
            pixels: patch (y, x, c), normalized.
            regions: {output: mask (y, x)}, the pixels whose scores are explained.

        Returns:
            The feature maps (y, x, c) of each layer; and {output: the class activation map (y, x) at each level}, at
            least 0, without a unit.
        """
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            inputs = tf.constant(pixels[None], tf.float32)
            tape.watch(inputs)
            scores, *outputs = tf.nest.flatten(self._model(inputs, training=False))
            totals = {
                output: tf.reduce_sum(tf.where(region[None], scores[..., output], 0))
                for output, region in regions.items()
            }
        levels = outputs[: self._n_levels]
        maps = {}
        for output, total in totals.items():
            gradients = tape.gradient(total, levels, unconnected_gradients="zero")
            weights = [tf.reduce_mean(gradient, (1, 2), keepdims=True) for gradient in gradients]
            maps[output] = [
                tf.nn.relu(tf.reduce_sum(weight * level, -1))[0].numpy()
                for weight, level in zip(weights, levels, strict=True)
            ]
        return [output[0].numpy() for output in outputs[self._n_levels :]], maps


def most_variable_channels(maps: FeatureMaps, number: int) -> list[int]:
    """The channels of feature maps (y, x, c) that vary most over the patch, the most variable first."""
    return np.argsort(-maps.std((0, 1)), kind="stable")[:number].tolist()
