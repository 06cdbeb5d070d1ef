"""Tunes the thresholds of `task: instances` on validation patches, for settings of section `segment` that are `auto`.

Each candidate is judged by the mean AP over IoUs of 0.5 to 0.9 (`tessera.evaluation.segmentation_metrics`). One
threshold is varied at a time, and the others stay. Several candidates may be within TOLERANCE of the best mean AP. The
tuning takes the one that is nearest to the default, so that a few objects do not move a threshold far.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import IGNORE
from tessera.evaluation.segmentation_metrics import add_counts, count_overlaps, instance_counts, instance_scores
from tessera.segmentation.seeded_growth import BACKGROUND, BOUNDARY, INTERIOR, segment_plane
from tessera.segmentation.thresholds import Thresholds
from tessera.settings.sections import SegmentSettings

IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)
FOREGROUND = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SEED = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DEPTH_FRACTIONS = (0.0, 0.075, 0.1, 0.125, 0.15, 0.175)  # of the diameter of a disc with this median area
AREA_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)  # of the median area of true objects
DEFAULT_AREA_FRACTION = 0.05
TOLERANCE = 0.005
LEAST_OBJECTS = 20  # with fewer, the defaults stay
logger = logging.getLogger(__name__)


def tune_model(
    card: Mapping[str, Any],
    predict: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
    images: NDArray[np.float32],
    targets: NDArray[np.uint8],
) -> dict[str, Any] | None:
    """Tune the thresholds of instances of a model on its validation patches; None for other tasks or too few objects.

    Args:
        card: model card.
        predict: returns the probabilities (n, outputs, y, x) of patches (n, y, x, c), 255 = 1.
        images: patches (n, y, x, c).
        targets: their true classes (n, y, x).
    """
    if card["task"] != "instances":
        return None
    outputs = [predict(image[None])[0].copy() for image in images]
    tuned = tune_thresholds(np.stack(outputs), targets)
    if tuned:
        logger.info(
            "Thresholds: foreground %g, seeds %g at a depth of %g px, at least %d px; mean AP %.3f, by default %.3f",
            tuned["foreground"], tuned["seed"], tuned["seed_depth_px"], tuned["min_area_px"], tuned["ap"],
            tuned["default_ap"],
        )  # fmt: skip
    return tuned


def tune_thresholds(outputs: NDArray[np.uint8], targets: NDArray[np.uint8]) -> dict[str, Any] | None:
    """Tune the thresholds of a network on validation patches.

    Args:
        outputs: its probabilities (n, 3, y, x) of background, interior and boundary, 255 = 1.
        targets: true classes (n, y, x), see `tessera.data.training_targets.instance_targets`.

    Returns:
        `foreground`, `seed`, `min_area_px` and `seed_depth_px`, as in `Thresholds`; `ap`, the mean AP with them, and
        `default_ap`, with the defaults; `objects`, the number of true objects; `curves`,
        {name: [(candidate, mean AP)]}. None if there are too few objects.
    """
    nothing = np.array([255, 0, 0], np.uint8)[:, None, None]
    patches = [
        (np.where(target == IGNORE, nothing, probabilities), true_objects(target))
        for probabilities, target in zip(outputs, targets, strict=True)
    ]
    areas = np.concatenate([np.bincount(truth.ravel())[1:] for _, truth in patches])
    if len(areas) < LEAST_OBJECTS:
        return None

    def score(thresholds: Thresholds) -> float:
        return _mean_ap(patches, thresholds)

    median_px = float(np.median(areas))
    sizes = {max(1, round(fraction * median_px)): fraction for fraction in AREA_FRACTIONS}
    default_px = max(1, round(DEFAULT_AREA_FRACTION * median_px))
    default, curves = Thresholds(min_area_px=default_px), {}
    seed, curves["seed"] = _choose(
        SEED, default.seed, lambda value: score(Thresholds(seed=value, min_area_px=default_px))
    )
    diameter_px = 2 * float(np.sqrt(median_px / np.pi))
    depths = sorted({round(fraction * diameter_px, 1) for fraction in DEPTH_FRACTIONS})
    depth_px, curves["seed_depth_px"] = _choose(
        depths, default.seed_depth_px, lambda value: score(Thresholds(default.foreground, seed, default_px, value))
    )
    foreground, curves["foreground"] = _choose(
        FOREGROUND, default.foreground, lambda value: score(Thresholds(value, seed, default_px, depth_px))
    )
    area_px, curves["min_area_px"] = _choose(
        list(sizes), default_px, lambda value: score(Thresholds(foreground, seed, int(value), depth_px))
    )
    return {
        "foreground": foreground,
        "seed": seed,
        "min_area_px": int(area_px),
        "seed_depth_px": depth_px,
        "ap": dict(curves["min_area_px"])[area_px],
        "default_ap": dict(curves["seed"])[default.seed],
        "objects": len(areas),
        "curves": curves,
    }


def true_objects(target: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the ids (y, x) of the objects from which `instance_targets` made the classes `target`."""
    classes = np.where(target == IGNORE, BACKGROUND, target)
    outputs = np.stack([255 * (classes == each) for each in (BACKGROUND, INTERIOR, BOUNDARY)]).astype(np.uint8)
    return segment_plane(outputs, SegmentSettings(foreground_threshold=0.5, seed_threshold=0.5, min_area_px=0))


def _mean_ap(patches: Sequence[tuple[NDArray[np.uint8], NDArray[np.int32]]], thresholds: Thresholds) -> float:
    settings = SegmentSettings()
    counts = [
        instance_counts(count_overlaps([(truth, segment_plane(outputs, settings, tuned=thresholds))]), IOUS)
        for outputs, truth in patches
    ]
    return round(instance_scores(add_counts(counts), IOUS)["ap_mean"], 4)


def _choose(
    candidates: Sequence[float], default: float, score: Callable[[float], float]
) -> tuple[float, list[tuple[float, float]]]:
    """Return the candidate to take, and the curve."""
    curve = [(candidate, score(candidate)) for candidate in candidates]
    best = max(value for _, value in curve)
    good = [candidate for candidate, value in curve if value >= best - TOLERANCE]
    return min(good, key=lambda candidate: abs(candidate - default)), curve
