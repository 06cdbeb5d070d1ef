"""A simulated fluorescence microscope: blur, haze, uneven light, bleaching, stage drift and camera noise."""

import math

import numpy as np
from scipy import ndimage

CAMERA_OFFSET, CAMERA_GAIN, READ_NOISE = 100, 2.2, 4.0  # counts, counts per photon, counts
BLUR_PX = 1.1  # standard deviation of the point spread function


class Microscope:
    """Makes frames of uint16 from light: haze, blur, uneven and fading illumination, a drifting stage, a noisy camera.

    Args:
        rng: numpy Generator, the only source of chance.
        size_px: side of the frame.
        diameter_px: of a cell; haze is as wide.
        photons: per pixel, from light of 1 in the first frame.
    """

    def __init__(self, rng, *, size_px, diameter_px, photons):
        self.rng, self.photons = rng, photons
        self.haze_px = 0.5 * diameter_px
        self.margin = math.ceil(2 * diameter_px)
        self.drift = np.zeros(2)  # (y, x)
        self.fading = rng.uniform(0.008, 0.02)  # per frame
        grid = np.mgrid[:size_px, :size_px] / size_px - rng.uniform(0.25, 0.75, (2, 1, 1))
        self.illumination = 0.35 + 0.65 * np.exp(-(grid**2).sum(0) / 0.18)
        wide = size_px + 2 * self.margin
        debris = np.zeros((wide, wide), np.float32)
        debris[tuple(rng.integers(0, wide, (2, max(1, round((wide / diameter_px) ** 2 / 16)))))] = 1
        debris = ndimage.gaussian_filter(debris, 0.6 * diameter_px) * diameter_px**2
        self.debris = debris * 0.5

    def move_stage(self):
        """Go on by one frame: the stage creeps, and now and then jumps."""
        self.drift = 0.97 * self.drift + self.rng.normal(0, 3.0 if self.rng.random() < 0.08 else 0.6, 2)

    def expose(self, light, t):
        """Frame `t` (y, x) of `light`, which is `margin` wider on every side."""
        haze = 0.35 * ndimage.gaussian_filter(light, self.haze_px) + ndimage.shift(self.debris, -self.drift, order=1)
        inside = (slice(self.margin, -self.margin),) * 2
        sharp = ndimage.gaussian_filter(light, BLUR_PX)
        arriving = (sharp + haze)[inside] * self.illumination + 0.08
        lamp = np.exp(-self.fading * t) * self.rng.normal(1, 0.02)
        caught = self.rng.poisson(self.photons * lamp * np.maximum(arriving, 0))
        counts = CAMERA_OFFSET + CAMERA_GAIN * caught + self.rng.normal(0, READ_NOISE, caught.shape)
        return np.clip(np.round(counts), 0, 65535).astype(np.uint16)
