"""The folder of a trained model: its model card, its digest and its validation patches, read without TensorFlow.

`tessera.training.model_export` writes the folder, `tessera.networks.build.load_network` loads the network. A folder may
come from elsewhere, so everything that is read is checked.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import zarr
from numpy.typing import NDArray

from tessera.common.constants import (
    MODEL_FORMAT,
    MODEL_JSON,
    SAVED_MODEL_FOLDER,
    SIZE_DIVISOR,
    VALIDATION_ZARR,
    WEIGHTS_H5,
)
from tessera.common.errors import InputError
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.common.types import StrPath
from tessera.data.normalization import check_normalization
from tessera.data.rescaling import check_scale

MAX_KEPT_PATCHES = 16
MAX_PATCH_SIZE_PX = 2048
_REQUIRED: dict[str, type] = {"channels": list, "outputs": list, "normalization": dict, "task": str}


class AutoChoice(TypedDict):
    """The value that was chosen for a setting, such as train.batch_size, and the reason."""

    setting: str
    value: Any
    reason: str


class ModelCard(TypedDict):
    """Content of model.json: what a network expects, what it gives, and how it was trained.

    A model that was trained elsewhere may have only the first five entries.

    Attributes:
        format: version of the format.
        task: "instances" or "semantic".
        channels: names of the channels, in the order of the network.
        outputs: names of the network's outputs, background first.
        normalization: normalization of intensities, see `tessera.data.normalization`.
        classes: names of the classes, background first.
        pixel_size_um: typical pixel size of the training images in µm; None if unknown.
        pixel_size_um_range: smallest and largest pixel size of the training images.
        diameter_px: typical diameter of the objects in training patches; None if unknown.
        scale: magnification of the training images, see `tessera.data.rescaling`; `typical` is the median.
        patch_size_px: side of a training patch.
        class_share: fraction of pixels of each output in the training patches.
        label_check: result of `tessera.data.augmentation_check`.
        fingerprint: result of `tessera.data.dataset_fingerprint`.
        signal: result of `tessera.data.object_signal.summarize_signal`.
        architecture: name of the architecture.
        backbone: name of the encoder; None for PlainUnet.
        width: filters of PlainUnet at full size.
        depth: downsamplings of PlainUnet.
        plan: choices for `auto` settings and their reasons, of rule augment and of the training.
        divisor: height and width of the network's input have to be multiples of this.
        parameters: number of weights.
        settings: section train of the settings.
        sources: {"train", "val": names of the images}.
        epochs: number of epochs of the training.
        best_epoch: epoch whose weights were kept.
        seconds: duration of the training.
        validation: scores of the best epoch, None for NaN.
        versions: versions of Python and of the libraries.
        provenance: provenance hash of the model.
        training_data: provenance hash of the patches.
        throughput: result of `tessera.training.throughput`.
        device: "cpu" or "gpu".
    """

    format: str
    task: str
    channels: list[str]
    outputs: list[str]
    normalization: dict[str, Any]
    classes: NotRequired[list[str]]
    pixel_size_um: NotRequired[float | None]
    pixel_size_um_range: NotRequired[list[float] | None]
    diameter_px: NotRequired[float | None]
    scale: NotRequired[dict[str, Any] | None]
    patch_size_px: NotRequired[int | None]
    class_share: NotRequired[list[float] | None]
    label_check: NotRequired[dict[str, Any] | None]
    fingerprint: NotRequired[dict[str, Any] | None]
    signal: NotRequired[dict[str, Any] | None]
    architecture: NotRequired[str]
    backbone: NotRequired[str | None]
    width: NotRequired[int | None]
    depth: NotRequired[int | None]
    plan: NotRequired[list[AutoChoice]]
    divisor: NotRequired[int]
    parameters: NotRequired[int]
    settings: NotRequired[dict[str, Any]]
    sources: NotRequired[dict[str, list[str]] | None]
    epochs: NotRequired[int]
    best_epoch: NotRequired[int]
    seconds: NotRequired[float]
    validation: NotRequired[dict[str, float | None]]
    versions: NotRequired[dict[str, str]]
    provenance: NotRequired[Any]
    training_data: NotRequired[Any]
    throughput: NotRequired[Any]
    device: NotRequired[str]


def read_model_card(folder: StrPath) -> ModelCard:
    """Read and check the model card, model.json, of a model's folder.

    Raises:
        InputError: the file is missing, damaged or of another format, or a required entry is missing or invalid.
    """
    path = Path(folder) / MODEL_JSON
    try:
        card = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); train the model again") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); train the model again") from error
    if not isinstance(card, dict) or card.get("format") != MODEL_FORMAT:
        raise InputError(
            f"{path}: is not of the format {MODEL_FORMAT}; give the folder of a model that Tessera trained"
        )
    invalid = [key for key, kind in _REQUIRED.items() if not isinstance(card.get(key), kind) or not card[key]]
    if invalid:
        raise InputError(f"{path}: missing or invalid entries: {', '.join(invalid)}; train the model again")
    try:
        check_normalization(card["normalization"], len(card["channels"]))
    except ValueError as error:
        raise InputError(f"{path}: its normalization {error}; give a model with a valid normalization") from error
    limits = card.get("pixel_size_um_range") or [None, None]
    sizes = [card.get("pixel_size_um"), card.get("diameter_px"), *(limits if isinstance(limits, list) else [limits])]
    if len(sizes) != 4 or not all(size is None or _is_positive_number(size) for size in sizes):
        raise InputError(
            f"{path}: pixel_size_um, diameter_px and both limits of pixel_size_um_range must be positive numbers or "
            "null; correct them"
        )
    try:
        check_scale(card.get("scale"))
    except ValueError as error:
        raise InputError(f"{path}: its scale {error}; correct it, or set it to null") from error
    checked: ModelCard = card  # type: ignore[assignment]
    return checked


def _is_positive_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def digest_model(folder: StrPath) -> str:
    """Return sixteen hexadecimal digits that identify the network in a model's folder."""
    folder = Path(folder)
    state = hashlib.blake2b(digest_size=8)
    for path in [folder / MODEL_JSON, folder / WEIGHTS_H5, *sorted((folder / SAVED_MODEL_FOLDER).rglob("*"))]:
        if path.is_file():
            state.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            state.update(path.read_bytes())
    return state.hexdigest()


def write_validation_patches(folder: StrPath, images: Any, targets: Any) -> None:
    """Write at most MAX_KEPT_PATCHES evenly spaced validation patches into a model's folder.

    Args:
        folder: folder of the model.
        images: (n, y, x, c), normalized; an array or a Zarr array.
        targets: (n, y, x) uint8, true classes.
    """
    group = zarr.create_group(Path(folder) / VALIDATION_ZARR, zarr_format=3, overwrite=True)
    for name, patches in (("image", images), ("target", targets)):
        indices = evenly_spaced_indices(images.shape[0], MAX_KEPT_PATCHES)
        kept = np.stack([patches[index] for index in indices])
        group.create_array(name, data=kept, chunks=(1, *kept.shape[1:]))


def read_validation_patches(folder: StrPath) -> tuple[NDArray[np.float32], NDArray[np.uint8]] | None:
    """Read the validation patches of a model's folder.

    Returns:
        Normalized pixels float32 (n, y, x, c) and true classes uint8 (n, y, x); None if the folder has no patches.

    Raises:
        InputError: they are damaged, do not fit the model, or are not in the form in which Tessera writes them.
    """
    path = Path(folder) / VALIDATION_ZARR
    if not path.is_dir():
        return None
    channels = len(read_model_card(folder)["channels"])
    try:
        group = zarr.open_group(path, mode="r")
        images: Any = group["image"]
        targets: Any = group["target"]
        if not _are_validation_patches(images, targets, channels):
            forms = " and ".join(
                f"{array.dtype} {array.shape} in chunks of {array.chunks}" for array in (images, targets)
            )
            raise ValueError(f"{forms} are not patches of {channels} channels")
        return images[:].astype(np.float32), targets[:]
    except Exception as error:  # zarr raises many kinds for what is missing or malformed
        raise InputError(f"{path}: cannot be read ({error}); remove it, or train the model again") from error


def _are_validation_patches(images: Any, targets: Any, channels: int) -> bool:
    """Return whether arrays have the form of `write_validation_patches`; limits their size, and so the memory."""
    number, *sides = targets.shape
    return (
        images.shape == (number, *sides, channels)
        and 0 < number <= MAX_KEPT_PATCHES
        and len(sides) == 2
        and all(0 < side <= MAX_PATCH_SIZE_PX and side % SIZE_DIVISOR == 0 for side in sides)
        and images.chunks == (1, *sides, channels)
        and targets.chunks == (1, *sides)
        and images.dtype in (np.float16, np.float32)
        and targets.dtype == np.uint8
    )
