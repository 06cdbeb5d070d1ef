"""Dataset fingerprint: a summary of the training patches, with which new images are compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.data.annotated_images import AnnotatedImage
from tessera.data.texture_features import PER_CHANNEL, texture_distances, texture_features
from tessera.data.window_sampling import MIN_WINDOW_PX

PERCENTILES = (25, 50, 75)
MAX_TEXTURES = 64  # training windows in a fingerprint
MAX_PATCH_PX = 2048
_MIN_CONTRAST = 1e-3  # range of normalized intensities below which a window is blank


def compute_fingerprint(patches: Any) -> dict[str, Any]:
    """Summarize the patches of a training.

    Args:
        patches: normalized pixels (n, y, x, c), a NumPy or Zarr array.

    Returns:
        Values that JSON can store:

        - patch_size_px: side of the patches.
        - least, greatest: extremes of the patches' PERCENTILES, (percentiles, c).
        - textures: textures of up to MAX_TEXTURES patches, (n, features).
        - spread: standard deviation of each feature, (features,).
        - limit: the distance (`tessera.data.texture_features.texture_distances`) to the nearest other patch that 95 %
          of the patches do not exceed; None for a single patch.
    """
    indices = evenly_spaced_indices(patches.shape[0], MAX_TEXTURES)
    windows = [np.asarray(patches[number], np.float32) for number in indices]
    textures = np.round([texture_features(window) for window in windows], 3)
    levels = np.array([np.percentile(window, PERCENTILES, axis=(0, 1)) for window in windows])
    deviations = np.maximum(textures.std(axis=0), 0.03).round(3)
    distances = texture_distances(textures, textures, deviations)
    np.fill_diagonal(distances, np.inf)
    return {
        "patch_size_px": int(patches.shape[1]),
        "least": levels.min(axis=0).round(3).tolist(),
        "greatest": levels.max(axis=0).round(3).tolist(),
        "textures": textures.tolist(),
        "spread": deviations.tolist(),
        "limit": round(float(np.percentile(distances.min(axis=1), 95)), 3) if len(textures) > 1 else None,
    }


def parse_fingerprint(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint of a model with its lists as arrays.

    A model.json may come from elsewhere, so the sizes in it are checked before memory is allocated.

    Args:
        model: content of model.json.

    Raises:
        InputError: the fingerprint is damaged.
    """
    channels = len(model["channels"])
    n_features, levels = PER_CHANNEL * channels, (len(PERCENTILES), channels)
    try:
        fingerprint = model["fingerprint"]
        arrays = {key: np.array(fingerprint[key], np.float64) for key in ("least", "greatest", "textures", "spread")}
        valid = arrays["least"].shape == arrays["greatest"].shape == levels and arrays["spread"].shape == (n_features,)
        valid &= arrays["textures"].shape[1:] == (n_features,) and 0 < len(arrays["textures"]) <= MAX_TEXTURES
        valid = valid and MIN_WINDOW_PX <= fingerprint["patch_size_px"] <= MAX_PATCH_PX
        if not valid or not arrays["spread"].min() > 0:
            raise ValueError("wrong sizes")
        return {
            "patch_size_px": int(fingerprint["patch_size_px"]),
            "limit": float(fingerprint["limit"] or np.inf),
        } | arrays
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The model's model.json: its fingerprint is damaged ({error}); set it to null, or train the model again"
        ) from error


def summarize_images(sources: Sequence[AnnotatedImage], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return pixel sizes and object diameters at the scale of the network, None if unknown, and class fractions.

    Args:
        sources: annotated images after `measure_class_statistics`, with their `scale`.
        counts: number of pixels of each class, (classes,).
    """
    diameters = np.concatenate([source.scale * source.diameters_px for source in sources])
    sizes = [size / source.scale for source in sources for size in source.metadata.pixel_size_um[1:] if size]
    return {
        "pixel_size_um": float(np.median(sizes)) if sizes else None,
        "pixel_size_um_range": [min(sizes), max(sizes)] if sizes else None,
        "diameter_px": float(np.median(diameters)) if diameters.size else None,
        "class_share": (counts / max(counts.sum(), 1)).tolist(),
    }


def has_contrast(window: NDArray[np.float32]) -> bool:
    """Return whether the pixels (y, x, c) of a normalized window differ."""
    return bool(np.ptp(window, axis=(0, 1)).max() > _MIN_CONTRAST)
