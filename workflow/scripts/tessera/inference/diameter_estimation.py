"""Estimation of the diameter of objects, for a network that knows objects of one size.

Images of one microscope are estimated together, since one image may mislead. The texture of the images gives a first
estimate: at one of several magnifications it is most similar to the training patches
(`tessera.data.texture_features`). At that magnification the network predicts a few windows, and the objects in them
refine the estimate. If two magnifications are almost equally likely, the network tries both, and what it finds decides.
The diameter is rounded to steps of 10 %, so that a further image seldom changes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import INSTANCE_OUTPUTS, SIZE_DIVISOR
from tessera.common.types import Roi
from tessera.data.dataset_fingerprint import has_contrast, parse_fingerprint
from tessera.data.texture_features import texture_distances, texture_features
from tessera.data.window_sampling import MIN_WINDOW_PX, sample_windows
from tessera.inference.ensemble import Ensemble
from tessera.inference.network_view import NetworkView
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
ALMOST_AS_NEAR = 1.1  # a second magnification, whose distance is larger by up to this factor, is tried as well
OCTAVES_APART = 1.0  # between two magnifications that are tried
SAME_SCALE = 1.3  # two magnifications that the network corrects to within this factor are the same
EXPECTED_SIZE = 1.5  # objects of the expected size differ from it by up to this factor
STEP = 1.1  # between rounded diameters
CONTRADICTION = 2.0  # ratio of the objects found to the expected diameter that is strong evidence against it
MIN_CONTRADICTING = 8  # objects that strong evidence needs
SEGMENT_SETTINGS = SegmentSettings(seed_threshold=0.5)


@dataclass(frozen=True)
class SampledImage:
    """An image whose windows are looked at.

    Attributes:
        path: store of the image.
        view: how the network sees the image unless the diameter is known.
        roi: (y0, y1, x0, x1), the region of interest; None: the whole image.
        frames: see `tessera.io.region_of_interest.select_frames`.
    """

    path: Path
    view: NetworkView
    roi: Roi | None = None
    frames: str | None = None

    def sample(self, *, side_px: int, scale: float, count: int) -> list[NDArray[np.float32]]:
        """Windows (y, x, c), at most `count`, normalized and magnified by `scale`."""
        return sample_windows(
            self.path, order=self.view.order, ranges=self.view.ranges,
            side_px=side_px, scale=scale, count=count, roi=self.roi, frames=self.frames,
        )  # fmt: skip


@dataclass(frozen=True)
class DiameterEstimate:
    """The diameter of objects in pixels of the image, rounded.

    Attributes:
        diameter_px: None if there is no estimate, or if the network knows several sizes and the images fit as they are.
        other_px: a second diameter that was almost equally likely, but whose objects the network found less well; None
            if there was none.
    """

    diameter_px: float | None = None
    other_px: float | None = None


def round_diameter(diameter_px: float) -> float:
    """Round a diameter to the nearest power of STEP, so that rounded diameters differ by 10 %."""
    return float(f"{STEP ** round(math.log(diameter_px, STEP)):.4g}")


def can_estimate(model: dict[str, Any]) -> bool:
    """Return whether a model knows what an estimate needs: its objects, their diameter and its training patches."""
    return bool(model.get("diameter_px") and model.get("fingerprint")) and model["outputs"] == INSTANCE_OUTPUTS


def estimate_diameter(images: Sequence[SampledImage], ensemble: Ensemble) -> DiameterEstimate:
    """Estimate the diameter of the objects in images of one microscope, in their pixels.

    Args:
        images: at least one image; all have the same size, type and pixel size.
        ensemble: the networks.

    Raises:
        InputError: the model's fingerprint is damaged.
    """
    model = ensemble.settings
    if not can_estimate(model):
        return DiameterEstimate()
    fingerprint = parse_fingerprint(model)
    knows_one_size = (model.get("scale") or {}).get("method") == "object_diameter"
    first = [_refine(images, ensemble, scale) for scale in _first_scales(images, fingerprint, knows_one_size)]
    if not first:
        return DiameterEstimate()
    # The first of two equal ones has the more similar texture.
    best = max(first, key=lambda found: found.agreement) if len(first) > 1 else first[0]
    others = [found for found in first if not 1 / SAME_SCALE < found.scale / best.scale < SAME_SCALE]
    diameters = [round_diameter(model["diameter_px"] / found.scale) for found in (best, *others)]
    return DiameterEstimate(*diameters)


def contradicts(probabilities: NDArray[np.uint8], diameter_px: float) -> bool:
    """Return whether the objects that the network found are strong evidence against the diameter that was expected.

    Args:
        probabilities: (outputs, y, x) of a part of the image, 255 = 1.
        diameter_px: the expected diameter in pixels of the image.
    """
    # Interiors are smaller than their objects, and objects that touch are one piece of foreground.
    inside = _component_diameters(probabilities[1] >= 128)
    foreground = _component_diameters(probabilities[0] < 128)
    if min(len(inside), len(foreground)) < MIN_CONTRADICTING:
        return False
    large, small = _typical(inside), _typical(foreground)
    return bool(large > CONTRADICTION * diameter_px or small < diameter_px / CONTRADICTION)


def _typical(diameters: NDArray[np.float64]) -> float:
    """Return the median diameter of pixels, not of objects, so that specks hardly count."""
    ordered = np.sort(diameters)
    areas = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(areas, areas[-1] / 2)])


def _component_diameters(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Diameters (n,) of the connected components of a mask (y, x)."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return np.sqrt(4 / math.pi * statistics[1:, cv2.CC_STAT_AREA].astype(np.float64))


def _per_image(count: int, images: Sequence[SampledImage]) -> int:
    """Windows to take of each image, so that all images together give about `count`."""
    return max(1, -(-count // len(images)))


def _first_scales(images: Sequence[SampledImage], fingerprint: dict[str, Any], knows_one_size: bool) -> list[float]:
    """Return the magnifications at which the network predicts first; none: the images are left as they are."""
    usual = images[0].view.scale
    usual_distance = math.inf if knows_one_size else _texture_distance(images, fingerprint, usual)
    if usual_distance <= fingerprint["limit"]:
        return []
    scales, distance = _most_similar_scales(images, fingerprint)
    if math.isinf(distance):
        return []
    if knows_one_size:
        # If the images are unlike the training at all magnifications, the usual one is as good as any other.
        return scales if distance <= MAX_RELATIVE_DISTANCE * fingerprint["limit"] else [usual]
    if distance > max(fingerprint["limit"], usual_distance / CLEARLY_NEARER):
        return []
    is_usual = 1 / MIN_SCALE_CHANGE < scales[0] / usual < MIN_SCALE_CHANGE
    return [] if is_usual else scales


def _most_similar_scales(images: Sequence[SampledImage], fingerprint: dict[str, Any]) -> tuple[list[float], float]:
    """Return the magnifications at which images are most similar to the training, and the smallest distance.

    The first magnification is the most similar one. There is a second one if it is almost as similar, and far away.
    """
    coarse, fine = STEPS
    octaves = np.arange(-OCTAVES, OCTAVES + coarse, coarse)
    distances = {octave: _texture_distance(images, fingerprint, 2**octave) for octave in octaves}
    best = min(distances, key=lambda octave: distances[octave])
    near = {octave: _texture_distance(images, fingerprint, 2**octave) for octave in (best - fine, best + fine)}
    distances |= near
    best = min(distances, key=lambda octave: distances[octave])
    far = [octave for octave in distances if abs(octave - best) >= OCTAVES_APART]
    second = min(far, key=lambda octave: distances[octave])
    likely = [best, second] if distances[second] <= ALMOST_AS_NEAR * distances[best] else [best]
    return [float(2**octave) for octave in likely], distances[best]


def _texture_distance(images: Sequence[SampledImage], fingerprint: dict[str, Any], scale: float) -> float:
    """Return the median distance of textures from the training; inf if windows are too small, too large or empty."""
    patch_px = fingerprint["patch_size_px"]
    if patch_px > scale * MAX_WINDOW_PX:
        return math.inf
    count = _per_image(N_TEXTURE_WINDOWS, images)
    windows = [window for image in images for window in image.sample(side_px=patch_px, scale=scale, count=count)]
    min_px = max(patch_px // 2, MIN_WINDOW_PX + 1)  # the texture of a smaller window means little
    windows = [window for window in windows if has_contrast(window) and min(window.shape[:2]) >= min_px]
    if not windows:
        return math.inf
    textures = np.array([texture_features(window) for window in windows])
    distances = np.sort(texture_distances(textures, fingerprint["textures"], fingerprint["spread"]), axis=1)
    return float(np.median(distances[:, :N_NEAREST].mean(axis=1)))


@dataclass(frozen=True)
class _RefinedScale:
    """Objects that the network finds at a magnification.

    Attributes:
        scale: the magnification, corrected by the objects that were found.
        agreement: fraction of the foreground that belongs to objects of the expected size, at the magnification that
            was corrected last.
    """

    scale: float
    agreement: float


def _refine(images: Sequence[SampledImage], ensemble: Ensemble, scale: float) -> _RefinedScale:
    """Correct a magnification by the objects that the network finds, image by image."""
    expected_px, agreement = ensemble.settings["diameter_px"], 0.0
    count = _per_image(N_PREDICTED_WINDOWS, images)
    for _ in range(ROUNDS):
        windows = [image.sample(side_px=PREDICTED_WINDOW_PX, scale=scale, count=count) for image in images]
        # A large magnification is rounded up.
        cut = [window[:PREDICTED_WINDOW_PX, :PREDICTED_WINDOW_PX] for some in windows for window in some]
        measured = [_measure_objects(probabilities) for probabilities in _predict_windows(cut, ensemble)]
        diameters = np.concatenate([diameters for diameters, _ in measured])
        is_expected = np.abs(np.log(diameters / expected_px)) <= math.log(EXPECTED_SIZE)
        agreement = float((diameters[is_expected] ** 2).sum() * math.pi / 4) / max(1, sum(area for _, area in measured))
        owners = np.repeat(np.arange(len(images)), [len(some) for some in windows])
        medians = []
        for owner in range(len(images)):
            own = np.concatenate([measured[number][0] for number in np.flatnonzero(owners == owner)] or [np.empty(0)])
            medians += [np.median(own)] if len(own) >= MIN_OBJECTS else []
        if len(diameters) < MIN_OBJECTS:
            break
        correction = expected_px / (np.median(medians) if medians else np.median(diameters))
        scale *= float(np.clip(correction, 1 / MAX_CORRECTION, MAX_CORRECTION))
    return _RefinedScale(float(np.clip(scale, 2**-OCTAVES, 2**OCTAVES)), agreement)


def _predict_windows(windows: Sequence[NDArray[np.float32]], ensemble: Ensemble) -> list[NDArray[np.uint8]]:
    """Probabilities (outputs, y, x) of windows (y, x, c) of any size."""
    height, width = (
        -(-max(window.shape[axis] for window in windows) // SIZE_DIVISOR) * SIZE_DIVISOR for axis in (0, 1)
    )
    padded = [
        np.pad(window, ((0, height - window.shape[0]), (0, width - window.shape[1]), (0, 0)), mode="symmetric")
        for window in windows
    ]
    outputs = ensemble.predict(np.ascontiguousarray(np.stack(padded), np.float32))
    return [output[:, : window.shape[0], : window.shape[1]] for output, window in zip(outputs, windows, strict=True)]


def _measure_objects(probabilities: NDArray[np.uint8]) -> tuple[NDArray[np.float64], int]:
    """Diameters (objects,) of the objects in probabilities (outputs, y, x), and the area of the foreground in pixels.

    Objects at the border are left out.
    """
    ids = segment_plane(probabilities, SEGMENT_SETTINGS)
    areas = np.bincount(ids.ravel())
    areas[np.concatenate([[0], ids[0], ids[-1], ids[:, 0], ids[:, -1]])] = 0
    return np.sqrt(4 / math.pi * areas[areas > 0]), int((ids > 0).sum())
