"""Intensities as networks see them."""

import numpy as np

LOW, HIGH = -1.0, 3.0


def normalise(pixels, windows):
    """Map each channel's window to 0 to 1, and clip what lies far outside of it.

    Args:
        pixels: real numbers of shape (..., c).
        windows: (low, high) per channel, as in `lib.stores.Metadata.windows`.

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
    scaled = pixels.astype(wide) - np.where(usable, low, 0).astype(wide)
    scaled *= np.where(usable, 1 / np.where(usable, span, 1), 0).astype(wide)
    np.clip(scaled, LOW, HIGH, out=scaled)
    scaled[np.isnan(scaled)] = 0
    return scaled.astype(np.float32, copy=False)
