"""Normalization of intensities: a low and a high intensity of each channel become 0 and 1.

With the method `asinh`, they are the background and a typical bright part of each frame, and intensities beyond are
compressed like a logarithm. So dim objects beside very bright ones keep their contrast, and bleaching does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tessera.common.errors import InputError
from tessera.io.ome_zarr_store import Metadata

LOW, HIGH = -1.0, 3.0  # normalized intensities are clipped to this range
LOW_COMPRESSED, HIGH_COMPRESSED = -2.0, 4.0  # the same with compression: about -30 and 1000 typical contrasts
# Intensities are linear up to about a quarter of the typical contrast, and logarithmic beyond.
SOFTENING = 4.0
# By the contrast limits of each image and channel.
PERCENTILE: dict[str, Any] = {"method": "percentile", "low": 1, "high": 99.8}
# By the background and the typical contrast of each frame and channel.
ASINH: dict[str, Any] = {"method": "asinh", "softening": SOFTENING}


@dataclass(frozen=True)
class IntensityRanges:
    """The intensities that become 0 and 1, in each frame and channel.

    Attributes:
        limits: [[(low, high) of each channel] of each frame]; one frame holds for all frames.
        is_compressed: whether intensities are compressed like a logarithm.
    """

    limits: Sequence[Sequence[tuple[float, float]]]
    is_compressed: bool = False

    def normalize(self, pixels: ArrayLike, t: int) -> NDArray[np.float32]:
        """Return normalized intensities of pixels (..., c) of frame `t`, see `normalize`."""
        return normalize(pixels, self.limits[min(t, len(self.limits) - 1)], is_compressed=self.is_compressed)


def check_normalization(normalization: Any, channels: int) -> None:
    """Check the entry `normalization` of a model.json of any origin, so that `choose_intensity_ranges` can use it.

    Args:
        normalization: value of the entry.
        channels: number of channels of the model.

    Raises:
        ValueError: it is neither ASINH, nor PERCENTILE, nor {"method": "fixed", "contrast_limits": [[low, high], ...]}
            with one pair for each channel.
    """
    if isinstance(normalization, dict) and normalization.get("method") == "asinh":
        if ASINH | normalization != ASINH:
            raise ValueError(f"is {normalization}, but has to be {ASINH}")
        return
    if not isinstance(normalization, dict) or normalization.get("method") != "fixed":
        if not isinstance(normalization, dict) or PERCENTILE | normalization != PERCENTILE:
            raise ValueError(f"is {normalization}, but has to be {ASINH}, {PERCENTILE} or fixed contrast limits")
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


def choose_intensity_ranges(metadata: Metadata, order: Sequence[int], model: Mapping[str, Any]) -> IntensityRanges:
    """Return the intensities of an image that become 0 and 1 in each channel of a model.

    Args:
        metadata: of the image.
        order: index of the image's channel for each channel of the model.
        model: content of model.json, or its entry `normalization`; without it, the method is PERCENTILE.

    Raises:
        InputError: the store of the image lacks the ranges of its frames.
    """
    normalization = model.get("normalization") or PERCENTILE
    if normalization["method"] == "fixed":
        return IntensityRanges([[(low, high) for low, high in normalization["contrast_limits"]]])
    if normalization["method"] == "percentile":
        return IntensityRanges([[metadata.contrast_limits[channel] for channel in order]])
    if len(metadata.frame_ranges) != len(metadata.channels):
        raise InputError(
            "The store of an image lacks the intensity ranges of its frames, since an older version made it; remove "
            "the folder of its batch in results/images, so that it is made again"
        )
    by_channel = [metadata.frame_ranges[channel] for channel in order]
    return IntensityRanges([list(frame) for frame in zip(*by_channel, strict=True)], is_compressed=True)


def compress(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values compressed like a logarithm: asinh(SOFTENING x) / asinh(SOFTENING); 0 and 1 stay 0 and 1.

    Lupton, Gunn and Szalay 1999, https://doi.org/10.1086/301004
    """
    return np.arcsinh(values * np.float32(SOFTENING)) * np.float32(1 / np.arcsinh(SOFTENING))


def expand(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values that `compress` maps to `values`."""
    return np.sinh(values * np.float32(np.arcsinh(SOFTENING))) * np.float32(1 / SOFTENING)


def normalize(pixels: ArrayLike, contrast_limits: ArrayLike, *, is_compressed: bool = False) -> NDArray[np.float32]:
    """Map the contrast limits of each channel to 0 and 1, and clip the result.

    Args:
        pixels: real numbers of shape (..., c).
        contrast_limits: (low, high) of each channel, see `tessera.io.ome_zarr_store.Metadata`.
        is_compressed: apply `compress`, and clip from LOW_COMPRESSED to HIGH_COMPRESSED instead of LOW to HIGH.

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
    if is_compressed:
        scaled = compress(scaled.astype(np.float32, copy=False))
    np.clip(scaled, *((LOW_COMPRESSED, HIGH_COMPRESSED) if is_compressed else (LOW, HIGH)), out=scaled)
    if pixels.dtype.kind == "f":
        scaled[np.isnan(scaled)] = 0
    return scaled.astype(np.float32, copy=False)
