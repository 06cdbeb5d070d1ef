"""Dataset fingerprint: a summary of the training patches, with which new images are compared."""

import numpy as np

from tessera.common.errors import InputError
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.data.texture_features import PER_CHANNEL, texture_distances, texture_features
from tessera.data.window_sampling import LEAST_PX

PERCENTILES = (25, 50, 75)
KEPT = 64  # windows of the training in a fingerprint
MOST_PX = 2048  # side of a window
_FLAT = 1e-3  # contrast, as a share of a channel's window, below which a window shows nothing


def compute_fingerprint(patches):
    """What is to be known of the patches that a network learns from.

    Args:
        patches: normalized pixels (n, y, x, c), an array in memory or a Zarr array.

    Returns:
        What JSON can hold: patch_size_px; the least and the greatest of the patches' PERCENTILES, (percentiles, c); textures
        of up to KEPT patches, (n, numbers); spread, the standard deviation of each number; limit, the distance
        (`tessera.data.texture_features.texture_distances`) that 95 % of the patches have to the nearest other, None for a single patch.
    """
    windows = [np.asarray(patches[number], np.float32) for number in evenly_spaced_indices(patches.shape[0], KEPT)]
    textures = np.round([texture_features(window) for window in windows], 3)
    levels = np.array([np.percentile(window, PERCENTILES, axis=(0, 1)) for window in windows])
    deviations = np.maximum(textures.std(axis=0), 0.03).round(3)
    apart = texture_distances(textures, textures, deviations)
    np.fill_diagonal(apart, np.inf)
    return {
        "patch_size_px": int(patches.shape[1]),
        "least": levels.min(axis=0).round(3).tolist(),
        "greatest": levels.max(axis=0).round(3).tolist(),
        "textures": textures.tolist(),
        "spread": deviations.tolist(),
        "limit": round(float(np.percentile(apart.min(axis=1), 95)), 3) if len(textures) > 1 else None,
    }


def parse_fingerprint(settings):
    """The fingerprint in model.json, its lists as arrays; it may come from outside, and sizes in it ask for memory.

    Raises:
        InputError: it is damaged.
    """
    channels = len(settings["channels"])
    numbers, levels = PER_CHANNEL * channels, (len(PERCENTILES), channels)
    try:
        mark = settings["fingerprint"]
        arrays = {key: np.array(mark[key], np.float64) for key in ("least", "greatest", "textures", "spread")}
        fits = arrays["least"].shape == arrays["greatest"].shape == levels and arrays["spread"].shape == (numbers,)
        fits &= arrays["textures"].shape[1:] == (numbers,) and 0 < len(arrays["textures"]) <= KEPT
        if not fits or not LEAST_PX <= mark["patch_size_px"] <= MOST_PX or not arrays["spread"].min() > 0:
            raise ValueError("sizes")
        return {"patch_size_px": int(mark["patch_size_px"]), "limit": float(mark["limit"] or np.inf)} | arrays
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The model's model.json: its fingerprint is damaged ({error}); set it to null, or train the model again"
        ) from error


def summarize_images(sources, counts):
    """Sizes of pixels and objects as the network sees them, None where unknown, and the share of each class.

    Args:
        sources: of `tessera.data.annotated_images`, after `measure_class_statistics`, with their `scale`.
        counts: pixels of each class.
    """
    diameters = np.concatenate([source.scale * source.diameters_px for source in sources])
    sizes = [size / source.scale for source in sources for size in source.metadata.pixel_size_um[1:] if size]
    return {
        "pixel_size_um": float(np.median(sizes)) if sizes else None,
        "pixel_size_um_range": [min(sizes), max(sizes)] if sizes else None,
        "diameter_px": float(np.median(diameters)) if diameters.size else None,
        "class_share": (counts / max(counts.sum(), 1)).tolist(),
    }


def has_contrast(window):
    """Whether the pixels (y, x, c) of a normalized window differ."""
    return np.ptp(window, axis=(0, 1)).max() > _FLAT
