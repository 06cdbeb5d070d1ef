"""Configurations: what the images of a training have their patches, scale, intensities and transforms set to.

All images that learn or validate count alike, so that the folds of one training have the same.
"""

from dataclasses import replace

import numpy as np

from tessera.data.annotated_images import grid_positions
from tessera.data.augmentation_presets import preset_transforms
from tessera.data.auto_rules import choose_normalization, choose_patch_size_px, choose_preset, choose_rescaling
from tessera.data.normalization import PERCENTILE
from tessera.data.patch_reader import read_window
from tessera.data.rescaling import mean_pixel_size_um

LOOKED_AT, LOOK_PX = 4, 256  # windows of each image whose background and colours are measured


def resolve_auto_settings(
    sources, *, patch_size_px, normalization, rescale_by, target_pixel_size_um, target_diameter_px, preset, transforms
):
    """Settle the settings of section augment that may be `auto`, and give the sources their `scale` and `ranges`.

    Args:
        sources: of `tessera.data.annotated_images`, after `measure_class_statistics`, with their `order`.
        patch_size_px, normalization, rescale_by, target_pixel_size_um, target_diameter_px, preset, transforms: as in the configuration.

    Returns:
        (patch_size_px, transforms, {"normalization", "scale", "plan"} for model.json). A plan is a list of
        {"setting", "value", "reason"}.

    Raises:
        InputError: see `tessera.data.auto_rules.choose_rescaling`.
    """
    names = [source.image for source in sources]
    diameters = [source.diameters_px for source in sources]
    sizes = [mean_pixel_size_um(source.metadata.pixel_size_um) for source in sources]
    plan = {"target_pixel_size_um": target_pixel_size_um, "target_diameter_px": target_diameter_px}
    (method, factors), scale_reason = choose_rescaling(rescale_by, names, sizes, diameters, **plan)
    for source, factor in zip(sources, factors, strict=True):
        source.scale = factor
    scale = {"method": method, "typical": float(np.median(factors)), "range": [min(factors), max(factors)]}

    windows = [[source.metadata.contrast_limits[channel] for channel in source.order] for source in sources]
    (method, middle), window_reason = choose_normalization(
        normalization, windows, [one.pixels.dtype for one in sources]
    )
    normalization = PERCENTILE
    if method == "fixed":
        normalization = {"method": "fixed", "contrast_limits": middle}
        for source in sources:
            source.ranges = [tuple(ends) for ends in middle]

    seen = np.concatenate([source.scale * one for source, one in zip(sources, diameters, strict=True)])
    sides = [source.scale * min(source.pixels.shape[-2:]) for source in sources]
    patch_size_px, patch_reason = choose_patch_size_px(patch_size_px, seen, sides)

    reasons = {
        "patch_size_px": (patch_size_px, patch_reason),
        "normalization": (method, window_reason),
        "rescale_by": (scale["method"], scale_reason),
    }
    if transforms is None:
        looks = [measure_background_and_color(source) for source in sources] if preset == "auto" else []
        reasons["preset"] = preset, _ = choose_preset(preset, looks)
        transforms = preset_transforms(preset, len(windows[0]))
    told = [(f"augment.{name}", value, reason) for name, (value, reason) in reasons.items()]
    print("".join(f"{setting}: {value} ({reason})\n" for setting, value, reason in told), end="", flush=True)
    plan = [{"setting": setting, "value": value, "reason": f"{reason}."} for setting, value, reason in told]
    return patch_size_px, transforms, {"normalization": normalization, "scale": scale, "plan": plan}


def measure_background_and_color(source):
    """How bright the background of an image is, and how far its three channels are apart, as shares of its window.

    Background is where the truth has no object. The spread is that of the objects, and 0 of other than three channels.
    """
    windows = [source.metadata.contrast_limits[channel] for channel in source.order]
    colour = len(windows) == 3
    if colour:
        # Channels by windows of their own would all be grey.
        windows = [(min(low for low, _ in windows), max(high for _, high in windows))] * 3
    backgrounds, spreads = [], []
    for place in grid_positions([replace(source, ranges=windows)], LOOK_PX, LOOKED_AT):
        pixels, ids, inside = read_window(*place, LOOK_PX, LOOK_PX)
        pixels = np.clip(pixels, 0, 1)
        empty, full = inside & (ids == 0), inside & (ids != 0)
        backgrounds.append(np.median(pixels[empty] if empty.any() else pixels))
        spreads.append(np.ptp(pixels[full] if full.any() else pixels, axis=-1).mean() if colour else 0.0)
    return float(np.mean(backgrounds)), float(np.mean(spreads))
