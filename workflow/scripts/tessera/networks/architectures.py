"""Architectures: creates the layers of a network, and knows where its encoder ends and its decoder levels are.

Most architectures come from segmentation-models, with a backbone as encoder; docs/backbones.md lists which backbones
work with which architecture. PlainUnet, the original U-Net, has no backbone. PSPNet is created here, because the one
of segmentation-models needs a fixed image size. The last softmax is float32, whatever precision the rest computes in.
`tessera.networks.build` gives a network its initial weights.
"""

import re
import warnings
from collections.abc import Sequence
from typing import Any

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, sm, tf

ARCHITECTURES = ("Unet", "FPN", "Linknet", "PSPNet", "PlainUnet")
SUBMODULES = {"backend": keras.backend, "layers": keras.layers, "models": keras.models, "utils": keras.utils}
# Both warnings do not apply: any number of channels and any image size works.
warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels", UserWarning)
warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square", UserWarning)
MAX_DEPTH = 5  # then image sides are multiples of 32, as for all other architectures
_DECODER_LEVELS = {
    "Unet": r"decoder_stage\db_relu",
    "FPN": r"fpn_stage_p\d_add",
    "Linknet": r"decoder_stage\d_add",
    "PlainUnet": r"decoder_stage\db_relu",
}
# First layer of the decoder. After VGG's pooling, segmentation-models adds two layers; FPN adds an upsampling for some.
_FIRST_DECODER_LAYERS = {
    "Unet": ("center_block1_conv", "decoder_stage0_upsampling"),
    "FPN": ("fpn_stage_p5_pre_conv", "fpn_stage_p5_upsampling"),
    "Linknet": ("center_block1_conv", "decoder_stage0a_conv"),
    "PSPNet": ("psp_level1_pooling",),
    "PlainUnet": ("decoder_stage0_upsampling",),
}


def create_network(
    architecture: str,
    backbone: str | None,
    *,
    channels: int,
    outputs: int,
    width: int | None = None,
    depth: int | None = None,
) -> Any:
    """Return a Keras model with random weights; see `tessera.networks.build.build_network`.

    Raises:
        InputError: a name is unknown, or the architecture does not have a setting.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture: {architecture} is unknown; choose from {', '.join(ARCHITECTURES)}")
    if architecture == "PlainUnet":
        if backbone is not None:
            raise InputError(f"backbone: PlainUnet has none, but it is {backbone}; set null, or architecture: Unet")
        width, depth = _check_size(width, depth)
        return _finalize(_create_plain_unet((None, None, channels), outputs, width=width, depth=depth))
    if width is not None or depth is not None:
        raise InputError(
            f"width, depth: are only for PlainUnet, but the architecture is {architecture}, whose backbone determines "
            "its size; set both to null"
        )
    if backbone is None or backbone not in sm.get_available_backbone_names():
        available = ", ".join(sm.get_available_backbone_names())
        raise InputError(f"backbone: {backbone} is unknown; choose from {available}")
    if architecture == "PSPNet":
        return _finalize(_create_pspnet(create_backbone(backbone, channels), backbone, outputs))
    create, shape = getattr(sm, architecture), (None, None, channels)
    return _finalize(create(backbone, input_shape=shape, classes=outputs, activation="softmax", encoder_weights=None))


def create_backbone(backbone: str, channels: int, weights: str | None = None, **submodules: Any) -> Any:
    """Return an encoder of segmentation-models as a Keras model, without its classifier.

    Args:
        backbone: name of the encoder.
        channels: number of channels of the images.
        weights: None (random) or "imagenet".
        submodules: modules of Keras that segmentation-models uses instead of SUBMODULES.
    """
    return sm.Backbones.get_backbone(
        backbone, input_shape=(None, None, channels), weights=weights, include_top=False, **SUBMODULES | submodules
    )


def stride_8_layer(layers: Sequence[Any], backbone: str | None) -> Any:
    """Return, of all `layers` of an encoder in order, the last one that PSPNet uses, at an eighth of the image size."""
    feature = sm.Backbones.get_feature_layers(backbone, n=3)[1]
    return {layer.name: layer for layer in layers}[feature] if isinstance(feature, str) else layers[feature]


def decoder_levels(network: Any, architecture: str) -> list[Any]:
    """Return the decoder's tensors (n, y, x, c) at strides 2, 4, 8, ..., finest first, for deep supervision.

    The level of the network's own head is not included. PSPNet decodes at a single stride, so its auxiliary head is on
    the encoder at stride 8, before the pyramid, as in the paper.
    """
    if architecture == "PSPNet":
        return [bottleneck(network, architecture)]
    pattern = _DECODER_LEVELS[architecture]
    levels = [layer.output for layer in network.layers if re.fullmatch(pattern, layer.name)]
    return levels[::-1][1:] if architecture in ("Unet", "PlainUnet") else levels[::-1]


def encoder_layers(network: Any, architecture: str, backbone: str | None) -> list[Any]:
    """Return all layers of the backbone, with and without weights, in order; an empty list for PlainUnet."""
    return [] if backbone is None else keras.Model(network.inputs, bottleneck(network, architecture)).layers


def bottleneck(network: Any, architecture: str) -> Any:
    """Return the tensor (n, y, x, c) that the encoder passes to the decoder, the deepest features of the network."""
    names = {layer.name for layer in network.layers}
    return network.get_layer(next(name for name in _FIRST_DECODER_LAYERS[architecture] if name in names)).input


def _finalize(network: Any) -> Any:
    """Return `network` with a float32 softmax, and batch normalization whose averages follow short trainings."""
    softmax = network.layers[-1]
    outputs = keras.layers.Activation("softmax", dtype="float32", name="softmax")(softmax.input)
    network = keras.Model(network.inputs, outputs)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # The default of 0.99 is too slow for trainings of a few hundred steps, and spoils their predictions.
            layer.momentum = 0.9
    return network


def _check_size(width: int | None, depth: int | None) -> tuple[int, int]:
    """Return width and depth of a PlainUnet, with defaults for None.

    Raises:
        InputError: a value is out of range.
    """
    width, depth = 32 if width is None else width, 4 if depth is None else depth
    if width < 1:
        raise InputError(f"width: {width} filters are too few; set 1 or more, usually 32")
    if not 1 <= depth <= MAX_DEPTH:
        raise InputError(f"depth: {depth} downsamplings are not possible; set 1 to {MAX_DEPTH}, usually 4")
    return width, depth


def _create_plain_unet(shape: tuple[int | None, int | None, int], classes: int, *, width: int, depth: int) -> Any:
    """Return the U-Net of the paper, with batch normalization, and with padding so that images keep their size.

    Args:
        shape: (y, x, channels) of the images; None for any size.
        classes: number of outputs.
        width: filters at full size; each lower level has twice as many.
        depth: number of downsamplings by two.

    Ronneberger et al. 2015, U-Net, https://arxiv.org/abs/1505.04597, where width is 64 and depth 4
    """
    layers = keras.layers

    def convolve(x: Any, filters: int, name: str) -> Any:
        for part in "ab":
            x = layers.Conv2D(
                filters,
                3,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"{name}{part}_conv",
            )(x)
            x = layers.BatchNormalization(name=f"{name}{part}_bn")(x)
            x = layers.Activation("relu", name=f"{name}{part}_relu")(x)
        return x

    pixels = layers.Input(shape)
    x, skips = convolve(pixels, width, "encoder_stage0"), []
    for level in range(1, depth + 1):
        skips.append(x)
        x = layers.MaxPooling2D(name=f"encoder_stage{level}_pooling")(x)
        x = convolve(x, width * 2**level, f"encoder_stage{level}")
    for stage, skip in enumerate(reversed(skips)):
        name, filters = f"decoder_stage{stage}", skip.shape[-1]
        x = layers.Conv2DTranspose(filters, 2, 2, kernel_initializer="he_normal", name=f"{name}_upsampling")(x)
        x = convolve(layers.Concatenate(name=f"{name}_concat")([skip, x]), filters, name)
    x = layers.Conv2D(classes, 1, name="final_conv")(x)
    return keras.Model(pixels, layers.Activation("softmax")(x))


def _create_pspnet(encoder: Any, backbone: str, classes: int, filters: int = 512) -> Any:
    """Return PSPNet for images of any size; the one of segmentation-models needs a fixed size, a multiple of 48.

    Zhao et al. 2017, Pyramid Scene Parsing Network, https://arxiv.org/abs/1612.01105
    """
    layers = keras.layers

    def mix(x: Any, name: str) -> Any:
        x = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_uniform", name=f"{name}_conv")(x)
        return layers.Activation("relu", name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    x = stride_8_layer(encoder.layers, backbone).output
    levels = [x]
    for level in (1, 2, 3, 6):
        pooled = layers.Lambda(_pool, arguments={"level": level}, name=f"psp_level{level}_pooling")(x)
        pooled = mix(pooled, f"psp_level{level}")
        levels.append(layers.Lambda(_resize_like, name=f"psp_level{level}_upsampling")([pooled, x]))
    x = mix(layers.Concatenate(name="psp_concat")(levels), "aggregation")
    x = layers.Conv2D(classes, 3, padding="same", name="final_conv")(x)
    x = layers.UpSampling2D(8, interpolation="bilinear", name="final_upsampling")(x)
    return keras.Model(encoder.input, layers.Activation("softmax")(x))


def _pool(x: Any, level: int) -> Any:
    """Return the means of x (n, y, x, c) over level × level equal parts, for any size."""
    rows, columns = (_pooling_weights(tf.shape(x)[axis], level) for axis in (1, 2))
    return tf.einsum("ai,nijc,bj->nabc", tf.cast(rows, x.dtype), x, tf.cast(columns, x.dtype))


def _pooling_weights(size: Any, level: int) -> Any:
    """Return (level, size) float32, the weight of each of `size` pixels in each of `level` equal parts of a line."""
    step = tf.cast(size, tf.float32) / level
    start = tf.range(level, dtype=tf.float32)[:, None] * step
    pixel = tf.range(tf.cast(size, tf.float32))[None, :]
    return tf.maximum(tf.minimum(start + step, pixel + 1) - tf.maximum(start, pixel), 0) / step


def _resize_like(tensors: Sequence[Any]) -> Any:
    """Return the first of two tensors, resized to the height and width of the second."""
    x, like = tensors
    return tf.cast(tf.image.resize(x, tf.shape(like)[1:3]), x.dtype)
