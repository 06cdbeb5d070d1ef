"""Architectures: networks as they are drawn, layer by layer, before they have weights of any use."""

import re
import warnings

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, sm, tf

ARCHITECTURES = ("Unet", "FPN", "Linknet", "PSPNet", "PlainUnet")
SUBMODULES = {"backend": keras.backend, "layers": keras.layers, "models": keras.models, "utils": keras.utils}
# Neither is of use: any number of channels serves, and images of any size.
warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels", UserWarning)
warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square", UserWarning)
# With two to the fifth, the multiples of 32 that all other networks ask for do for this one too.
DEEPEST = 5
_LEVELS = {
    "Unet": r"decoder_stage\db_relu",
    "FPN": r"fpn_stage_p\d_add",
    "Linknet": r"decoder_stage\d_add",
    "PlainUnet": r"decoder_stage\db_relu",
}
# The first layer of the decoder; behind VGG's pooling, segmentation-models puts two more, and FPN needs some at times.
_BEHIND_ENCODER = {
    "Unet": ("center_block1_conv", "decoder_stage0_upsampling"),
    "FPN": ("fpn_stage_p5_pre_conv", "fpn_stage_p5_upsampling"),
    "Linknet": ("center_block1_conv", "decoder_stage0a_conv"),
    "PSPNet": ("psp_level1_pooling",),
    "PlainUnet": ("decoder_stage0_upsampling",),
}


def create_network(architecture, backbone, *, channels, outputs, width=None, depth=None):
    """A Keras model of random weights, see `tessera.networks.build.build_network`.

    Raises:
        InputError: an unknown name, or a setting that the architecture does not have.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture: {architecture} is unknown; it can be {', '.join(ARCHITECTURES)}")
    if architecture == "PlainUnet":
        if backbone is not None:
            raise InputError(f"backbone: PlainUnet has none, and it is {backbone}; give null, or architecture: Unet")
        return _finish(_draw_plain_unet((None, None, channels), outputs, **_sizes(width, depth)))
    if width is not None or depth is not None:
        raise InputError(
            f"width, depth: are of PlainUnet alone, and the architecture is {architecture}, which takes its sizes from "
            "the backbone; give null for both"
        )
    if backbone not in sm.get_available_backbone_names():
        known = ", ".join(sm.get_available_backbone_names())
        raise InputError(f"backbone: {backbone} is unknown; it can be {known}")
    if architecture == "PSPNet":
        return _finish(_draw_pspnet(create_backbone(backbone, channels), backbone, outputs))
    draw, shape = getattr(sm, architecture), (None, None, channels)
    return _finish(draw(backbone, input_shape=shape, classes=outputs, activation="softmax", encoder_weights=None))


def create_backbone(backbone, channels, weights=None, **submodules):
    """An encoder of segmentation-models as a Keras model of its own, without its classifier."""
    return sm.Backbones.get_backbone(
        backbone, input_shape=(None, None, channels), weights=weights, include_top=False, **SUBMODULES | submodules
    )


def stride_8(layers, backbone):
    """Of all `layers` of an encoder, in its own order, the one where PSPNet leaves it, at an eighth of the image."""
    feature = sm.Backbones.get_feature_layers(backbone, n=3)[1]
    return {layer.name: layer for layer in layers}[feature] if isinstance(feature, str) else layers[feature]


def decoder_levels(network, architecture):
    """The decoder's tensors (n, y, x, c) at strides 2, 4, 8 and so on, finest first, for heads of deep supervision.

    Where the network has its own head, there is none. PSPNet has one, at stride 8: what it decodes lies at one stride,
    and so the auxiliary head sits on the encoder, under the pyramid, as in the paper.
    """
    if architecture == "PSPNet":
        return [bottleneck(network, architecture)]
    levels = [layer.output for layer in network.layers if re.fullmatch(_LEVELS[architecture], layer.name)]
    return levels[::-1][1:] if architecture in ("Unet", "PlainUnet") else levels[::-1]


def encoder_layers(network, architecture, backbone):
    """The layers of the backbone, those with and those without weights, in their order; none for PlainUnet."""
    return [] if backbone is None else keras.Model(network.inputs, bottleneck(network, architecture)).layers


def bottleneck(network, architecture):
    """The tensor (n, y, x, c) that the encoder hands to the decoder, the deepest features of the network."""
    names = {layer.name for layer in network.layers}
    return network.get_layer(next(name for name in _BEHIND_ENCODER[architecture] if name in names)).input


def _finish(network):
    """`network` with its softmax in float32, whatever the policy, and averages that keep up with short trainings."""
    softmax = network.layers[-1]
    outputs = keras.layers.Activation("softmax", dtype="float32", name="softmax")(softmax.input)
    network = keras.Model(network.inputs, outputs)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # The usual 0.99 lags behind in trainings of a few hundred steps and ruins what they learnt.
            layer.momentum = 0.9
    return network


def _sizes(width, depth):
    width, depth = 32 if width is None else width, 4 if depth is None else depth
    if width < 1:
        raise InputError(f"width: {width} filters make no layer; give 1 or more, 32 as a rule")
    if not 1 <= depth <= DEEPEST:
        raise InputError(f"depth: {depth} downsamplings cannot be had; give 1 to {DEEPEST}, 4 as a rule")
    return {"width": width, "depth": depth}


def _draw_plain_unet(shape, classes, *, width, depth):
    """The U-Net of the paper, with batch normalization, and padding so that images keep their size.

    Args:
        shape: (y, x, channels) of the images, None where any.
        width: filters at full size; each level below has twice as many.
        depth: number of downsamplings, each by two.

    Ronneberger et al. 2015, U-Net, https://arxiv.org/abs/1505.04597, where width is 64 and depth 4
    """
    layers = keras.layers

    def convolve(x, filters, name):
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


def _draw_pspnet(encoder, backbone, classes, filters=512):
    """PSPNet of segmentation-models for any size: theirs needs one fixed size, a multiple of 48.

    Zhao et al. 2017, Pyramid Scene Parsing Network, https://arxiv.org/abs/1612.01105
    """
    layers = keras.layers

    def mix(x, name):
        x = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_uniform", name=f"{name}_conv")(x)
        return layers.Activation("relu", name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    x = stride_8(encoder.layers, backbone).output
    levels = [x]
    for level in (1, 2, 3, 6):
        pooled = layers.Lambda(_pool, arguments={"level": level}, name=f"psp_level{level}_pooling")(x)
        pooled = mix(pooled, f"psp_level{level}")
        levels.append(layers.Lambda(_resize_like, name=f"psp_level{level}_upsampling")([pooled, x]))
    x = mix(layers.Concatenate(name="psp_concat")(levels), "aggregation")
    x = layers.Conv2D(classes, 3, padding="same", name="final_conv")(x)
    x = layers.UpSampling2D(8, interpolation="bilinear", name="final_upsampling")(x)
    return keras.Model(encoder.input, layers.Activation("softmax")(x))


def _pool(x, level):
    """Means of x (n, y, x, c) over level × level equal parts, whatever its size."""
    rows, columns = (_shares(tf.shape(x)[axis], level) for axis in (1, 2))
    return tf.einsum("ai,nijc,bj->nabc", tf.cast(rows, x.dtype), x, tf.cast(columns, x.dtype))


def _shares(size, level):
    """(level, size) float32: the share that each of `size` pixels has in each of `level` equal parts of their line."""
    step = tf.cast(size, tf.float32) / level
    start = tf.range(level, dtype=tf.float32)[:, None] * step
    pixel = tf.range(tf.cast(size, tf.float32))[None, :]
    return tf.maximum(tf.minimum(start + step, pixel + 1) - tf.maximum(start, pixel), 0) / step


def _resize_like(tensors):
    x, like = tensors
    return tf.cast(tf.image.resize(x, tf.shape(like)[1:3]), x.dtype)
