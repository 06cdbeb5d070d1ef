"""Folders of trained models, as far as they can be read without TensorFlow."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import zarr

from tessera.common.constants import DIVISOR, FORMAT, SAVED_MODEL, SETTINGS, VALIDATION, WEIGHTS
from tessera.common.errors import InputError
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.data.normalization import check_normalisation
from tessera.data.rescaling import check_scale

_KEPT_PATCHES = 16
_LARGEST_PATCH_PX = 2048
_REQUIRED = {
    "channels": list,
    "outputs": list,
    "normalization": dict,
    "task": str,
}


def read_model_card(folder):
    """Content of a model's model.json.

    Raises:
        InputError: it is missing, damaged, of another format, or lacks something.
    """
    path = Path(folder) / SETTINGS
    try:
        settings = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); train the model again") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); train the model again") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise InputError(f"{path}: is not of the format {FORMAT}; give the folder of a model that Tessera trained")
    wrong = [key for key, kind in _REQUIRED.items() if not isinstance(settings.get(key), kind) or not settings[key]]
    if wrong:
        raise InputError(f"{path}: {', '.join(wrong)} missing or not as Tessera writes them; train the model again")
    try:
        check_normalisation(settings["normalization"], len(settings["channels"]))
    except ValueError as error:
        raise InputError(f"{path}: its normalization {error}; give a model that was trained so") from error
    ends = settings.get("pixel_size_um_range") or [None, None]
    sizes = [settings.get("pixel_size_um"), settings.get("diameter_px"), *(ends if isinstance(ends, list) else [ends])]
    if len(sizes) != 4 or not all(size is None or _is_size(size) for size in sizes):
        raise InputError(
            f"{path}: pixel_size_um, diameter_px and both ends of pixel_size_um_range have to be numbers above 0, or null; "
            "correct them"
        )
    try:
        check_scale(settings.get("scale"))
    except ValueError as error:
        raise InputError(f"{path}: its scale {error}; correct it, or set it to null") from error
    return settings


def _is_size(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def digest_model(folder):
    """Sixteen hexadecimal digits that stand for the network in a model's folder."""
    folder = Path(folder)
    state = hashlib.blake2b(digest_size=8)
    for path in [folder / SETTINGS, folder / WEIGHTS, *sorted((folder / SAVED_MODEL).rglob("*"))]:
        if path.is_file():
            state.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
            state.update(path.read_bytes())
    return state.hexdigest()


def write_validation_patches(folder, images, targets):
    """Keep at most _KEPT_PATCHES of the patches, spread evenly, in a model's folder."""
    group = zarr.create_group(Path(folder) / VALIDATION, zarr_format=3, overwrite=True)
    for name, patches in (("image", images), ("target", targets)):
        kept = np.stack([patches[number] for number in evenly_spaced_indices(images.shape[0], _KEPT_PATCHES)])
        group.create_array(name, data=kept, chunks=(1, *kept.shape[1:]))


def read_validation_patches(folder):
    """The validation patches in a model's folder.

    Returns:
        Normalised pixels float32 (n, y, x, c) and targets uint8 (n, y, x), or None where the model keeps none.

    Raises:
        InputError: they are damaged, do not fit the model, or are not as Tessera writes them.
    """
    path = Path(folder) / VALIDATION
    if not path.is_dir():
        return None
    channels = len(read_model_card(folder)["channels"])
    try:
        group = zarr.open_group(path, mode="r")
        images, targets = group["image"], group["target"]
        if not _are_patches(images, targets, channels):
            kinds = " and ".join(
                f"{array.dtype} {array.shape} in chunks of {array.chunks}" for array in (images, targets)
            )
            raise ValueError(f"{kinds} are not patches of {channels} channels")
        return images[:].astype(np.float32), targets[:]
    except Exception as error:  # zarr raises many kinds for what is missing or malformed
        raise InputError(f"{path}: cannot be read ({error}); remove it, or train the model again") from error


def _are_patches(images, targets, channels):
    """Whether arrays are as `write_validation_patches` makes them; sizes are not believed, since what they ask for is memory."""
    number, *sides = targets.shape
    return (
        images.shape == (number, *sides, channels)
        and 0 < number <= _KEPT_PATCHES
        and len(sides) == 2
        and all(0 < side <= _LARGEST_PATCH_PX and side % DIVISOR == 0 for side in sides)
        and images.chunks == (1, *sides, channels)
        and targets.chunks == (1, *sides)
        and images.dtype in (np.float16, np.float32)
        and targets.dtype == np.uint8
    )
