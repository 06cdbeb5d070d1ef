"""Rescaling: the scale at which objects of an image have the size that a model was trained on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tessera.common.errors import InputError, SystemInputError

NEGLIGIBLE = 1.1  # ratios of sizes up to this are treated as 1
LARGEST = 16.0  # largest scale, and the inverse of the smallest


def check_scale(scale: Any) -> None:
    """Check the entry `scale` of a model.json of any origin, so that `choose_scale` can use it; None is valid.

    Raises:
        ValueError: it is not {"method": text, "typical": number, "range": [number, number]}, within LARGEST.
    """
    if scale is None:
        return
    parts: dict[str, Any] = scale if isinstance(scale, dict) else {}
    ends: Any = parts.get("range")
    ends = ends if isinstance(ends, list) else []
    numbers = [parts.get("typical"), *ends]
    valid = [type(number) in (int, float) and 1 / LARGEST <= number <= LARGEST for number in numbers]
    if len(valid) != 3 or not all(valid) or not isinstance(parts.get("method"), str):
        raise ValueError(
            f"is {scale}, but needs a method, the number typical, and two numbers as range, from {1 / LARGEST:g} to "
            f"{LARGEST:g}"
        )


def mean_pixel_size_um(pixel_size_um: Sequence[float | None]) -> float | None:
    """Return the geometric mean of the pixel sizes along y and x, or None if one of them is unknown.

    Args:
        pixel_size_um: (z, y, x) in micrometers, None where unknown.
    """
    _, y, x = pixel_size_um
    return math.sqrt(y * x) if y and x else None


def choose_scale(
    name: str,
    pixel_size_um: Sequence[float | None],
    model: Mapping[str, Any],
    *,
    rescale: bool = True,
    object_diameter_px: float | None = None,
) -> float:
    """Return the pixels of the network per pixel of the image, along y and x.

    An object diameter that the user gives takes precedence. Otherwise the pixel sizes of image and model decide; the
    scale is 1 if the image's pixel size is in the range of the training images. If a pixel size is unknown, the scale
    is the median scale of the training images.

    Args:
        name: name of the image, for messages.
        pixel_size_um: voxel size of the image (z, y, x) in micrometers, None where unknown.
        model: content of model.json.
        rescale: False keeps the scale at 1.
        object_diameter_px: diameter of the objects in this image, in pixels, or None.

    Raises:
        SystemInputError: the object diameter of the model is unknown.
        InputError: the scale is not from 1 / LARGEST to LARGEST.
    """
    if not rescale:
        return 1.0
    if object_diameter_px:
        if not model.get("diameter_px"):
            raise SystemInputError(
                "predict.object_diameter_px: the model.json of the model lacks diameter_px, the size of the objects "
                "that it was trained on; set predict.object_diameter_px to null"
            )
        scale = model["diameter_px"] / object_diameter_px
    else:
        size = mean_pixel_size_um(pixel_size_um)
        least, most = model.get("pixel_size_um_range") or [model.get("pixel_size_um")] * 2
        if not size or not least:
            return (model.get("scale") or {}).get("typical", 1.0)
        wanted = model.get("pixel_size_um") or math.sqrt(least * most)
        scale = 1.0 if least / NEGLIGIBLE <= size <= most * NEGLIGIBLE else size / wanted
    if not 1 / LARGEST <= scale <= LARGEST:
        raise InputError(
            f"{name}: would be magnified {scale:.3g} times for the model, but only {1 / LARGEST:g} to {LARGEST:g} "
            "is allowed; correct pixel_size_um in the table or predict.object_diameter_px, or set predict.rescale to "
            "false"
        )
    return 1.0 if 1 / NEGLIGIBLE < scale < NEGLIGIBLE else scale
