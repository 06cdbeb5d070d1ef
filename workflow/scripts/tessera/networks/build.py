"""Networks: built, and loaded from a model's folder."""

from pathlib import Path

from tessera.common.constants import SETTINGS, WEIGHTS
from tessera.common.errors import InputError
from tessera.networks.architectures import create_network
from tessera.networks.devices import mixed_precision_policy
from tessera.networks.model_folder import read_model_card
from tessera.networks.pretrained_weights import check_weights_file
from tessera.networks.weight_transfer import transfer_encoder_weights, transfer_model_weights


def build_network(architecture, backbone, *, channels, outputs, encoder_weights=None, width=None, depth=None):
    """A network that turns normalized pixels (n, y, x, channels) into probabilities (n, y, x, outputs), float32.

    y and x may be any multiples of 32. Weights are drawn from the global seed of Keras, and then replaced by those to
    start from. These serve any number of channels: the first layer's are averaged over their channels and shared out.

    Args:
        architecture: one of ARCHITECTURES.
        backbone: name of an encoder of segmentation-models; None for PlainUnet.
        channels: number of channels of the images.
        outputs: number of classes.
        encoder_weights: None (from scratch), "imagenet" (downloaded once), the path of a file of encoder weights, or
            the folder of an earlier model, of which all is taken over that fits.
        width: filters of PlainUnet at full size, None for 32; None for all others.
        depth: downsamplings of PlainUnet, None for 4, 5 at most; None for all others.

    Raises:
        InputError: an unknown name, a setting that the architecture does not have, or weights that cannot be had or do
            not fit.
    """
    network = create_network(architecture, backbone, channels=channels, outputs=outputs, width=width, depth=depth)
    if encoder_weights is not None and (Path(encoder_weights) / SETTINGS).is_file():
        about = read_model_card(encoder_weights)
        transfer_model_weights(encoder_weights, load_network(encoder_weights), about, network, architecture, backbone)
    elif encoder_weights is not None:
        transfer_encoder_weights(encoder_weights, network, architecture, backbone)
    return network


def load_network(folder, precision="float32"):
    """The Keras model of a model's folder, from its model.json and model.weights.h5 alone.

    Args:
        folder: of the model.
        precision: what it computes in, float32, bfloat16 or float16; weights stay float32.

    Raises:
        InputError: a file is missing, damaged, or does not fit the other.
    """
    settings = read_model_card(folder)
    if lacking := [key for key in ("architecture", "backbone") if key not in settings]:
        raise InputError(
            f"{Path(folder) / SETTINGS}: does not say its {' and '.join(lacking)}; add it, or train the model again"
        )
    with mixed_precision_policy(precision):
        model = build_network(
            settings["architecture"],
            settings["backbone"],
            channels=len(settings["channels"]),
            outputs=len(settings["outputs"]),
            width=settings.get("width"),
            depth=settings.get("depth"),
        )
    path = Path(folder) / WEIGHTS
    check_weights_file(path)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as weights of the network in {SETTINGS}: {error}") from error
    return model
