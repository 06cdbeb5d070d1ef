"""Resolves the settings of section `augment` that are `auto`, and the scale and intensity ranges of the images.

All images that train or validate count equally, so that the folds of one training have the same settings.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tessera.data.annotated_images import AnnotatedImage, grid_positions
from tessera.data.augmentation_presets import preset_transforms
from tessera.data.auto_rules import (
    choose_normalization,
    choose_patch_size_px,
    choose_preset,
    choose_rescaling,
    choose_signal_variation,
)
from tessera.data.normalization import ASINH, PERCENTILE, IntensityRanges, choose_intensity_ranges
from tessera.data.patch_reader import read_window
from tessera.data.rescaling import mean_pixel_size_um
from tessera.settings.sections import AugmentSettings

SAMPLED, SAMPLED_PX = 4, 256  # number and side of the windows of an image whose background and color are measured
logger = logging.getLogger(__name__)


def resolve_auto_settings(
    images: Sequence[AnnotatedImage], settings: AugmentSettings
) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Resolve the settings that may be `auto`, and set `scale` and `ranges` of the images.

    Args:
        images: the images of a training, after `measure_class_statistics`, with their `order`.
        settings: section `augment`.

    Returns:
        (patch_size_px, transforms, {"normalization", "signal_variation", "scale", "plan"} for patches.json). "plan" is
        a list of {"setting", "value", "reason"}.

    Raises:
        InputError: see `tessera.data.auto_rules.choose_rescaling`.
    """
    names = [image.image for image in images]
    diameters = [image.diameters_px for image in images]
    sizes = [mean_pixel_size_um(image.metadata.pixel_size_um) for image in images]
    targets = {
        "target_pixel_size_um": settings.target_pixel_size_um,
        "target_diameter_px": settings.target_diameter_px,
    }
    (method, factors), scale_reason = choose_rescaling(settings.rescale_by, names, sizes, diameters, **targets)
    for image, factor in zip(images, factors, strict=True):
        image.scale = factor
    scale = {"method": method, "typical": float(np.median(factors)), "range": [min(factors), max(factors)]}

    channels = len(images[0].channel_indices)
    preset, preset_reason = None, ""
    if settings.transforms is None:
        colors = [measure_background_and_color(image) for image in images] if settings.preset == "auto" else []
        preset, preset_reason = choose_preset(settings.preset, colors)
        transforms = preset_transforms(preset, channels)
    else:
        transforms = [transform.model_dump(exclude_unset=True) for transform in settings.transforms]

    limits = [[image.metadata.contrast_limits[channel] for channel in image.channel_indices] for image in images]
    (normalization_method, median_limits), normalization_reason = choose_normalization(
        settings.normalization, limits, [image.pixels.dtype for image in images], preset
    )
    fixed = {"method": "fixed", "contrast_limits": median_limits}
    normalization = {"asinh": ASINH, "percentile": PERCENTILE, "fixed": fixed}[normalization_method]
    for image in images:
        image.ranges = choose_intensity_ranges(image.metadata, image.channel_indices, {"normalization": normalization})

    scaled_diameters = np.concatenate(
        [image.scale * diameters_px for image, diameters_px in zip(images, diameters, strict=True)]
    )
    sides = [image.scale * min(image.pixels.shape[-2:]) for image in images]
    patch_size_px, patch_reason = choose_patch_size_px(settings.patch_size_px, scaled_diameters, sides)

    reasons = {
        "patch_size_px": (patch_size_px, patch_reason),
        "normalization": (normalization_method, normalization_reason),
        "rescale_by": (method, scale_reason),
    }
    if preset:
        reasons["preset"] = preset, preset_reason
    signal_variation, _ = reasons["signal_variation"] = choose_signal_variation(settings.signal_variation, preset)
    plan = []
    for name, (value, reason) in reasons.items():
        logger.info("augment.%s: %s (%s)", name, value, reason)
        plan.append({"setting": f"augment.{name}", "value": value, "reason": f"{reason}."})
    return (
        patch_size_px,
        transforms,
        {
            "normalization": normalization,
            "signal_variation": signal_variation,
            "scale": scale,
            "plan": plan,
        },
    )


def measure_background_and_color(source: AnnotatedImage) -> tuple[float, float]:
    """Return the brightness of the background and the color spread of the objects, as fractions of the contrast range.

    Background is where the ground truth has no object. The spread is the mean difference between the largest and the
    smallest of three channels; it is 0 if there are not three channels.
    """
    windows = [source.metadata.contrast_limits[channel] for channel in source.channel_indices]
    has_color = len(windows) == 3
    if has_color:
        # With contrast limits of their own, all channels would be gray.
        windows = [(min(low for low, _ in windows), max(high for _, high in windows))] * 3
    backgrounds, spreads = [], []
    for place in grid_positions([replace(source, ranges=IntensityRanges([windows]))], SAMPLED_PX, SAMPLED):
        pixels, ids, inside = read_window(*place, SAMPLED_PX, SAMPLED_PX)
        pixels = np.clip(pixels, 0, 1)
        empty, full = inside & (ids == 0), inside & (ids != 0)
        backgrounds.append(np.median(pixels[empty] if empty.any() else pixels))
        spreads.append(np.ptp(pixels[full] if full.any() else pixels, axis=-1).mean() if has_color else 0.0)
    return float(np.mean(backgrounds)), float(np.mean(spreads))
