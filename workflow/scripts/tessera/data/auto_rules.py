"""Rules that choose settings from numbers that describe the images of a training, each with its reason.

The functions get numbers only, and return (choice, reason); a reason is a sentence without its full stop.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tessera.common.errors import InputError
from tessera.data.rescaling import LARGEST, NEGLIGIBLE

STEP_PX, MIN_PATCH_PX, MAX_PATCH_PX = 32, 96, 512
DEFAULT_PATCH_PX = 256
OBJECTS_PER_SIDE = 4  # large objects that fit side by side in a patch
LARGE_PERCENTILE = 95  # this percentile of the diameters is the diameter of large objects
MAX_LARGE_PX, SHRUNK_LARGE_PX = 128, 96  # large objects wider than the first are shrunk to the second
MIN_MEDIAN_PX = 20  # smaller objects consist of little more than their boundaries
MAX_DIAMETER_RATIO = 2.0  # between images; beyond it, images are rescaled to one diameter
MAX_LIMIT_DIFFERENCE = 0.1  # of contrast limits between images that share them, as a fraction of the contrast range
MIN_IMAGES_TO_SHARE = 5  # images whose contrast limits have to agree
DARK, LIGHT, COLORED = 0.2, 0.5, 0.08  # background and color spread, as fractions of the contrast range
MIN_MIXED_FRACTION = 0.05  # of images unlike the most frequent kind, from which the images count as mixed
FLUORESCENCE = "fluorescence"
SIGNAL_VARIATION = 0.5
AS_SET = "as set"


def choose_patch_size_px(
    setting: int | str, diameters_px: NDArray[np.float64] | Sequence[float], sides_px: Sequence[float]
) -> tuple[int, str]:
    """Choose the side of patches: a multiple of STEP_PX, large enough for large objects, no larger than most images.

    Args:
        setting: "auto", or the side.
        diameters_px: diameters of the objects at the scale of the network; empty if unknown.
        sides_px: the shorter side of each image at the scale of the network.
    """
    if not isinstance(setting, str):
        return setting, AS_SET
    side, reason = DEFAULT_PATCH_PX, f"{DEFAULT_PATCH_PX} px suit most images, and classes have no object sizes"
    if len(diameters_px):
        large = float(np.percentile(diameters_px, LARGE_PERCENTILE))
        side = min(max(_round_up(OBJECTS_PER_SIDE * large), MIN_PATCH_PX), MAX_PATCH_PX)
        reason = (
            f"{side / large:.1f} times the diameter of large objects, {large:.0f} px (percentile {LARGE_PERCENTILE})"
        )
    median = float(np.median(sides_px))
    if _round_up(median) < side:
        return (
            max(_round_up(median), MIN_PATCH_PX),
            f"the images' shorter side is {median:.0f} px (median); else {reason}",
        )
    return side, reason


def choose_rescaling(
    setting: str,
    names: Sequence[str],
    sizes_um: Sequence[float | None],
    diameters_px: Sequence[NDArray[np.float64]],
    *,
    target_pixel_size_um: float | None = None,
    target_diameter_px: float | None = None,
) -> tuple[tuple[str, list[float]], str]:
    """Choose how images are rescaled for the network.

    Without a target, images are rescaled to their median pixel size or median object diameter, which is at least
    MIN_MEDIAN_PX. If large objects would then be wider than MAX_LARGE_PX, they are shrunk to SHRUNK_LARGE_PX.

    Args:
        setting: "auto" | "none" | "pixel_size" | "object_diameter".
        names: names of the images, for messages.
        sizes_um: pixel size of each image, None if unknown.
        diameters_px: diameters of the objects of each image, in its own pixels.
        target_pixel_size_um: pixel size after rescaling, or None.
        target_diameter_px: object diameter after rescaling, or None.

    Returns:
        ((method, [pixels of the network per pixel of each image]), reason).

    Raises:
        InputError: pixel sizes or objects are missing, or the scale of an image is not from 1 / LARGEST to LARGEST.
    """
    medians = [float(np.median(diameters)) if len(diameters) else None for diameters in diameters_px]
    method, reason = _choose_method(sizes_um, medians, diameters_px) if setting == "auto" else (setting, AS_SET)
    if method == "none":
        return (method, [1.0] * len(names)), reason
    if method == "pixel_size":
        if unknown := [name for name, size in zip(names, sizes_um, strict=True) if not size]:
            raise InputError(
                f"augment.rescale_by: pixel_size needs to know the size of pixels, and {', '.join(unknown[:5])} "
                f"{'and others ' if len(unknown) > 5 else ''}do not say it; give pixel_size_um in the table"
            )
        sizes = np.array(sizes_um, np.float64)
        scales = sizes / (target_pixel_size_um or np.median(sizes))
    else:
        known_medians = [median for median in medians if median]
        if not known_medians:
            raise InputError(
                "augment.rescale_by: object_diameter needs objects to measure, but the ground truth has none; choose "
                "another value"
            )
        # An image without objects is taken for one with objects of the median diameter.
        target = target_diameter_px or max(np.median(known_medians), MIN_MEDIAN_PX)
        scales = target / np.array([median or np.median(known_medians) for median in medians])
    if (target_pixel_size_um or target_diameter_px) is None:
        scales = scales * _shrinkage(scales, diameters_px)
    for name, scale in zip(names, scales.tolist(), strict=True):
        if not 1 / LARGEST <= scale <= LARGEST:
            raise InputError(
                f"{name}: would be magnified {scale:.3g} times by augment.rescale_by: {method}, but only "
                f"{1 / LARGEST:g} to {LARGEST:g} is allowed; correct pixel_size_um in the table, the ground truth, or "
                "the setting"
            )
    factors = [1.0 if 1 / NEGLIGIBLE < scale < NEGLIGIBLE else round(scale, 4) for scale in scales.tolist()]
    return (method, factors), f"{reason}; images are magnified {min(factors):.3g} to {max(factors):.3g} times"


def _choose_method(
    sizes_um: Sequence[float | None],
    medians: Sequence[float | None],
    diameters_px: Sequence[NDArray[np.float64]],
) -> tuple[str, str]:
    known_sizes = [size for size in sizes_um if size]
    all_sizes_known = len(known_sizes) == len(sizes_um)
    if all_sizes_known and max(known_sizes) > NEGLIGIBLE * min(known_sizes):
        return "pixel_size", f"pixels are {min(known_sizes):.3g} to {max(known_sizes):.3g} µm wide"
    known_medians = [median for median in medians if median]
    large = float(np.percentile(np.concatenate(diameters_px), LARGE_PERCENTILE)) if known_medians else 0
    if large > MAX_LARGE_PX:
        return (
            "object_diameter",
            f"large objects are {large:.0f} px wide (percentile {LARGE_PERCENTILE}), too wide for the network's view",
        )
    if known_medians and max(known_medians) > MAX_DIAMETER_RATIO * min(known_medians):
        widths = f"objects are {min(known_medians):.0f} to {max(known_medians):.0f} px wide (medians of images)"
        if all_sizes_known:
            return "none", f"{widths} although pixel sizes agree, so the network learns all of these sizes"
        return "object_diameter", f"{widths}, and prediction estimates their size in new images"
    return "none", "pixels and objects have similar sizes in all images, as far as they are known"


def _shrinkage(scales: NDArray[np.float64], diameters_px: Sequence[NDArray[np.float64]]) -> float:
    """Return the factor that shrinks large objects, at these scales, to SHRUNK_LARGE_PX; 1 if they are small enough."""
    scaled = np.concatenate([scale * diameters for scale, diameters in zip(scales, diameters_px, strict=True)])
    large = float(np.percentile(scaled, LARGE_PERCENTILE)) if scaled.size else 0
    return SHRUNK_LARGE_PX / large if large > MAX_LARGE_PX else 1.0


def choose_normalization(
    setting: str, contrast_limits: ArrayLike, dtypes: Sequence[DTypeLike], preset: str | None = None
) -> tuple[tuple[str, list[list[float]]], str]:
    """Choose whether intensities are normalized by frame, by image, or by one pair of limits for all images.

    Args:
        setting: "auto" | "asinh" | "percentile" | "fixed".
        contrast_limits: (images, channels, 2), low and high.
        dtypes: data type of each image.
        preset: the preset of transforms, which tells the kind of microscopy; None: the user gave transforms.

    Returns:
        ((method, median contrast limits [[low, high], ...] of the channels), reason).
    """
    limits = np.asarray(contrast_limits, np.float64)
    medians = np.median(limits, axis=0)
    spans = np.maximum(medians[:, 1] - medians[:, 0], 1e-12)
    difference = float((np.abs(limits - medians) / spans[:, None]).max())
    measured = f"the contrast limits of {len(limits)} images differ by up to {difference:.0%} of their median"
    if setting != "auto":
        return (setting, medians.tolist()), AS_SET
    if any(np.dtype(dtype) != np.uint8 for dtype in dtypes):
        reason = "intensities of images with more than 8 bits depend on the exposure"
    elif len(limits) < MIN_IMAGES_TO_SHARE:
        reason = f"{len(limits)} images are too few to show that intensities agree"
    elif difference > MAX_LIMIT_DIFFERENCE:
        reason = f"{measured}, more than {MAX_LIMIT_DIFFERENCE:.0%}"
    else:
        return ("fixed", medians.tolist()), f"{measured}, no more than {MAX_LIMIT_DIFFERENCE:.0%}"
    if preset == FLUORESCENCE:
        return ("asinh", medians.tolist()), f"{reason}, and fluorescence has dim and bright objects"
    return ("percentile", medians.tolist()), reason


def choose_signal_variation(setting: float | str, preset: str | None) -> tuple[float, str]:
    """Choose the fraction of patches whose objects get another brightness.

    Args:
        setting: "auto", or the fraction.
        preset: the preset of transforms; None: the user gave transforms.
    """
    if not isinstance(setting, str):
        return setting, AS_SET
    if preset != FLUORESCENCE:
        return 0.0, f"the preset of transforms is not {FLUORESCENCE}"
    return SIGNAL_VARIATION, "new images may have dimmer objects and more noise than the training images"


def choose_preset(setting: str, colors: Sequence[tuple[float, float]]) -> tuple[str, str]:
    """Choose the preset of transforms that suits the images.

    Args:
        setting: "auto", or the name of a preset.
        colors: (background, spread) of each image, as fractions of its contrast range: the brightness of the
            background, and the difference between its three channels (0 if there are not three).
    """
    if setting != "auto":
        return setting, AS_SET
    kinds = Counter(_kind(background, spread) for background, spread in colors)
    preset, count = kinds.most_common(1)[0]
    listed = ", ".join(f"{number} like {kind}" for kind, number in kinds.most_common())
    if len(colors) - count >= max(1, MIN_MIXED_FRACTION * len(colors)) and len(kinds) > 1:
        return "mixed", f"images are of several kinds: {listed}"
    return preset, f"{listed}, by the background and colors of {len(colors)} images"


def _kind(background: float, spread: float) -> str:
    if background < DARK:
        return "fluorescence"
    return "histology" if background > LIGHT and spread > COLORED else "brightfield"


def _round_up(length_px: float) -> int:
    return -(-round(length_px) // STEP_PX) * STEP_PX
