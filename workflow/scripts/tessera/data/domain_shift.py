"""Domain shift: whether an image resembles the images that a model was trained on.

An image resembles the training images if the textures of its windows are about as close to those of training patches
as the training patches are to each other, and its intensities and pixel size are in the range of the training images.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.types import StrPath
from tessera.data.channels import match_channels
from tessera.data.dataset_fingerprint import PERCENTILES, has_contrast, parse_fingerprint
from tessera.data.normalization import choose_intensity_ranges
from tessera.data.rescaling import NEGLIGIBLE, choose_scale, mean_pixel_size_um
from tessera.data.texture_features import texture_distances, texture_features
from tessera.data.window_sampling import sample_windows
from tessera.io.ome_zarr_store import read_metadata

INTENSITY_MARGIN = 0.1  # normalized intensities may leave the training's range by this much
SAMPLED_WINDOWS = 12  # of an image
MAX_DIAMETER_RATIO = 2.0  # between the objects of an image and those of the training


def find_domain_shift(
    path: StrPath,
    model: Mapping[str, Any],
    *,
    rescale: bool = True,
    object_diameter_px: float | None = None,
    roi: tuple[int, int, int, int] | None = None,
    frames: str | None = None,
) -> list[str]:
    """Return warnings about differences between an image and the images that a model was trained on.

    Args:
        path: store of the image.
        model: content of model.json; without a fingerprint, intensities and textures are not compared.
        rescale: see `tessera.data.rescaling.choose_scale`.
        object_diameter_px: see `tessera.data.rescaling.choose_scale`.
        roi: region of interest (y0, y1, x0, x1) that is compared, or None for the whole plane.
        frames: see `tessera.io.region_of_interest.select_frames`.

    Returns:
        Sentences for the user; none if the image resembles the training images.

    Raises:
        InputError: image and model differ in the number of channels, or the image cannot be rescaled for the model.
    """
    name, metadata = Path(path).name.removesuffix(".ome.zarr"), read_metadata(path)
    order = match_channels(name, metadata.channels, model["channels"])
    scale = choose_scale(name, metadata.pixel_size_um, model, rescale=rescale, object_diameter_px=object_diameter_px)
    warnings = _compare_channels(name, metadata.channels, model["channels"])
    if not object_diameter_px:
        warnings += _compare_pixel_sizes(name, metadata.pixel_size_um, model, scale)
    if model.get("fingerprint"):
        fingerprint = parse_fingerprint(model)
        windows = sample_windows(
            path,
            order=order,
            ranges=choose_intensity_ranges(metadata, order, model),
            side_px=fingerprint["patch_size_px"],
            scale=scale,
            count=SAMPLED_WINDOWS,
            roi=roi,
            frames=frames,
        )
        warnings += _compare_content(name, windows, model["channels"], fingerprint)
    return warnings


def check_object_diameter(name: str, area_px: float | None, model: Mapping[str, Any], scale: float = 1.0) -> list[str]:
    """Return a warning if the objects found in an image are much smaller or larger than those of the training.

    Args:
        name: name of the image, for messages.
        area_px: median area of the objects, in pixels of the image, or None.
        model: content of model.json.
        scale: pixels of the network per pixel of the image.
    """
    if not area_px or not model.get("diameter_px"):
        return []
    diameter, expected = math.sqrt(4 * area_px / math.pi), model["diameter_px"] / scale
    if 1 / MAX_DIAMETER_RATIO <= diameter / expected <= MAX_DIAMETER_RATIO:
        return []
    return [
        f"{name}: the objects found are {diameter:.3g} px wide, but objects of the training would be {expected:.3g} px "
        f"wide here ({diameter / expected:.2g} times); check the objects, and set predict.object_diameter_px to the "
        "true diameter"
    ]


def _compare_channels(name: str, channels: Sequence[str], expected: Sequence[str]) -> list[str]:
    if set(channels) == set(expected) or all(channel.isdigit() for channel in [*channels, *expected]):
        return []
    return [
        f"{name}: its channels ({', '.join(channels)}) are matched by order to the model's channels "
        f"({', '.join(expected)}); check that they show the same"
    ]


def _compare_pixel_sizes(
    name: str, pixel_size_um: Sequence[float | None], model: Mapping[str, Any], scale: float
) -> list[str]:
    least, most = model.get("pixel_size_um_range") or [model.get("pixel_size_um")] * 2
    size = mean_pixel_size_um(pixel_size_um)
    smallest, largest = (model.get("scale") or {}).get("range", (1, 1))
    if not size and smallest < largest:
        return [
            f"{name}: its pixel size is unknown, and the training images were magnified {smallest:.3g} to "
            f"{largest:.3g} times; the image is magnified {scale:.3g} times; give pixel_size_um in the table, or "
            "predict.object_diameter_px"
        ]
    if scale != 1 or not size or not least:
        return []
    if least / NEGLIGIBLE <= size <= most * NEGLIGIBLE:
        return []
    trained = f"{least:.3g}" if least == most else f"{least:.3g} to {most:.3g}"
    return [
        f"{name}: its pixels are {size:.3g} µm wide, but those of the training {trained} µm; set predict.rescale to "
        "true to bring the image to the same pixel size"
    ]


def _compare_content(
    name: str, windows: Sequence[NDArray[np.float32]], channels: Sequence[str], fingerprint: Mapping[str, Any]
) -> list[str]:
    windows = [window for window in windows if has_contrast(window)]
    if not windows:
        return [f"{name}: is blank, all of its pixels are equal; remove it from the table, or replace the file"]
    warnings, least, greatest = [], fingerprint["least"], fingerprint["greatest"]
    levels = np.median([np.percentile(window, PERCENTILES, axis=(0, 1)) for window in windows], axis=0)
    excess = np.maximum(least - levels, levels - greatest)
    row, channel = np.unravel_index(excess.argmax(), excess.shape)
    if excess[row, channel] > INTENSITY_MARGIN:
        difference = "brighter" if levels[row, channel] > greatest[row, channel] else "darker"
        warnings.append(
            f"{name}: channel {channels[channel]} is {difference} than in the training images (percentile "
            f"{PERCENTILES[row]} is {levels[row, channel]:.2f}, in the training {least[row, channel]:.2f} to "
            f"{greatest[row, channel]:.2f} after normalization); if this is a different modality, add such images to "
            "the training set"
        )
    textures = np.array([texture_features(window) for window in windows])
    distances = texture_distances(textures, fingerprint["textures"], fingerprint["spread"])
    distance = float(np.median(distances.min(axis=1)))
    if distance > fingerprint["limit"]:
        warnings.append(
            f"{name}: its texture differs from the training images (distance {distance:.2f}, within the training up to "
            f"{fingerprint['limit']:.2f}); check modality, focus and noise, and add such images to the training set"
        )
    return warnings
