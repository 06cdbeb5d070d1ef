"""Rescaling: the magnification at which objects of an image have the size that a model was trained on."""

import math

from tessera.common.errors import InputError, SystemInputError

NEGLIGIBLE = 1.1
LARGEST = 16.0


def check_scale(scale):
    """Refuse what `choose_scale` would misread: the entry `scale` of a model.json, from anywhere; None is fine.

    Raises:
        ValueError: it is not {"method": text, "typical": number, "range": [number, number]}, within LARGEST.
    """
    if scale is None:
        return
    parts = scale if isinstance(scale, dict) else {}
    ends = parts.get("range") if isinstance(parts.get("range"), list) else []
    numbers = [parts.get("typical"), *ends]
    fit = [type(number) in (int, float) and 1 / LARGEST <= number <= LARGEST for number in numbers]
    if len(fit) != 3 or not all(fit) or not isinstance(parts.get("method"), str):
        raise ValueError(f"is {scale}, and has to have a method, and a typical and two numbers as range")


def mean_pixel_size_um(pixel_size_um):
    """Side of a pixel, the geometric mean of y and x, None where either of `pixel_size_um` (z, y, x) is unknown."""
    return math.sqrt(pixel_size_um[1] * pixel_size_um[2]) if all(pixel_size_um[1:]) else None


def choose_scale(name, pixel_size_um, settings, *, rescale=True, object_diameter_px=None):
    """Pixels of the network per pixel of the image, along y and x.

    A diameter of objects that the user gives says most; else pixel sizes do where both are known and the image's lies
    outside of those that the model was trained on. Where they are not, an image is magnified as the middle one of the
    training images was.

    Args:
        name: of the image, for messages.
        pixel_size_um: of the image, (z, y, x) in micrometres, None where unknown.
        settings: content of model.json.
        rescale: False: images are taken as they are.
        object_diameter_px: diameter of the objects in this image, in pixels, or None.

    Raises:
        SystemInputError: the diameter of the model's objects is not known.
        InputError: the scale is beyond LARGEST.
    """
    if not rescale:
        return 1.0
    if object_diameter_px:
        if not settings.get("diameter_px"):
            raise SystemInputError(
                "predict.object_diameter_px: the model does not say how large the objects were that it was trained on "
                "(diameter_px in its model.json); set predict.object_diameter_px to null"
            )
        scale = settings["diameter_px"] / object_diameter_px
    else:
        size = mean_pixel_size_um(pixel_size_um)
        least, most = settings.get("pixel_size_um_range") or [settings.get("pixel_size_um")] * 2
        if not size or not least:
            return (settings.get("scale") or {}).get("typical", 1.0)
        wanted = settings.get("pixel_size_um") or math.sqrt(least * most)
        scale = 1.0 if least / NEGLIGIBLE <= size <= most * NEGLIGIBLE else size / wanted
    if not 1 / LARGEST <= scale <= LARGEST:
        raise InputError(
            f"{name}: would be magnified {scale:.3g} times to suit the model, and {1 / LARGEST:g} to {LARGEST:g} is "
            "allowed; correct pixel_size_um in the table or predict.object_diameter_px, or set predict.rescale to false"
        )
    return 1.0 if 1 / NEGLIGIBLE < scale < NEGLIGIBLE else scale
