"""A simulated fluorescence microscope: blur, haze, uneven light, bleaching, stage drift and camera noise."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CAMERA_OFFSET, CAMERA_GAIN, READ_NOISE = 100, 2.2, 4.0  # counts, counts per photon, counts
BLUR_PX = 1.1  # standard deviation of the point spread function


class Microscope:
    """Turns light into uint16 frames, with haze, blur, uneven and fading light, a drifting stage and a noisy camera.

    Args:
        rng: the only source of randomness.
        size_px: side of the frame.
        diameter_px: diameter of a cell, which is also the width of the haze.
        photons: photons per pixel for light of 1 in the first frame.
    """

    def __init__(self, rng: np.random.Generator, *, size_px: int, diameter_px: float, photons: float) -> None:
        self.rng, self.photons = rng, photons
        self.haze_px = 0.5 * diameter_px
        self.margin = math.ceil(2 * diameter_px)
        self.drift = np.zeros(2)  # (y, x)
        self.fading = rng.uniform(0.008, 0.02)  # per frame
        grid = np.mgrid[:size_px, :size_px] / size_px - rng.uniform(0.25, 0.75, (2, 1, 1))
        self.illumination = 0.35 + 0.65 * np.exp(-(grid**2).sum(0) / 0.18)
        padded_px = size_px + 2 * self.margin
        debris = np.zeros((padded_px, padded_px), np.float32)
        count = max(1, round((padded_px / diameter_px) ** 2 / 16))
        debris[tuple(rng.integers(0, padded_px, (2, count)))] = 1
        debris = ndimage.gaussian_filter(debris, 0.6 * diameter_px) * diameter_px**2
        self.debris = debris * 0.5

    def move_stage(self) -> None:
        """Move the stage to the next frame: it drifts slowly, and sometimes jumps."""
        self.drift = 0.97 * self.drift + self.rng.normal(0, 3.0 if self.rng.random() < 0.08 else 0.6, 2)

    def expose(self, light: NDArray[np.floating[Any]], t: int) -> NDArray[np.uint16]:
        """Return frame `t` (y, x) of `light` (y, x), which is wider by `margin` on every side."""
        haze = 0.35 * ndimage.gaussian_filter(light, self.haze_px) + ndimage.shift(self.debris, -self.drift, order=1)
        inside = (slice(self.margin, -self.margin),) * 2
        in_focus = ndimage.gaussian_filter(light, BLUR_PX)
        arriving = (in_focus + haze)[inside] * self.illumination + 0.08
        lamp = np.exp(-self.fading * t) * self.rng.normal(1, 0.02)
        photons = self.rng.poisson(self.photons * lamp * np.maximum(arriving, 0))
        counts = CAMERA_OFFSET + CAMERA_GAIN * photons + self.rng.normal(0, READ_NOISE, photons.shape)
        return np.clip(np.round(counts), 0, 65535).astype(np.uint16)
