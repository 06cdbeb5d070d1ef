"""Intensities as networks see them."""

import numpy as np

LOW, HIGH = -1.0, 3.0
PERCENTILE = {"method": "percentile", "low": 1, "high": 99.8}  # each image and channel by its own window


def check_normalization(normalization, channels):
    """Refuse what `choose_intensity_ranges` would misread.

    Args:
        normalization: of a model.json, from anywhere.
        channels: number of channels of the model.

    Raises:
        ValueError: it is neither PERCENTILE nor {"method": "fixed", "contrast_limits": [[low, high], ...]}, one per channel.
    """
    if not isinstance(normalization, dict) or normalization.get("method") != "fixed":
        if not isinstance(normalization, dict) or PERCENTILE | normalization != PERCENTILE:
            raise ValueError(f"is {normalization}, and images are normalized by {PERCENTILE} or by fixed windows")
        return
    windows = normalization.get("contrast_limits")
    try:
        ends = np.array(windows, np.float64)
    except (TypeError, ValueError):
        ends = np.empty(0)
    if (
        set(normalization) != {"method", "contrast_limits"}
        or ends.shape != (channels, 2)
        or not np.isfinite(ends).all()
    ):
        raise ValueError(f"has the windows {windows}, and has to have two numbers for each of {channels} channels")


def choose_intensity_ranges(windows, order, settings):
    """What is 0 and what is 1 in each of a model's channels, of one image.

    Args:
        windows: (low, high) of each channel of the image, as in `tessera.io.ome_zarr_store.Metadata.contrast_limits`.
        order: which of the image's channels is each of the model's.
        settings: content of model.json; without `normalization` it is PERCENTILE.

    Returns:
        [(low, high), ...] in the order of the model's channels, for `normalize`.
    """
    normalization = settings.get("normalization") or PERCENTILE
    if normalization["method"] == "fixed":
        return [tuple(ends) for ends in normalization["contrast_limits"]]
    return [windows[channel] for channel in order]


def normalize(pixels, windows):
    """Map each channel's window to 0 to 1, and clip what lies far outside of it.

    Args:
        pixels: real numbers of shape (..., c).
        windows: (low, high) per channel, as in `tessera.io.ome_zarr_store.Metadata.contrast_limits`.

    Returns:
        float32 of the same shape, from -1 to 3; 0 where a channel is constant or a pixel is not a number.

    Raises:
        ValueError: the number of windows is not that of channels.
    """
    pixels = np.asarray(pixels)
    low, high = np.asarray(windows, np.float64).reshape(-1, 2).T
    if len(low) != pixels.shape[-1]:
        raise ValueError(f"{len(low)} windows for {pixels.shape[-1]} channels")
    # 64-bit integers and tall offsets lose their last digits in float32, so the offset goes first.
    wide = np.float64 if pixels.dtype.itemsize > 2 and pixels.dtype != np.float32 else np.float32
    span = high - low
    usable = np.isfinite(span) & (span > 0)
    scaled = pixels.astype(wide)
    scaled -= np.where(usable, low, 0).astype(wide)
    scaled *= np.where(usable, 1 / np.where(usable, span, 1), 0).astype(wide)
    np.clip(scaled, LOW, HIGH, out=scaled)
    if pixels.dtype.kind == "f":
        scaled[np.isnan(scaled)] = 0
    return scaled.astype(np.float32, copy=False)
