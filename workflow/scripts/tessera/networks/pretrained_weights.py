"""Weights: those that others trained, from the internet or a file."""

import os
import types
from pathlib import Path

import h5py
import numpy as np

from tessera.common.errors import InputError
from tessera.networks.architectures import create_backbone
from tessera.networks.tensorflow_setup import keras, sm


def load_pretrained_encoder(weights, backbone):
    """An encoder, as a Keras model, with weights for images whose channels are normalized to 0 to 1.

    Weights for three channels are for RGB as `segmentation_models.get_preprocessing(backbone)` prepares it, and are
    changed to do without; weights for another number of channels are taken as they are.

    Args:
        weights: "imagenet", downloaded once, or the path of a file (.h5) of encoder weights of any number of channels.
        backbone: name of the encoder.

    Raises:
        InputError: they cannot be had, or do not fit.
    """
    encoder = _fetch_encoder(backbone) if weights == "imagenet" else _read_encoder(Path(weights), backbone)
    if encoder.input_shape[-1] == 3:
        _fold_preprocessing(encoder, backbone)
    return encoder


def check_weights_file(path):
    """Refuse a file of weights that is not HDF5, or whose arrays are said to be larger than the whole file.

    Keras writes arrays as they are; it reads what it is told is there, and that would be the memory of the job.

    Raises:
        InputError: it is damaged, cut short, or not written by Keras.
    """
    arrays = []
    try:
        with h5py.File(path) as file:
            odd = file.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else name)
            file.visititems(lambda _, item: arrays.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as a file of weights ({error}); copy or train it again") from error
    if odd or sum(arrays) > Path(path).stat().st_size:
        fault = f"{odd} lies elsewhere" if odd else f"it has fewer than the {sum(arrays):,} bytes that it says it holds"
        raise InputError(f"{path}: {fault}, as Keras writes none; write it again with save_weights of Keras")


def _fetch_encoder(backbone):
    """An encoder with ImageNet weights."""
    utils = types.SimpleNamespace(**vars(keras.utils) | {"get_file": _fetch})
    return create_backbone(backbone, 3, "imagenet", utils=utils)


def _fetch(name, url, **options):
    """Path of a file that is downloaded at first use; KERAS_HOME is heeded, which `keras.utils.get_file` does not."""
    home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    path = home / "models" / name
    state = "the file there is not the same, and it" if path.is_file() else "it"
    try:
        home.mkdir(parents=True, exist_ok=True)  # else it would go to a temporary folder
        return keras.utils.get_file(name, url, cache_dir=str(home), **options)
    except Exception as error:  # a plain one when a download fails
        raise InputError(
            f"encoder_weights: the ImageNet weights are not in {path.parent}: {state} could not be downloaded "
            f"({error}); fetch {url} by hand and put it there as {name}, or set encoder_weights to null"
        ) from error


def _read_encoder(path, backbone):
    """An encoder with the weights of a file, for as many channels as the file has."""
    if not path.is_file():
        raise InputError(
            f"encoder_weights: there is no file {path}, nor the folder of a model; give one, imagenet or null"
        )
    check_weights_file(path)
    try:
        with h5py.File(path) as file:
            channels, saved = _saved(file)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise _misfit(path, backbone, f"it is not of a form that Keras writes ({error})") from error
    encoder = create_backbone(backbone, channels)
    own = [(layer.name, [tuple(weight.shape) for weight in layer.weights]) for layer in encoder.layers if layer.weights]
    for (name, shapes), (layer, expected) in zip(saved, own, strict=False):
        if shapes not in (None, expected):
            raise _misfit(path, backbone, f"its layer {name} has weights {shapes}, where {layer} has {expected}")
    if len(saved) != len(own):
        raise _misfit(path, backbone, f"it has {len(saved)} layers with weights, and the encoder {len(own)}")
    try:
        encoder.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise _misfit(path, backbone, str(error)) from error
    return encoder


def _misfit(path, backbone, reason):
    return InputError(
        f"encoder_weights: {path} does not fit the encoder {backbone}: {reason}; give weights of that encoder without "
        "its classifier, and if they are of a Tessera model, its folder"
    )


def _saved(file):
    """The channels that weights are for, and [(layer, [shape, ...]), ...] of those that have some, in their order.

    In Keras's newer form (.weights.h5) layers are in no order, and None stands for their shapes.
    """
    group = file.get("model_weights", file)
    if "layers" in group:
        layers = [(name, None) for name, layer in group["layers"].items() if len(layer["vars"])]
        return group["layers/conv2d/vars/0"].shape[2], layers
    layers = [
        (name, [group[name][weight].shape for weight in _names(group[name], "weight_names")])
        for name in _names(group, "layer_names")
    ]
    layers = [(name, shapes) for name, shapes in layers if shapes]
    return next((shape[2] for _, shapes in layers for shape in shapes if len(shape) == 4), 3), layers


def _names(group, attribute):
    """Keras puts lists too long for one attribute into several, numbered from 0."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode() if isinstance(name, bytes) else name for part in parts for name in part]


def _fold_preprocessing(encoder, backbone):
    """Change an encoder that takes prepared images so that it takes RGB from 0 to 1, and answers the same.

    Preparation is affine, p(255 x) = M x + b, with M between colours, since some encoders want blue first. The first
    normalization takes it up where it comes before the first convolution; else M goes into the convolution's kernel
    and b into its bias, or the average of the normalization behind it. Only where padding was 0 after preparation, at
    the very border of an image, does it make a difference.
    """
    prepare = sm.get_preprocessing(backbone)
    black = prepare(np.zeros((1, 1, 1, 3)))[0, 0, 0]
    matrix = prepare(255 * np.eye(3)[None, None])[0, 0] - black
    layer = next(layer for layer in encoder.layers if layer.weights)
    if isinstance(layer, keras.layers.BatchNormalization):
        *rest, mean, variance = layer.get_weights()
        scale = np.diag(matrix)
        variance = (variance + layer.epsilon) / scale**2 - layer.epsilon
        layer.set_weights([*rest, (mean - black) / scale, variance])
        return
    kernel, *bias = layer.get_weights()
    shift = np.einsum("d,yxdf->f", black, kernel)
    layer.set_weights([np.einsum("cd,yxdf->yxcf", matrix, kernel), *(part + shift for part in bias)])
    if not bias:
        normalization = layer.outbound_nodes[0].outbound_layer
        *rest, mean, variance = normalization.get_weights()
        normalization.set_weights([*rest, mean - shift, variance])
