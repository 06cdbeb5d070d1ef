"""Texture features: statistics of the detail in an image, whatever it shows.

A texture is numbers of a window and channel: the share of its variance in five octaves of detail and the skewness of
each, whether detail lies where it is bright, and its contrast. Unlike intensities, textures tell apart fluorescence,
phase contrast and bright field, and focus and noise.
"""

import itertools
import math

import cv2
import numpy as np

BLURS_PX = (1, 2, 4, 8, 16)
PER_CHANNEL = 13


def texture_features(window):
    """The texture of a window (y, x, c), channel by channel: (PER_CHANNEL * c,)."""
    return np.concatenate([_describe_channel(np.ascontiguousarray(window[..., c])) for c in range(window.shape[-1])])


def _describe_channel(plane):
    blurred = [plane, *(cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in BLURS_PX)]
    octaves = [fine - coarse for fine, coarse in itertools.pairwise(blurred)]
    variance = max(float(plane.var()), 1e-6)
    shares = [math.log10(max(float(octave.var()) / variance, 1e-5)) for octave in octaves]
    skews = [
        math.tanh(float((octave * octave * octave).mean()) / max(float(octave.std()), 1e-4) ** 3 / 3)
        for octave in octaves
    ]
    bright = [_correlation(np.abs(octaves[number]), blurred[3]) for number in (0, 2)]
    return np.array([*shares, *skews, *bright, math.log10(variance) / 2])


def _correlation(some, others):
    """Pearson's, 0 where one of the two is constant."""
    some, others = some - some.mean(), others - others.mean()
    length = math.sqrt(float((some * some).sum()) * float((others * others).sum()))
    return float((some * others).sum()) / length if length > 1e-6 else 0.0


def texture_distances(some, others, spread):
    """Root mean square difference of textures (n, numbers) and (m, numbers), in units of `spread`: (n, m)."""
    return np.sqrt((((some[:, None] - others[None]) / spread) ** 2).mean(axis=-1))
