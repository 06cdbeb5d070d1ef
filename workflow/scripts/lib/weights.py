"""Weights: what a network starts from instead of chance."""

from pathlib import Path

import numpy as np

from .architectures import draw_backbone, encoder_layers, stride_8
from .errors import InputError
from .frameworks import keras


def take_encoder(weights, network, architecture, backbone):
    """Put encoder weights into the encoder of `network`."""
    encoder = _encoder(weights, backbone)
    if architecture == "PSPNet":
        encoder = keras.Model(encoder.inputs, stride_8(encoder.layers, backbone).output)
    for source, layer in zip(encoder.layers, encoder_layers(network, architecture, backbone), strict=True):
        shapes = [weight.shape for weight in layer.weights]
        layer.set_weights([_fit(weight, shape) for weight, shape in zip(source.get_weights(), shapes, strict=True)])


def _encoder(weights, backbone):
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise InputError(f"encoder_weights: there is no file {weights}; give a file, imagenet or null")
    try:
        return draw_backbone(backbone, 3, weights)
    except (ValueError, OSError) as error:
        if weights in (None, "imagenet"):
            raise
        raise InputError(f"{weights}: these weights do not fit the encoder: {error}") from error
    except Exception as error:
        # tf_keras raises a plain Exception when a download fails.
        if "URL fetch failure on" not in str(error):
            raise
        url = str(error).split("URL fetch failure on ")[1].split(": ")[0]
        raise InputError(
            f"encoder_weights: imagenet weights could not be downloaded from {url}; fetch that file by hand and put it "
            f"in {Path('~/.keras/models').expanduser()}, or set encoder_weights to its path or to null"
        ) from error


def _fit(weight, shape):
    """Average `weight` over the axis where `shape` differs and repeat it; a kernel keeps its sum over channels."""
    for axis, (have, want) in enumerate(zip(weight.shape, shape, strict=True)):
        if have != want:
            scale = have / want if weight.ndim == 4 else 1.0
            weight = np.repeat(weight.mean(axis, keepdims=True) * scale, want, axis)
    return weight
