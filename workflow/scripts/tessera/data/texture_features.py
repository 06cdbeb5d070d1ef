"""Texture features: statistics of the detail in an image, independent of what it shows.

The features of a window are, for each channel: the fraction of its variance in five octaves of detail, the skewness of
each octave, the correlation of detail with brightness, and the contrast. Unlike intensities, textures distinguish
fluorescence, phase contrast and bright field, and different focus and noise.
"""

import itertools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

BLURS_PX = (1, 2, 4, 8, 16)  # standard deviations of the Gaussian filters between octaves
PER_CHANNEL = 13  # features


def texture_features(window: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the texture of a window (y, x, c), channel by channel: (PER_CHANNEL * c,)."""
    return np.concatenate([_describe_channel(np.ascontiguousarray(window[..., c])) for c in range(window.shape[-1])])


def _describe_channel(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    blurred = [plane, *(cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in BLURS_PX)]
    octaves = [fine - coarse for fine, coarse in itertools.pairwise(blurred)]
    variance = max(float(plane.var()), 1e-6)
    fractions = [math.log10(max(float(octave.var()) / variance, 1e-5)) for octave in octaves]
    skews = [
        math.tanh(float((octave * octave * octave).mean()) / max(float(octave.std()), 1e-4) ** 3 / 3)
        for octave in octaves
    ]
    correlations = [_correlation(np.abs(octaves[number]), blurred[3]) for number in (0, 2)]
    return np.array([*fractions, *skews, *correlations, math.log10(variance) / 2])


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the Pearson correlation of two planes; 0 if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    length = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / length if length > 1e-6 else 0.0


def texture_distances(
    some: NDArray[np.float64], others: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return root mean square differences of textures, in units of their spread.

    Args:
        some: textures (n, features).
        others: textures (m, features).
        spread: unit of each feature, (features,).

    Returns:
        Distances (n, m).
    """
    return np.sqrt((((some[:, None] - others[None]) / spread) ** 2).mean(axis=-1))
