"""Builds networks: new ones with initial weights, and trained ones from the folder of a model.

`tessera.networks.architectures` creates the layers, `tessera.networks.weight_transfer` copies the initial weights.
"""

from pathlib import Path
from typing import Any

from tessera.common.constants import MODEL_JSON, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.networks.architectures import create_network
from tessera.networks.devices import mixed_precision_policy
from tessera.networks.model_folder import read_model_card
from tessera.networks.pretrained_weights import check_weights_file
from tessera.networks.weight_transfer import transfer_encoder_weights, transfer_model_weights


def build_network(
    architecture: str,
    backbone: str | None,
    *,
    channels: int,
    outputs: int,
    encoder_weights: str | None = None,
    width: int | None = None,
    depth: int | None = None,
) -> Any:
    """Return a Keras model from normalized pixels (n, y, x, channels) to probabilities (n, y, x, outputs), float32.

    y and x may be any multiples of 32. Weights are random, from the global seed of Keras, and then replaced by
    `encoder_weights`. These fit any number of channels: the weights of the first layer are averaged over their channels
    and divided among the channels of the network.

    Args:
        architecture: one of `tessera.networks.architectures.ARCHITECTURES`.
        backbone: name of an encoder of segmentation-models; None for PlainUnet.
        channels: number of channels of the images.
        outputs: number of classes.
        encoder_weights: None (random), "imagenet" (downloaded once), the path of a file of encoder weights, or the
            folder of an earlier model, of which all weights that fit are copied.
        width: filters of PlainUnet at full size, None for 32; None for all other architectures.
        depth: downsamplings of PlainUnet, at most 5, None for 4; None for all other architectures.

    Raises:
        InputError: a name is unknown, the architecture does not have a setting, or the weights cannot be read or do not
            fit.
    """
    network = create_network(architecture, backbone, channels=channels, outputs=outputs, width=width, depth=depth)
    if encoder_weights is not None and (Path(encoder_weights) / MODEL_JSON).is_file():
        card = read_model_card(encoder_weights)
        transfer_model_weights(encoder_weights, load_network(encoder_weights), card, network, architecture, backbone)
    elif encoder_weights is not None:
        transfer_encoder_weights(encoder_weights, network, architecture, backbone)
    return network


def load_network(folder: StrPath, precision: str = "float32") -> Any:
    """Return the Keras model of a model's folder, from its model.json and model.weights.h5.

    Args:
        folder: folder of the model.
        precision: precision of the computation, float32, bfloat16 or float16; weights stay float32.

    Raises:
        InputError: a file is missing or damaged, or the weights do not fit the network.
    """
    card = read_model_card(folder)
    if "architecture" not in card or "backbone" not in card:
        missing = [key for key in ("architecture", "backbone") if key not in card]
        raise InputError(
            f"{Path(folder) / MODEL_JSON}: does not say its {' and '.join(missing)}; add it, or train the model again"
        )
    with mixed_precision_policy(precision):
        network = build_network(
            card["architecture"],
            card["backbone"],
            channels=len(card["channels"]),
            outputs=len(card["outputs"]),
            width=card.get("width"),
            depth=card.get("depth"),
        )
    path = Path(folder) / WEIGHTS_H5
    check_weights_file(path)
    try:
        network.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as weights of the network in {MODEL_JSON}: {error}") from error
    return network
