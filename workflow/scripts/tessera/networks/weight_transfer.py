"""Weight transfer: copies weights of an earlier model, or of a pretrained encoder, into a new network.

Weights are copied from layer to layer in the order of the layers, because many layers have names that differ from run
to run. Layers whose weights have another shape keep their random weights, except those up to the first convolution:
they depend on the number of channels, and their weights are averaged over the channels.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import MODEL_JSON
from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.networks.architectures import bottleneck, encoder_layers, stride_8_layer
from tessera.networks.model_folder import ModelCard
from tessera.networks.pretrained_weights import load_pretrained_encoder
from tessera.networks.tensorflow_setup import keras

logger = logging.getLogger(__name__)


def transfer_encoder_weights(weights: str, network: Any, architecture: str, backbone: str | None) -> None:
    """Copy pretrained weights into the encoder of `network`, and log the number of layers.

    Args:
        weights: see `tessera.networks.pretrained_weights.load_pretrained_encoder`.
        network: Keras model for any number of channels.
        architecture: architecture of `network`.
        backbone: encoder of `network`.

    Raises:
        InputError: the network has no backbone, or the weights cannot be read or do not fit.
    """
    if backbone is None:
        raise InputError(
            f"train.encoder_weights: {weights} cannot be used, because {architecture} has no backbone; set null, the "
            f"folder of an earlier model of {architecture}, or another architecture"
        )
    encoder = load_pretrained_encoder(weights, backbone)
    until_stride_8 = architecture == "PSPNet"
    sources = _select_layers(encoder, encoder.layers, backbone, until_stride_8)
    copied = _copy_weights(sources, encoder_layers(network, architecture, backbone))
    _log_copied(weights, copied, network)


def transfer_model_weights(
    folder: StrPath, source: Any, card: ModelCard, network: Any, architecture: str, backbone: str | None
) -> None:
    """Copy the weights of an earlier model into `network` where they fit, and log the number of layers.

    Channels and outputs may differ: the first layer's weights are averaged over the earlier model's channels and
    divided among the new ones, and a last layer with another number of outputs keeps its random weights. From a model
    of another architecture with the same backbone, only the encoder is copied.

    Args:
        folder: folder of the earlier model, for messages.
        source: Keras model of the earlier model.
        card: model card of the earlier model.
        network: Keras model to fill.
        architecture: architecture of `network`.
        backbone: encoder of `network`.

    Raises:
        InputError: the earlier model has another backbone, or is a PlainUnet of another width or depth.
    """
    source_architecture = card["architecture"]
    if card["backbone"] != backbone:
        raise InputError(
            f"train.encoder_weights: {folder} was trained with architecture {source_architecture} and backbone "
            f"{card['backbone']}, and cannot start {architecture} with backbone {backbone}; set the same backbone, or "
            "another model"
        )
    if source_architecture == architecture:
        if _size(source, architecture) != _size(network, architecture):
            raise InputError(
                f"train.encoder_weights: {folder} is a {architecture} of another width or depth; set both as in its "
                f"{MODEL_JSON}, or another model"
            )
        copied = _copy_weights(source.layers, network.layers)
    else:
        until_stride_8 = "PSPNet" in (source_architecture, architecture)
        sources, targets = (
            _select_layers(model, encoder_layers(model, name, backbone), backbone, until_stride_8 and name != "PSPNet")
            for model, name in ((source, source_architecture), (network, architecture))
        )
        copied = _copy_weights(sources, targets)
    _log_copied(folder, copied, network)


def _log_copied(weights: StrPath, copied: int, network: Any) -> None:
    with_weights = sum(bool(layer.weights) for layer in network.layers)
    logger.info(
        "Weights of %s: copied to %d of %d layers, the other layers start with random weights",
        weights,
        copied,
        with_weights,
    )


def _size(network: Any, architecture: str) -> tuple[int, int]:
    """Return the number of layers, and the number of filters at the bottleneck."""
    return len(network.layers), bottleneck(network, architecture).shape[-1]


def _select_layers(model: Any, layers: Sequence[Any], backbone: str | None, until_stride_8: bool) -> Sequence[Any]:
    """Return the `layers` of the encoder in `model`, or only those up to stride 8, which PSPNet has."""
    if not until_stride_8:
        return layers
    return keras.Model(model.inputs, stride_8_layer(layers, backbone).output).layers


def _copy_weights(sources: Iterable[Any], targets: Iterable[Any]) -> int:
    """Copy weights from layer to layer where they fit; return the number of layers that got weights."""
    copied, before_first_convolution = 0, True
    for source, target in zip(sources, targets, strict=True):
        weights, shapes = source.get_weights(), [tuple(weight.shape) for weight in target.weights]
        # All layers up to the first convolution depend on the number of channels.
        if shapes and (before_first_convolution or shapes == [weight.shape for weight in weights]):
            fitted = [_fit_channels(weight, shape) for weight, shape in zip(weights, shapes, strict=True)]
            target.set_weights(fitted)
            copied += 1
        before_first_convolution = before_first_convolution and not isinstance(target, keras.layers.Conv2D)
    return copied


def _fit_channels(weight: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Average `weight` over the axis on which `shape` differs and repeat it; a kernel keeps its sum over channels."""
    for axis, (size, target_size) in enumerate(zip(weight.shape, shape, strict=True)):
        if size != target_size:
            factor = size / target_size if weight.ndim == 4 else 1.0
            weight = np.repeat(weight.mean(axis, keepdims=True) * factor, target_size, axis)
    return weight
