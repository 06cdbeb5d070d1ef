"""Estimation of the diameter of objects in an image, for a network that knows objects of one size.

The texture of an image gives a first estimate: at one of several magnifications it is most similar to the training
patches (`tessera.data.texture_features`). At that magnification the network predicts a few windows, and the objects in
them refine the estimate.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import INSTANCE_OUTPUTS
from tessera.common.types import Roi
from tessera.data.dataset_fingerprint import has_contrast, parse_fingerprint
from tessera.data.texture_features import texture_distances, texture_features
from tessera.data.window_sampling import MIN_WINDOW_PX, sample_windows
from tessera.inference.ensemble import Ensemble
from tessera.inference.tile_predictor import NetworkView
from tessera.segmentation.seeded_growth import segment_plane
from tessera.settings.sections import SegmentSettings

OCTAVES = 3.0  # magnifications are tried from 2**-3 to 2**3
STEPS = (0.5, 0.25)  # octaves between magnifications, first in the whole range and then around the best one
MAX_WINDOW_PX = 4096  # largest size of a window in the image, which is held in memory
N_TEXTURE_WINDOWS, N_NEAREST = 6, 3  # windows whose textures are compared, each with its nearest training textures
N_PREDICTED_WINDOWS, PREDICTED_WINDOW_PX = 4, 256
ROUNDS = 2
MAX_CORRECTION = 2.0  # largest factor by which predicted objects change the magnification
MIN_OBJECTS = 4  # objects that a correction needs
MAX_RELATIVE_DISTANCE = 2.0  # an image farther away, in distances of training windows, is unlike all of them
CLEARLY_NEARER = 2.0  # an image unlike the training at its own scale must be nearer by this factor at another one
MIN_SCALE_CHANGE = 1.4  # smaller changes are not made for a network that knows several sizes
SEGMENT_SETTINGS = SegmentSettings(seed_threshold=0.5)


@dataclass(frozen=True)
class _Sampler:
    """Windows of an image as the network would see them.

    Attributes:
        path: store of the image.
        view: channels and intensity ranges of the network.
        roi, frames: see `tessera.data.window_sampling.sample_windows`.
    """

    path: Path
    view: NetworkView
    roi: Roi | None
    frames: str | None

    def sample(self, *, side_px: int, scale: float, count: int) -> list[NDArray[np.float32]]:
        """Windows (y, x, c), at most `count`, normalized and magnified by `scale`."""
        return sample_windows(
            self.path, order=self.view.order, ranges=self.view.ranges,
            side_px=side_px, scale=scale, count=count, roi=self.roi, frames=self.frames,
        )  # fmt: skip


def estimate_diameter(
    path: Path,
    ensemble: Ensemble,
    view: NetworkView,
    *,
    roi: Roi | None = None,
    frames: str | None = None,
) -> float | None:
    """Estimate the diameter of the objects in an image, in its pixels.

    Args:
        path: store of the image.
        ensemble: the networks.
        view: how the network sees the image unless the diameter is known.
        roi: (y0, y1, x0, x1), the region of interest; None: the whole image.
        frames: see `tessera.io.region_of_interest.select_frames`.

    Returns:
        None if there is no estimate, or if the network knows several sizes and the image fits as it is.

    Raises:
        InputError: the model's fingerprint is damaged.
    """
    settings = ensemble.settings
    if not (settings.get("diameter_px") and settings.get("fingerprint")) or settings["outputs"] != INSTANCE_OUTPUTS:
        return None
    fingerprint = parse_fingerprint(settings)
    knows_one_size = (settings.get("scale") or {}).get("method") == "object_diameter"
    sampler = _Sampler(path, view, roi, frames)
    scale = _first_scale(sampler, fingerprint, knows_one_size)
    if scale is None:
        return None
    for _ in range(ROUNDS):
        windows = sampler.sample(side_px=PREDICTED_WINDOW_PX, scale=scale, count=N_PREDICTED_WINDOWS)
        diameters = np.concatenate([_measure_diameters(window, ensemble) for window in windows])
        if len(diameters) < MIN_OBJECTS:
            break
        correction = settings["diameter_px"] / np.median(diameters)
        scale *= float(np.clip(correction, 1 / MAX_CORRECTION, MAX_CORRECTION))
    return settings["diameter_px"] / float(np.clip(scale, 2**-OCTAVES, 2**OCTAVES))


def _first_scale(sampler: _Sampler, fingerprint: dict[str, Any], knows_one_size: bool) -> float | None:
    """Return the magnification at which the network predicts first; None: the image is left as it is."""
    usual = sampler.view.scale
    usual_distance = math.inf if knows_one_size else _texture_distance(sampler, fingerprint, usual)
    if usual_distance <= fingerprint["limit"]:
        return None
    scale, distance = _most_similar_scale(sampler, fingerprint)
    if math.isinf(distance):
        return None
    if knows_one_size:
        # If the image is unlike the training at all magnifications, the usual one is as good as any other.
        return scale if distance <= MAX_RELATIVE_DISTANCE * fingerprint["limit"] else usual
    is_similar = distance <= max(fingerprint["limit"], usual_distance / CLEARLY_NEARER)
    return scale if is_similar and not 1 / MIN_SCALE_CHANGE < scale / usual < MIN_SCALE_CHANGE else None


def _most_similar_scale(sampler: _Sampler, fingerprint: dict[str, Any]) -> tuple[float, float]:
    """Return the magnification at which the image is most similar to the training, and its distance then."""
    coarse, fine = STEPS
    octaves = np.arange(-OCTAVES, OCTAVES + coarse, coarse)
    distances = {octave: _texture_distance(sampler, fingerprint, 2**octave) for octave in octaves}
    best = min(distances, key=lambda octave: distances[octave])
    distances |= {octave: _texture_distance(sampler, fingerprint, 2**octave) for octave in (best - fine, best + fine)}
    best = min(distances, key=lambda octave: distances[octave])
    return float(2**best), distances[best]


def _texture_distance(sampler: _Sampler, fingerprint: dict[str, Any], scale: float) -> float:
    """Return the median distance of textures from the training; inf if windows are too small, too large or empty."""
    patch_px = fingerprint["patch_size_px"]
    if patch_px > scale * MAX_WINDOW_PX:
        return math.inf
    windows = sampler.sample(side_px=patch_px, scale=scale, count=N_TEXTURE_WINDOWS)
    min_px = max(patch_px // 2, MIN_WINDOW_PX + 1)  # the texture of a smaller window means little
    windows = [window for window in windows if has_contrast(window) and min(window.shape[:2]) >= min_px]
    if not windows:
        return math.inf
    textures = np.array([texture_features(window) for window in windows])
    distances = np.sort(texture_distances(textures, fingerprint["textures"], fingerprint["spread"]), axis=1)
    return float(np.median(distances[:, :N_NEAREST].mean(axis=1)))


def _measure_diameters(window: NDArray[np.float32], ensemble: Ensemble) -> NDArray[np.float64]:
    """Diameters (objects,) of the objects that the network finds in a window (y, x, c), without those at its border."""
    window = window[:PREDICTED_WINDOW_PX, :PREDICTED_WINDOW_PX]  # a large magnification is rounded up
    height, width = window.shape[:2]
    margins = ((0, PREDICTED_WINDOW_PX - height), (0, PREDICTED_WINDOW_PX - width), (0, 0))
    padded = np.pad(window, margins, mode="symmetric")
    probabilities = ensemble.predict(padded[None].astype(np.float32))[0][:, :height, :width]
    ids = segment_plane(probabilities, SEGMENT_SETTINGS)
    areas = np.bincount(ids.ravel())
    areas[np.concatenate([[0], ids[0], ids[-1], ids[:, 0], ids[:, -1]])] = 0
    return np.sqrt(4 / math.pi * areas[areas > 0])
