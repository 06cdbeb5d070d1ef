"""Robust background and contrast of each frame of an image, for the normalization of intensities.

A frame is divided into cells of CELL_PX pixels. The contrast of a cell is the difference between its bright and its
dark parts. The contrast of the frame is that of a typical cell with more than noise, whatever the number of objects. So
hot pixels, debris, a bright fibre or a few very bright objects hardly change it, unlike a percentile of the pixels.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tessera.io.shards import ZarrArray

CELL_PX = 64
MEAN_PX = 4  # blocks of this side are averaged before contrasts are measured, which suppresses noise and hot pixels
PERCENTILES = (5, 98)  # dark and bright parts of a cell; a small object covers a few percent of a cell
# Cells count by this power of their contrast: a few objects outweigh background, but a fiber does not outweigh objects.
WEIGHT_POWER = 0.6
BACKGROUND_PERCENTILE = 5  # of the averaged blocks of a frame
SAMPLED_CHUNKS = 16  # per frame and channel
MIN_CONTRAST_TO_NOISE = 8.0  # contrast of a cell with objects, in standard deviations of the averaged blocks
MIN_PIXEL_CONTRAST_TO_NOISE = 2.0  # of a frame, in standard deviations of its pixels
MIN_STEPS = 2.0  # smallest contrast of integers
MAX_WINDOW_PX = 512  # side of the part of a chunk that is read
SAMPLED_DIFFERENCES = 2**16  # per chunk, for the noise
SMOOTHED_FRAMES = 5


def measure_intensity_ranges(array: ZarrArray, channel: int) -> NDArray[np.float64]:
    """Return the intensities of each frame that become 0 and 1: its background, and its background plus contrast.

    A running median over SMOOTHED_FRAMES frames suppresses outliers, but keeps bleaching and jumps of the exposure.

    Args:
        array: image (t, c, z, y, x).
        channel: index of the channel.

    Returns:
        (t, 2), low and high; equal where the frame is constant.
    """
    measured = np.array([measure_frame(_sample(array, t, channel)) for t in range(array.shape[0])])
    smooth = ndimage.median_filter(measured, size=(SMOOTHED_FRAMES, 1), mode="nearest")
    return np.stack([smooth[:, 0], smooth[:, 0] + smooth[:, 1]], axis=1)


def measure_frame(windows: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """Return (background, contrast) of a frame from windows (y, x) of it; (0, 0) without a finite pixel."""
    means, contrasts, differences, spacing = [], [], [], 0.0
    for window in windows:
        plane = _finite(np.asarray(window, np.float32 if window.dtype.itemsize < 4 else np.float64))
        if plane.size:
            means.append(_block_means(plane))
            contrasts.append(_cell_contrasts(means[-1]))
            differences.append(_diagonal_differences(plane))
            spacing = MIN_STEPS if window.dtype.kind in "iu" else 0.0
    if not means:
        return 0.0, 0.0
    all_means, all_contrasts = np.concatenate([mean.ravel() for mean in means]), np.concatenate(contrasts)
    background = float(np.percentile(all_means, BACKGROUND_PERCENTILE))
    noise = _noise_of_differences(np.concatenate(differences))
    found = all_contrasts[all_contrasts > MIN_CONTRAST_TO_NOISE * noise / MEAN_PX]
    typical = _weighted_median(found, found**WEIGHT_POWER) if found.size else 0.0
    if typical == 0 and noise == 0 and np.ptp(all_means) == 0:
        return background, 0.0
    return background, max(typical, MIN_PIXEL_CONTRAST_TO_NOISE * noise, spacing)


def estimate_noise(planes: Sequence[NDArray[Any]]) -> float:
    """Return the standard deviation of the noise of the pixels of planes (y, x); NaN pixels do not count.

    It follows from differences of diagonal neighbors. The median absolute deviation ignores edges of objects; Immerkær
    1996, https://doi.org/10.1006/cviu.1996.0060, uses similar differences.
    """
    return _noise_of_differences(np.concatenate([_diagonal_differences(plane) for plane in planes]))


def _sample(array: ZarrArray, t: int, channel: int) -> Iterator[NDArray[Any]]:
    """Yield windows (y, x) of a frame, the first MAX_WINDOW_PX of chunks: of all, or of SAMPLED_CHUNKS of them."""
    _, _, depth, height, width = array.shape
    rows, columns = array.chunks[-2:]
    corners = list(itertools.product(range(depth), range(0, height, rows), range(0, width, columns)))
    if len(corners) > SAMPLED_CHUNKS:
        drawn = np.random.default_rng(0).permutation(len(corners))[:SAMPLED_CHUNKS]
        corners = [corners[number] for number in sorted(drawn)]
    for z, y, x in corners:
        yield np.asarray(array[t, channel, z, y : y + min(rows, MAX_WINDOW_PX), x : x + min(columns, MAX_WINDOW_PX)])


def _finite(plane: NDArray[Any]) -> NDArray[Any]:
    """Return a plane whose pixels that are not finite have the median of the others."""
    finite = np.isfinite(plane)
    if finite.all():
        return plane
    return np.where(finite, plane, np.median(plane[finite])) if finite.any() else np.zeros((0, 0))


def _block_means(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Return the means of blocks of MEAN_PX x MEAN_PX pixels; single pixels of a plane smaller than a block."""
    rows, columns = (size // MEAN_PX for size in plane.shape)
    if not rows or not columns:
        return plane
    cropped = plane[: rows * MEAN_PX, : columns * MEAN_PX]
    blocks = cropped.reshape(rows, MEAN_PX, columns, MEAN_PX)
    means: NDArray[np.float64] = blocks.mean(axis=(1, 3), dtype=np.float64)
    return means


def _cell_contrasts(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the contrast of each cell of a plane of block means (y, x); cells are about CELL_PX wide."""
    side = CELL_PX // MEAN_PX
    if not means.size:
        return np.zeros(0)
    cells = [
        cell
        for band in np.array_split(means, max(1, round(means.shape[0] / side)), axis=0)
        for cell in np.array_split(band, max(1, round(means.shape[1] / side)), axis=1)
    ]
    return np.array([np.subtract(*np.percentile(cell, PERCENTILES[::-1])) for cell in cells])


def _diagonal_differences(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Return differences whose standard deviation is twice that of the noise, of at most SAMPLED_DIFFERENCES pixels."""
    values = (plane[1:, 1:] - plane[1:, :-1] - plane[:-1, 1:] + plane[:-1, :-1]).ravel()
    sampled: NDArray[np.float32] = values[:: 1 + values.size // SAMPLED_DIFFERENCES].astype(np.float32)
    return sampled


def _noise_of_differences(values: NDArray[np.float32]) -> float:
    values = values[~np.isnan(values)]
    return 1.4826 * float(np.median(np.abs(values))) / 2 if values.size else 0.0


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])
