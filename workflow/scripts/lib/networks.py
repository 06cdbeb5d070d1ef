"""Networks: built, put on a device, loaded from a model's folder."""

from pathlib import Path

from .architectures import ARCHITECTURES, bottleneck, decoder_levels, draw_network, encoder_layers
from .errors import InputError
from .frameworks import keras, quiet, tf
from .models import SETTINGS, WEIGHTS, read_settings
from .weights import take_encoder

__all__ = [
    "ARCHITECTURES",
    "bottleneck",
    "build_network",
    "choose_device",
    "decoder_levels",
    "encoder_layers",
    "load_network",
]


def build_network(architecture, backbone, *, channels, outputs, encoder_weights=None, width=None, depth=None):
    """A network that turns normalised pixels (n, y, x, channels) into probabilities (n, y, x, outputs), float32.

    y and x may be any multiples of 32. Weights are drawn from the global seed of Keras. An encoder that was trained on
    three channels serves any number: its first layer's weights are averaged over the three and shared out.

    Args:
        architecture: one of ARCHITECTURES.
        backbone: name of an encoder of segmentation-models; None for PlainUnet.
        channels: number of channels of the images.
        outputs: number of classes.
        encoder_weights: None (from scratch), "imagenet" (downloaded once) or the path of a file of encoder weights.
        width: filters of PlainUnet at full size, None for 32; None for all others.
        depth: downsamplings of PlainUnet, None for 4, 5 at most; None for all others.

    Raises:
        InputError: an unknown name, a setting that the architecture does not have, or weights that cannot be had or do
            not fit.
    """
    network = draw_network(architecture, backbone, channels=channels, outputs=outputs, width=width, depth=depth)
    if encoder_weights is not None:
        take_encoder(encoder_weights, network, architecture, backbone)
    return network


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
            width=settings.get("width"),
            depth=settings.get("depth"),
        )
    finally:
        keras.mixed_precision.set_global_policy(policy)
    path = Path(folder) / WEIGHTS
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as weights of the network in {SETTINGS}: {error}") from error
    return model
