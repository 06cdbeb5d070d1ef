"""Pretrained weights: encoders that others trained, from the internet or from a file.

The first layer of a pretrained encoder is changed so that it takes pixels in Tessera's normalization. A network has the
same layers whatever weights it starts from.
"""

import os
import tempfile
import types
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.networks.architectures import create_backbone
from tessera.networks.tensorflow_setup import keras, sm

MIRROR = "TESSERA_WEIGHTS_MIRROR"  # environment variable: a web address to download the weights from instead


def load_pretrained_encoder(weights: str, backbone: str) -> Any:
    """Return an encoder, as a Keras model, with weights for images whose channels are normalized to 0 to 1.

    Weights for three channels expect RGB after `segmentation_models.get_preprocessing(backbone)`; the first layer is
    changed so that it expects RGB from 0 to 1. Weights for another number of channels stay as they are.

    Args:
        weights: "imagenet", downloaded once, or the path of a file (.h5) of encoder weights of any number of channels.
        backbone: name of the encoder.

    Raises:
        InputError: the weights cannot be downloaded or read, or do not fit.
    """
    encoder = _imagenet_encoder(backbone)[0] if weights == "imagenet" else _read_encoder(Path(weights), backbone)
    if encoder.input_shape[-1] == 3:
        _fold_preprocessing(encoder, backbone)
    return encoder


def check_weights_file(path: StrPath) -> None:
    """Refuse a file of weights that is not HDF5, or whose arrays claim to be larger than the file.

    Keras writes arrays uncompressed. When it reads a file, it allocates whatever size the file states, so a damaged
    file could exhaust the memory.

    Raises:
        InputError: the file is damaged or truncated, or was not written by Keras.
    """
    sizes: list[int] = []
    try:
        with h5py.File(path) as file:
            link = file.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else name)
            file.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as a file of weights ({error}); copy or train it again") from error
    if link or sum(sizes) > Path(path).stat().st_size:
        fault = f"{link} is a link" if link else f"it has fewer than the {sum(sizes):,} bytes that its arrays need"
        raise InputError(f"{path}: {fault}, so Keras did not write it; write it again with save_weights of Keras")


def download_encoder_weights(backbone: str) -> Path:
    """Return the path of the ImageNet weights of a backbone. They are downloaded unless they are there already.

    Raises:
        InputError: the weights cannot be downloaded, or the file is not the right one.
    """
    return _imagenet_encoder(backbone)[1]


def _imagenet_encoder(backbone: str) -> tuple[Any, Path]:
    """Return an encoder with ImageNet weights, and the path of their file."""
    files: list[Path] = []

    def get_file(name: str, url: str, **options: Any) -> str:
        files.append(_download(name, url, **options))
        return str(files[-1])

    utils = types.SimpleNamespace(**vars(keras.utils) | {"get_file": get_file})
    return create_backbone(backbone, 3, "imagenet", utils=utils), files[-1]


def _download(name: str, url: str, **options: Any) -> Path:
    """Return the path of a file that is downloaded at first use, below KERAS_HOME, which Keras's `get_file` ignores.

    Keras checks the file if `options` has its checksum. Otherwise a download that was killed must not look complete,
    so the file gets its name when it is whole.
    """
    home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    path = home / "models" / name
    if mirror := os.environ.get(MIRROR):
        url = f"{mirror.rstrip('/')}/{name}"
    has_checksum = bool(options.get("file_hash") or options.get("md5_hash"))
    state = "the file there is another one, and it" if path.is_file() else "it"
    try:
        home.mkdir(parents=True, exist_ok=True)  # otherwise Keras uses a temporary folder
        if has_checksum or path.is_file():
            keras.utils.get_file(name, url, cache_dir=str(home), **options)
        else:
            with tempfile.TemporaryDirectory(dir=home) as folder:
                downloaded = keras.utils.get_file(name, url, cache_dir=folder, **options)
                check_weights_file(downloaded)
                path.parent.mkdir(exist_ok=True)
                Path(downloaded).replace(path)
        check_weights_file(path)
    except Exception as error:  # Keras raises a plain Exception when a download fails
        raise InputError(
            f"train.encoder_weights: the ImageNet weights are not in {path.parent}: {state} could not be downloaded "
            f"({error}); download {url} and save it there as {name}, or set train.encoder_weights to null"
        ) from error
    return path


def _read_encoder(path: Path, backbone: str) -> Any:
    """Return an encoder with the weights of a file, for the number of channels of the file."""
    if not path.is_file():
        raise InputError(
            f"train.encoder_weights: {path} is neither a file nor the folder of a model; give one, imagenet or null"
        )
    check_weights_file(path)
    try:
        with h5py.File(path) as file:
            channels, saved = _read_layer_shapes(file)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise _misfit(path, backbone, f"Keras did not write it ({error})") from error
    encoder = create_backbone(backbone, channels)
    own = [(layer.name, [tuple(weight.shape) for weight in layer.weights]) for layer in encoder.layers if layer.weights]
    for (name, shapes), (layer, expected) in zip(saved, own, strict=False):
        if shapes not in (None, expected):
            raise _misfit(path, backbone, f"its layer {name} has weights {shapes}, but {layer} has {expected}")
    if len(saved) != len(own):
        raise _misfit(path, backbone, f"it has {len(saved)} layers with weights, but the encoder has {len(own)}")
    try:
        encoder.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise _misfit(path, backbone, str(error)) from error
    return encoder


def _misfit(path: Path, backbone: str, reason: str) -> InputError:
    return InputError(
        f"train.encoder_weights: {path} does not fit the encoder {backbone}: {reason}; give weights of that encoder "
        "without its classifier, or the folder of a Tessera model"
    )


def _read_layer_shapes(file: h5py.File) -> tuple[int, list[tuple[str, list[tuple[int, ...]] | None]]]:
    """Return the number of channels of the images, and (layer, shapes) of the layers with weights, in order.

    In Keras's newer format (.weights.h5) layers have no order, and None stands for their shapes.
    """
    group = file.get("model_weights", file)
    if "layers" in group:
        unordered = [(name, None) for name, layer in group["layers"].items() if len(layer["vars"])]
        return group["layers/conv2d/vars/0"].shape[2], [*unordered]
    all_layers = [
        (name, [group[name][weight].shape for weight in _read_names(group[name], "weight_names")])
        for name in _read_names(group, "layer_names")
    ]
    layers = [(name, shapes) for name, shapes in all_layers if shapes]
    return next((shape[2] for _, shapes in layers for shape in shapes if len(shape) == 4), 3), [*layers]


def _read_names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names in an attribute; Keras splits long lists into several attributes, numbered from 0."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode() if isinstance(name, bytes) else name for part in parts for name in part]


def _fold_preprocessing(encoder: Any, backbone: str) -> None:
    """Change an encoder for preprocessed images so that it takes RGB from 0 to 1 and gives the same result.

    Preprocessing is affine, p(255 x) = M x + b. M mixes colors, because some encoders expect blue first. If a batch
    normalization comes before the first convolution, it absorbs the preprocessing. Otherwise M goes into the
    convolution's kernel, and b into its bias or into the mean of the batch normalization after it. The result differs
    only at the border of an image, where the padding was 0 after preprocessing.
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
