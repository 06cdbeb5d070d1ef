"""Random variation of the signal of training patches: brightness of single objects, noise, and exposure.

Training images rarely show a dim cell beside a bright one, few photons, or a lamp that fades. These variations make
networks find objects with a tenth of the usual contrast, and beside objects that are ten times as bright.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from tessera.data.normalization import HIGH, HIGH_COMPRESSED, LOW, LOW_COMPRESSED, compress, expand

MAX_OBJECT_GAIN = 10.0  # brightness of an object changes by at most this factor
MIN_SPREAD, MAX_SPREAD = 0.2, 1.2  # standard deviation of the logarithm of the gains of objects, drawn for each patch
HALO_PX = 3.0  # light around an object has its gain; beyond this distance, the gain returns to 1
EDGE_PX = 1.0  # blur of the gains, so that they have no sharp edge
MIN_PHOTONS, MAX_PHOTONS = 2.0, 300.0  # for a pixel of typical contrast
MAX_DARK_SIGNAL = 0.3  # light without objects, as a fraction of the typical contrast
MAX_READ_NOISE = 2.0  # photons
EXPOSURE_SPREAD, MAX_EXPOSURE = 0.5, 3.3  # standard deviation of the logarithm of the exposure, and its largest factor
DARK_PERCENTILE = 5


def vary_signal(
    pixels: NDArray[np.float32],
    ids: NDArray[np.int32] | None,
    rng: np.random.Generator,
    *,
    fraction: float,
    is_compressed: bool,
) -> NDArray[np.float32]:
    """Vary the brightness of single objects, add noise of few photons, and change the exposure.

    Args:
        pixels: normalized intensities (y, x, c).
        ids: ids of the objects (y, x), 0 is background; None: the ground truth has no objects.
        rng: the only source of randomness.
        fraction: probability of each of the variations.
        is_compressed: see `tessera.data.normalization.IntensityRanges`.

    Returns:
        Normalized intensities (y, x, c).
    """
    light = expand(pixels) if is_compressed else pixels.copy()
    if rng.random() < fraction and ids is not None and ids.any():
        empty = ids == 0
        background = np.median(light[empty] if empty.any() else light.reshape(-1, light.shape[-1]), axis=0)
        gains = _object_gains(ids, rng)[..., None]
        light = (background + (light - background) * gains).astype(np.float32)
    if rng.random() < fraction:
        light = light + _noise(light, rng)
    if rng.random() < fraction:
        light = light * np.float32(_gain(rng, EXPOSURE_SPREAD, MAX_EXPOSURE))
    varied = compress(light.astype(np.float32)) if is_compressed else light.astype(np.float32)
    return np.clip(varied, *((LOW_COMPRESSED, HIGH_COMPRESSED) if is_compressed else (LOW, HIGH)))


def _object_gains(ids: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a factor for each pixel (y, x): that of its object, which fades to 1 around the object."""
    present, inverse = np.unique(ids, return_inverse=True)
    spread = rng.uniform(MIN_SPREAD, MAX_SPREAD)
    logs = np.clip(rng.normal(0, spread, len(present)), -math.log(MAX_OBJECT_GAIN), math.log(MAX_OBJECT_GAIN))
    logs[rng.random(len(present)) < rng.random()] = 0  # some patches have a few unusual objects, others many
    logs[present == 0] = 0
    by_pixel = logs[inverse].reshape(ids.shape)
    empty = (ids == 0).astype(np.uint8)
    distances, nearest = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(int(nearest.max()) + 1)
    objects = empty == 0
    of_label[nearest[objects]] = by_pixel[objects]
    fading = of_label[nearest] * np.exp(-distances / HALO_PX)
    return cv2.GaussianBlur(np.exp(fading).astype(np.float32), (0, 0), EDGE_PX)


def _noise(light: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return shot noise and read noise (y, x, c) for a random number of photons, in units of the typical contrast."""
    photons = math.exp(rng.uniform(math.log(MIN_PHOTONS), math.log(MAX_PHOTONS)))
    read_noise = rng.uniform(0, MAX_READ_NOISE) / photons
    dark = np.percentile(light, DARK_PERCENTILE, axis=(0, 1))
    arriving = np.maximum(light - dark, 0) + rng.uniform(0, MAX_DARK_SIGNAL)
    noise = rng.normal(size=light.shape) * np.sqrt(arriving / photons + read_noise**2)
    return noise.astype(np.float32)


def _gain(rng: np.random.Generator, spread: float, most: float) -> float:
    return math.exp(min(max(rng.normal(0, spread), -math.log(most)), math.log(most)))
