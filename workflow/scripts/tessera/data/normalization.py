"""Normalization of intensities: contrast limits become 0 and 1."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOW, HIGH = -1.0, 3.0  # normalized intensities are clipped to this range
# By the contrast limits of each image and channel.
PERCENTILE: dict[str, Any] = {"method": "percentile", "low": 1, "high": 99.8}


def check_normalization(normalization: Any, channels: int) -> None:
    """Check the entry `normalization` of a model.json of any origin, so that `choose_intensity_ranges` can use it.

    Args:
        normalization: value of the entry.
        channels: number of channels of the model.

    Raises:
        ValueError: it is neither PERCENTILE nor {"method": "fixed", "contrast_limits": [[low, high], ...]} with one
            pair for each channel.
    """
    if not isinstance(normalization, dict) or normalization.get("method") != "fixed":
        if not isinstance(normalization, dict) or PERCENTILE | normalization != PERCENTILE:
            raise ValueError(f"is {normalization}, but has to be {PERCENTILE} or fixed contrast limits")
        return
    limits = normalization.get("contrast_limits")
    try:
        ends = np.array(limits, np.float64)
    except (TypeError, ValueError):
        ends = np.empty(0)
    if (
        set(normalization) != {"method", "contrast_limits"}
        or ends.shape != (channels, 2)
        or not np.isfinite(ends).all()
    ):
        raise ValueError(f"has the contrast limits {limits}, but needs two numbers for each of {channels} channels")


def choose_intensity_ranges(
    contrast_limits: Sequence[tuple[float, float]], order: Sequence[int], model: Mapping[str, Any]
) -> list[tuple[float, float]]:
    """Return the intensities of an image that become 0 and 1 in each channel of a model.

    Args:
        contrast_limits: (low, high) of each channel of the image, see `tessera.io.ome_zarr_store.Metadata`.
        order: index of the image's channel for each channel of the model.
        model: content of model.json; without `normalization`, the method is PERCENTILE.

    Returns:
        [(low, high), ...] in the order of the model's channels, for `normalize`.
    """
    normalization = model.get("normalization") or PERCENTILE
    if normalization["method"] == "fixed":
        return [tuple(ends) for ends in normalization["contrast_limits"]]
    return [contrast_limits[channel] for channel in order]


def normalize(pixels: ArrayLike, contrast_limits: ArrayLike) -> NDArray[np.float32]:
    """Map the contrast limits of each channel to 0 and 1, and clip the result to the range from LOW to HIGH.

    Args:
        pixels: real numbers of shape (..., c).
        contrast_limits: (low, high) of each channel, see `tessera.io.ome_zarr_store.Metadata`.

    Returns:
        Normalized intensities of the same shape; 0 where a channel is constant or a pixel is not a number.

    Raises:
        ValueError: the number of contrast limits differs from the number of channels.
    """
    pixels = np.asarray(pixels)
    low, high = np.asarray(contrast_limits, np.float64).reshape(-1, 2).T
    if len(low) != pixels.shape[-1]:
        raise ValueError(f"{len(low)} contrast limits for {pixels.shape[-1]} channels")
    # float32 loses the last digits of 64-bit integers and of large offsets, so the offset is subtracted in float64.
    wide = np.float64 if pixels.dtype.itemsize > 2 and pixels.dtype != np.float32 else np.float32
    span = high - low
    usable = np.isfinite(span) & (span > 0)
    scaled: NDArray[Any] = pixels.astype(wide)
    scaled -= np.where(usable, low, 0).astype(wide)
    scaled *= np.where(usable, 1 / np.where(usable, span, 1), 0).astype(wide)
    np.clip(scaled, LOW, HIGH, out=scaled)
    if pixels.dtype.kind == "f":
        scaled[np.isnan(scaled)] = 0
    return scaled.astype(np.float32, copy=False)
