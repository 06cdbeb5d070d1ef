"""Transfers: what a network takes over from others, instead of starting from chance.

Weights are copied between layers of networks that were drawn alike, in their order, since many layers have names that
differ from run to run.
"""

import numpy as np

from tessera.common.constants import SETTINGS
from tessera.common.errors import InputError
from tessera.networks.architectures import bottleneck, encoder_layers, stride_8
from tessera.networks.pretrained_weights import load_pretrained_encoder
from tessera.networks.tensorflow_setup import keras


def transfer_encoder_weights(weights, network, architecture, backbone):
    """Fill the encoder of `network` with weights that were trained by others, and say how many layers that is.

    Args:
        weights: as `tessera.networks.pretrained_weights.load_pretrained_encoder` takes them.
        network: of any number of channels.
        architecture, backbone: its own.

    Raises:
        InputError: the network has no such encoder, or the weights cannot be had or do not fit.
    """
    if backbone is None:
        raise InputError(
            f"encoder_weights: {weights} cannot be used, since {architecture} has no backbone; give null, the folder "
            f"of an earlier model of {architecture}, or another architecture"
        )
    encoder = load_pretrained_encoder(weights, backbone)
    cut = architecture == "PSPNet"
    taken = _take(_cut(encoder, encoder.layers, backbone, cut), encoder_layers(network, architecture, backbone))
    _report(weights, taken, network)


def transfer_model_weights(folder, source, about, network, architecture, backbone):
    """Fill `network` with the weights of an earlier model, as far as they fit, and say how far that is.

    Channels and outputs may differ: the first layer's weights are averaged over the earlier model's channels and shared
    out, and a last layer for another number of outputs is left as it is. Of another architecture with the same backbone
    the encoder is taken.

    Args:
        folder: of the earlier model.
        source: its network.
        about: content of its model.json.
        network: what is to be filled.
        architecture, backbone: of `network`.

    Raises:
        InputError: the earlier model has another backbone, or is a PlainUnet of another width or depth.
    """
    known = about["architecture"]
    if about["backbone"] != backbone:
        raise InputError(
            f"encoder_weights: {folder} was trained with architecture {known} and backbone {about['backbone']}, and "
            f"cannot start {architecture} with backbone {backbone}; give the same backbone, or another model"
        )
    if known == architecture:
        if _shape(source, architecture) != _shape(network, architecture):
            raise InputError(
                f"encoder_weights: {folder} is a {architecture} of another width or depth; give both as its {SETTINGS} "
                "says them, or another model"
            )
        pairs = source.layers, network.layers
    else:
        cut = "PSPNet" in (known, architecture)
        pairs = (
            _cut(model, encoder_layers(model, name, backbone), backbone, cut and name != "PSPNet")
            for model, name in ((source, known), (network, architecture))
        )
    _report(folder, _take(*pairs), network)


def _report(weights, taken, network):
    number = sum(bool(layer.weights) for layer in network.layers)
    print(f"Weights of {weights}: {taken} of {number} layers taken over, the others start from chance", flush=True)


def _shape(network, architecture):
    return len(network.layers), bottleneck(network, architecture).shape[-1]


def _cut(model, layers, backbone, cut):
    """The `layers` of an encoder in `model`, or only those that PSPNet has of it."""
    return keras.Model(model.inputs, stride_8(layers, backbone).output).layers if cut else layers


def _take(sources, layers):
    """Copy weights from layer to layer where they fit; the number of layers that have some and now have others'."""
    taken, first = 0, True
    for source, layer in zip(sources, layers, strict=True):
        weights, shapes = source.get_weights(), [tuple(weight.shape) for weight in layer.weights]
        # All up to the first convolution depends on the number of channels.
        if shapes and (first or shapes == [weight.shape for weight in weights]):
            layer.set_weights([_fit(weight, shape) for weight, shape in zip(weights, shapes, strict=True)])
            taken += 1
        first = first and not isinstance(layer, keras.layers.Conv2D)
    return taken


def _fit(weight, shape):
    """Average `weight` over the axis where `shape` differs and repeat it; a kernel keeps its sum over channels."""
    for axis, (have, want) in enumerate(zip(weight.shape, shape, strict=True)):
        if have != want:
            scale = have / want if weight.ndim == 4 else 1.0
            weight = np.repeat(weight.mean(axis, keepdims=True) * scale, want, axis)
    return weight
