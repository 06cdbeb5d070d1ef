"""Networks: built, put on a device, loaded from a model's folder."""

from pathlib import Path

import numpy as np

from .errors import InputError
from .frameworks import keras, quiet, sm, tf
from .models import SETTINGS, WEIGHTS, read_settings

ARCHITECTURES = ("Unet", "FPN", "Linknet", "PSPNet")


def build_network(architecture, backbone, *, channels, outputs, encoder_weights=None):
    """A network that turns normalised pixels (n, y, x, channels) into probabilities (n, y, x, outputs).

    y and x may be any multiples of 32. Weights are drawn from the global seed of Keras. An encoder that was trained on
    three channels serves any number: its first layer's weights are averaged over the three and shared out.

    Args:
        architecture: one of ARCHITECTURES.
        backbone: name of an encoder of segmentation-models.
        channels: number of channels of the images.
        outputs: number of classes.
        encoder_weights: None (from scratch), "imagenet" (downloaded once) or the path of a file of encoder weights.

    Raises:
        InputError: an unknown name, or weights that cannot be had or do not fit.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture: {architecture} is unknown; it can be {', '.join(ARCHITECTURES)}")
    if backbone not in sm.get_available_backbone_names():
        known = ", ".join(sm.get_available_backbone_names())
        raise InputError(f"backbone: {backbone} is unknown; it can be {known}")
    build = _build_pspnet if architecture == "PSPNet" else getattr(sm, architecture)

    def build_for(channels, weights):
        return build(
            backbone, input_shape=(None, None, channels), classes=outputs, activation="softmax", encoder_weights=weights
        )

    if encoder_weights is None or channels == 3:
        network = _with_weights(build_for, 3 if encoder_weights else channels, encoder_weights)
    else:
        network = build_for(channels, None)
        _share_weights(_with_weights(build_for, 3, encoder_weights), network)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # The usual 0.99 lags behind in trainings of a few hundred steps and ruins what they learnt.
            layer.momentum = 0.9
    return network


def _with_weights(build_for, channels, weights):
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise InputError(f"encoder_weights: there is no file {weights}; give a file, imagenet or null")
    try:
        return build_for(channels, weights)
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


def _share_weights(source, network):
    """Copy the weights of `source`, made for three channels, into `network`, the same for another number."""
    for of_three, layer in zip(source.layers, network.layers, strict=True):
        shapes = [weight.shape for weight in layer.weights]
        weights = [_fit(weight, shape) for weight, shape in zip(of_three.get_weights(), shapes, strict=True)]
        layer.set_weights(weights)


def _fit(weight, shape):
    """Average `weight` over the axis where `shape` differs and repeat it; a kernel keeps its sum over channels."""
    for axis, (have, want) in enumerate(zip(weight.shape, shape, strict=True)):
        if have != want:
            scale = have / want if weight.ndim == 4 else 1.0
            weight = np.repeat(weight.mean(axis, keepdims=True) * scale, want, axis)
    return weight


def _build_pspnet(backbone, *, input_shape, classes, activation, encoder_weights, filters=512):
    """PSPNet of segmentation-models for any size: theirs needs one fixed size, a multiple of 48.

    Zhao et al. 2017, Pyramid Scene Parsing Network, https://arxiv.org/abs/1612.01105
    """
    layers = keras.layers

    def mix(x, name):
        x = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_uniform", name=f"{name}_conv")(x)
        return layers.Activation("relu", name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(x))

    submodules = {"backend": keras.backend, "layers": layers, "models": keras.models, "utils": keras.utils}
    encoder = sm.Backbones.get_backbone(
        backbone, input_shape=input_shape, weights=encoder_weights, include_top=False, **submodules
    )
    feature = sm.Backbones.get_feature_layers(backbone, n=3)[1]
    x = encoder.get_layer(**{"name" if isinstance(feature, str) else "index": feature}).output
    levels = [x]
    for level in (1, 2, 3, 6):
        pooled = layers.Lambda(_pool, arguments={"level": level}, name=f"psp_level{level}_pooling")(x)
        pooled = mix(pooled, f"psp_level{level}")
        levels.append(layers.Lambda(_resize_like, name=f"psp_level{level}_upsampling")([pooled, x]))
    x = mix(layers.Concatenate(name="psp_concat")(levels), "aggregation")
    x = layers.Conv2D(classes, 3, padding="same", name="final_conv")(x)
    x = layers.UpSampling2D(8, interpolation="bilinear", name="final_upsampling")(x)
    return keras.Model(encoder.input, layers.Activation(activation, name=activation)(x))


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


def choose_device(device, threads=None):
    """Settle on what TensorFlow computes with, and say so.

    Args:
        device: "auto" (a GPU if there is one), "cpu" or "gpu".
        threads: CPU cores to use; None for all.

    Returns:
        "cpu" or "gpu".

    Raises:
        InputError: a GPU is asked for and there is none.
    """
    with quiet():
        gpus = tf.config.list_physical_devices("GPU")
        if device == "gpu" and not gpus:
            raise InputError(
                "device: a GPU was asked for and TensorFlow finds none; set device to auto or cpu, or see to the GPU"
            )
    taken = "gpu" if gpus and device != "cpu" else "cpu"
    try:
        if taken == "cpu" and gpus:
            tf.config.set_visible_devices([], "GPU")
        for gpu in gpus if taken == "gpu" else []:
            tf.config.experimental.set_memory_growth(gpu, True)
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        print(f"TensorFlow runs already and keeps its devices and threads ({error})", flush=True)
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    what = f"GPU ({', '.join(names)})" if taken == "gpu" else f"CPU ({threads or 'all'} threads)"
    print(f"Device: {what}" + ("" if device != "auto" or taken == "gpu" else "; no GPU was found"), flush=True)
    return taken


def load_network(folder, precision="float32"):
    """The Keras model of a model's folder, from its model.json and model.weights.h5 alone.

    Args:
        folder: of the model.
        precision: what it computes in, float32, bfloat16 or float16; weights stay float32.

    Raises:
        InputError: a file is missing, damaged, or does not fit the other.
    """
    settings = read_settings(folder)
    if lacking := [key for key in ("architecture", "backbone") if key not in settings]:
        raise InputError(
            f"{Path(folder) / SETTINGS}: does not say its {' and '.join(lacking)}; add it, or train the model again"
        )
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        model = build_network(
            settings["architecture"],
            settings["backbone"],
            channels=len(settings["channels"]),
            outputs=len(settings["outputs"]),
        )
    finally:
        keras.mixed_precision.set_global_policy(policy)
    path = Path(folder) / WEIGHTS
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as weights of the network in {SETTINGS}: {error}") from error
    return model
