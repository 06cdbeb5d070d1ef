"""Plans: what is set by itself from numbers that describe the images of a training, each with its reason.

Functions are of numbers alone, and answer (what is chosen, why, as a sentence without its full stop).
"""

from collections import Counter

import numpy as np

from tessera.common.errors import InputError
from tessera.data.rescaling import LARGEST, NEGLIGIBLE

STEP_PX, LEAST_PX, MOST_PX = 32, 96, 512
USUAL_PX = 256
HELD = 4  # large objects side by side in a patch
LARGE = 95  # percentile of diameters that stands for large objects
LARGE_PX, SHRUNK_PX = 128, 96  # large objects that are wider than the one are shrunk to the other
SMALL_PX = 20  # smaller objects are hardly more than their boundaries
WIDE = 2.0  # times that sizes of objects differ between images before they are brought to one
AGREE = 0.1  # of a window's span, by which its ends may differ between images that have one for all
AGREEING = 5  # images whose windows have to agree
DARK, LIGHT, COLOURED = 0.2, 0.5, 0.08  # background and spread of channels, as shares of the window
MIXED = 0.05  # share of the images of other kinds from which on a set is mixed
SET = "as set"


def choose_patch_size_px(wanted, diameters_px, sides_px):
    """Side of patches: a multiple of STEP_PX that holds HELD large objects, and no larger than most images.

    Args:
        wanted: "auto" or the side.
        diameters_px: of the objects, as the network sees them; empty where they are not known.
        sides_px: the shorter side of each image, as the network sees it.
    """
    if wanted != "auto":
        return wanted, SET
    side, why = USUAL_PX, f"{USUAL_PX} px suit most images, and classes do not tell how large objects are"
    if len(diameters_px):
        large = float(np.percentile(diameters_px, LARGE))
        side = min(max(_rounded(HELD * large), LEAST_PX), MOST_PX)
        why = f"{side / large:.1f} times the diameter of large objects, {large:.0f} px (percentile {LARGE})"
    middle = float(np.median(sides_px))
    if _rounded(middle) < side:
        return max(_rounded(middle), LEAST_PX), f"the images' shorter side is {middle:.0f} px (median); else {why}"
    return side, why


def choose_rescaling(wanted, names, sizes_um, diameters_px, *, target_pixel_size_um=None, target_diameter_px=None):
    """How images are magnified for the network.

    Args:
        wanted: "auto" | "none" | "pixel_size" | "object_diameter".
        names: of the images, for messages.
        sizes_um: of each image's pixels, None where it is not known.
        diameters_px: of the objects in each image, an array each, in its own pixels.
        target_pixel_size_um, target_diameter_px: what pixels or objects are brought to; None: the median of the images', of objects
            SMALL_PX at least, or where large objects would be wider than LARGE_PX, what makes them SHRUNK_PX wide.

    Returns:
        ((method, [pixels of the network per pixel of each image]), why).

    Raises:
        InputError: sizes of pixels or objects are lacking, or an image would be magnified beyond LARGEST.
    """
    medians = [float(np.median(one)) if len(one) else None for one in diameters_px]
    method, why = _choose_method(sizes_um, medians, diameters_px) if wanted == "auto" else (wanted, SET)
    if method == "none":
        return (method, [1.0] * len(names)), why
    if method == "pixel_size":
        if unknown := [name for name, size in zip(names, sizes_um, strict=True) if not size]:
            raise InputError(
                f"augment.rescale_by: pixel_size needs to know the size of pixels, and {', '.join(unknown[:5])} "
                f"{'and others ' if len(unknown) > 5 else ''}do not say it; give pixel_size_um in the table"
            )
        sizes = np.array(sizes_um, np.float64)
        factors = sizes / (target_pixel_size_um or np.median(sizes))
    else:
        known = [median for median in medians if median]
        if not known:
            raise InputError(
                "augment.rescale_by: object_diameter needs objects to measure, and the truth has none; give another"
            )
        # An image without objects is taken for one like most.
        wanted_px = target_diameter_px or max(np.median(known), SMALL_PX)
        factors = wanted_px / np.array([median or np.median(known) for median in medians])
    if (target_pixel_size_um or target_diameter_px) is None:
        factors = factors * _shrinkage(factors, diameters_px)
    for name, factor in zip(names, factors.tolist(), strict=True):
        if not 1 / LARGEST <= factor <= LARGEST:
            raise InputError(
                f"{name}: would be magnified {factor:.3g} times by augment.rescale_by: {method}, and {1 / LARGEST:g} to "
                f"{LARGEST:g} is allowed; correct pixel_size_um in the table, its truth, or the setting"
            )
    factors = [1.0 if 1 / NEGLIGIBLE < factor < NEGLIGIBLE else round(factor, 4) for factor in factors.tolist()]
    return (method, factors), f"{why}; images are magnified {min(factors):.3g} to {max(factors):.3g} times"


def _choose_method(sizes_um, medians, diameters_px):
    if all(sizes_um) and max(sizes_um) > NEGLIGIBLE * min(sizes_um):
        return "pixel_size", f"pixels are {min(sizes_um):.3g} to {max(sizes_um):.3g} µm wide"
    large = float(np.percentile(np.concatenate(diameters_px), LARGE)) if any(medians) else 0
    if large > LARGE_PX:
        return (
            "object_diameter",
            f"large objects are {large:.0f} px wide (percentile {LARGE}), too wide to be seen whole",
        )
    known = [median for median in medians if median]
    if known and max(known) > WIDE * min(known):
        told = f"objects are {min(known):.0f} to {max(known):.0f} px wide (medians of images)"
        if all(sizes_um):
            return "none", f"{told} where pixels are of one size, so that all of these sizes are learnt"
        return "object_diameter", f"{told}, and their size is found in new images"
    return "none", "pixels and objects are of much the same size in all images, as far as that is known"


def _shrinkage(factors, diameters_px):
    """What brings large objects, in images magnified by `factors`, to SHRUNK_PX where they are wider than LARGE_PX."""
    seen = np.concatenate([factor * one for factor, one in zip(factors, diameters_px, strict=True)])
    large = float(np.percentile(seen, LARGE)) if seen.size else 0
    return SHRUNK_PX / large if large > LARGE_PX else 1.0


def choose_normalization(wanted, windows, dtypes):
    """What is 0 and 1 for the network: by each image's own window, or by one for all.

    Args:
        wanted: "auto" | "percentile" | "fixed".
        windows: (images, channels, 2), the low and high end of each.
        dtypes: of the images.

    Returns:
        ((method, median windows [[low, high], ...]), why).
    """
    windows = np.asarray(windows, np.float64)
    middle = np.median(windows, axis=0)
    spans = np.maximum(middle[:, 1] - middle[:, 0], 1e-12)
    apart = float((np.abs(windows - middle) / spans[:, None]).max())
    found = f"the windows of {len(windows)} images differ by up to {apart:.0%} of their median"
    if wanted != "auto":
        return (wanted, middle.tolist()), SET
    if any(np.dtype(dtype) != np.uint8 for dtype in dtypes):
        return ("percentile", middle.tolist()), "intensities of images that are not of 8 bits depend on the exposure"
    if len(windows) < AGREEING:
        return ("percentile", middle.tolist()), f"{len(windows)} images are too few to say that intensities are alike"
    if apart > AGREE:
        return ("percentile", middle.tolist()), f"{found}, more than {AGREE:.0%}"
    return ("fixed", middle.tolist()), f"{found}, no more than {AGREE:.0%}"


def choose_preset(wanted, looks):
    """Which preset of transforms suits images.

    Args:
        wanted: "auto" or the name of a preset.
        looks: (background, spread) of each image, as shares of its window: how bright it is where no object is, and how
            far its three channels are apart (0 where there are not three).
    """
    if wanted != "auto":
        return wanted, SET
    kinds = Counter(_kind(*look) for look in looks)
    preset, count = kinds.most_common(1)[0]
    told = ", ".join(f"{number} like {kind}" for kind, number in kinds.most_common())
    if len(looks) - count >= max(1, MIXED * len(looks)) and len(kinds) > 1:
        return "mixed", f"images are of several kinds: {told}"
    return preset, f"{told}, by the background and colours of {len(looks)} images"


def _kind(background, spread):
    if background < DARK:
        return "fluorescence"
    return "histology" if background > LIGHT and spread > COLOURED else "brightfield"


def _rounded(length_px):
    return -(-round(length_px) // STEP_PX) * STEP_PX
