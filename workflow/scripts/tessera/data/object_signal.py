"""Signal of objects: how far they stand out from their surroundings, and from the noise.

`augment` measures the training images, and `evaluate` the objects found in an image, both at the scale of the network.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tessera.common.types import StrPath
from tessera.data.annotated_images import AnnotatedImage, grid_positions
from tessera.data.normalization import IntensityRanges, expand
from tessera.data.patch_reader import read_window
from tessera.data.window_sampling import choose_windows
from tessera.io.intensity_statistics import estimate_noise
from tessera.io.ome_zarr_store import open_array, read_block

WINDOW_PX, WINDOWS = 256, 8  # side and number of the windows of an image that are measured
MIN_OBJECT_PX, MIN_OBJECTS = 16, 4
SURROUNDINGS_PX = 6  # background within this distance of the box of an object is its surroundings
MIN_NOISE = 1e-3  # in units of the typical contrast, since images with few gray values show no noise
LEAST_PERCENTILE = 5  # of the training images
MAX_LOSS = 2.5  # signal below that of the weakest training images by this factor is a domain shift


def measure_objects(pixels: NDArray[np.float32], ids: NDArray[Any], *, is_compressed: bool) -> NDArray[np.float64]:
    """Measure the objects in a window.

    Args:
        pixels: normalized intensities (y, x, c).
        ids: ids of the objects (y, x), 0 is background.
        is_compressed: see `tessera.data.normalization.IntensityRanges`.

    Returns:
        For each object, in the channel where it stands out most: the ratio of signal to noise, and the contrast. The
        signal is the difference of the medians of the object and its surroundings; the noise is the standard deviation
        of the background; the contrast is the signal in normalized intensities: (objects, 2).
    """
    empty = ids == 0
    light = expand(pixels) if is_compressed else pixels
    noises = [max(estimate_noise([np.where(empty, plane, np.nan)]), MIN_NOISE) for plane in np.moveaxis(light, -1, 0)]
    measured = []
    for number, box in enumerate(ndimage.find_objects(ids.astype(np.int64)), start=1):
        if box is None:
            continue
        around = tuple(slice(max(side.start - SURROUNDINGS_PX, 0), side.stop + SURROUNDINGS_PX) for side in box)
        inside, outside = ids[around] == number, empty[around]
        if inside.sum() < MIN_OBJECT_PX or not outside.any():
            continue
        signals, contrasts = (
            np.abs(np.median(values[around][inside], axis=0) - np.median(values[around][outside], axis=0))
            for values in (light, pixels)
        )
        measured.append((float((signals / noises).max()), float(contrasts.max())))
    return np.array(measured, np.float64).reshape(-1, 2)


def summarize_signal(sources: Sequence[AnnotatedImage]) -> dict[str, float] | None:
    """Return the signal of the objects of the training images, for model.json.

    Args:
        sources: annotated images with their `ranges` and `scale`.

    Returns:
        {"snr", "contrast"}: of the images with the weakest signal, each the median over an image; None without objects.
    """
    medians = []
    for source in sources:
        found = []
        for place in grid_positions([source], WINDOW_PX, WINDOWS):
            pixels, ids, _ = read_window(*place, WINDOW_PX, WINDOW_PX)
            found.append(measure_objects(pixels, ids, is_compressed=source.intensity_ranges.is_compressed))
        objects = np.concatenate(found) if found else np.zeros((0, 2))
        if len(objects):
            medians.append(np.median(objects, axis=0))
    if not medians:
        return None
    snr, contrast = np.percentile(medians, LEAST_PERCENTILE, axis=0).tolist()
    return {"snr": float(f"{snr:.4g}"), "contrast": float(f"{contrast:.4g}")}


def measure_found_objects(
    path: StrPath,
    labels: StrPath,
    *,
    order: Sequence[int],
    ranges: IntensityRanges,
    scale: float,
    roi: tuple[int, int, int, int] | None = None,
    frames: str | None = None,
) -> NDArray[np.float64]:
    """Measure objects found in an image, in windows that are evenly spaced over it.

    Args:
        path: store of the image.
        labels: store of its labels.
        order, ranges, scale, roi, frames: see `tessera.data.window_sampling.sample_windows`.

    Returns:
        See `measure_objects`.
    """
    image, found, measured = open_array(path), open_array(labels), []
    for place in choose_windows(path, side_px=WINDOW_PX, scale=scale, count=WINDOWS, roi=roi, frames=frames):
        block = read_block(image, (place.t, slice(None), place.z, place.rows, place.columns))
        pixels = ranges.normalize(np.moveaxis(block, 0, -1)[..., order], place.t)
        pixels = cv2.resize(pixels, place.size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        ids = read_block(found, (place.t, 0, place.z, place.rows, place.columns))
        ids = np.unique(ids, return_inverse=True)[1].reshape(ids.shape) if (ids == 0).any() else ids * 0
        ids = cv2.resize(ids.astype(np.int32), place.size, interpolation=cv2.INTER_NEAREST_EXACT)
        pixels = pixels.reshape(*place.size[::-1], len(order))
        measured.append(measure_objects(pixels, ids, is_compressed=ranges.is_compressed))
    return np.concatenate(measured) if measured else np.zeros((0, 2))


def check_signal(name: str, objects: NDArray[np.float64], model: Mapping[str, Any]) -> list[str]:
    """Return warnings if the objects found in an image have much less signal than those of the training.

    Args:
        name: name of the image, for messages.
        objects: result of `measure_found_objects`.
        model: content of model.json.
    """
    expected: Iterable[tuple[str, Any]] = (model.get("signal") or {}).items()
    if len(objects) < MIN_OBJECTS:
        return []
    measured = dict(zip(("snr", "contrast"), np.median(objects, axis=0).tolist(), strict=True))
    advice = {
        "snr": ("ratio of signal to noise", "check the objects, expose longer, or annotate some of these frames"),
        "contrast": ("contrast", "check the objects, and annotate some images with this contrast"),
    }
    return [
        f"{name}: the objects found have a {advice[key][0]} of {measured[key]:.2g}, but those of the training at least "
        f"{least:.2g}; {advice[key][1]}"
        for key, least in expected
        if key in measured
        and isinstance(least, int | float)
        and math.isfinite(least)
        and measured[key] < least / MAX_LOSS
    ]
