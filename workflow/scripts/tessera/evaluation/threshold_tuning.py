"""Tunes the thresholds of `task: instances` on validation patches, for settings of section `segment` that are `auto`.

Each candidate is judged by the mean AP over IoUs of 0.5 to 0.9 (`tessera.evaluation.segmentation_metrics`). One
threshold is varied at a time, the others kept. Of the candidates that are as good as the best one but for TOLERANCE,
the one that is nearest to the default is taken, so that a few objects do not move a threshold far.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tessera.common.constants import IGNORE
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.common.types import StrPath
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
MAX_PIXELS, LEAST_PATCHES = 2**21, 8  # patches to use: some seconds


def tune_thresholds(predict: Callable[[NDArray[np.float32]], Any], images: Any, targets: Any) -> dict[str, Any] | None:
    """Tune the thresholds of a network on validation patches.

    Args:
        predict: returns the probabilities (n, y, x, 3) of background, interior and boundary of patches (n, y, x, c).
        images: patches (n, y, x, c), normalized.
        targets: their true classes (n, y, x), see `tessera.data.training_targets.instance_targets`.

    Returns:
        `foreground`, `seed`, `min_area_px` and `seed_depth_px`, as in `Thresholds`; `ap`, the mean AP with them, and
        `default_ap`, with the defaults; `objects`, the number of true objects; `curves`,
        {name: [(candidate, mean AP)]}. None if there are too few objects.
    """
    number = max(MAX_PIXELS // int(np.prod(targets.shape[1:])), LEAST_PATCHES)
    patches = []
    for index in evenly_spaced_indices(images.shape[0], number):
        probabilities = np.asarray(predict(np.asarray(images[index], np.float32)[None]))[0]
        target = np.asarray(targets[index])
        outputs = np.rint(255 * np.moveaxis(probabilities, -1, 0)).astype(np.uint8)
        outputs[:, target == IGNORE] = np.array([255, 0, 0], np.uint8)[:, None]
        patches.append((outputs, true_objects(target)))
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


def plot_threshold_curves(tuned: dict[str, Any], path: StrPath) -> None:
    """Plot the curves of `tune_thresholds`, with lines at the values that were taken."""
    figure = Figure(figsize=(12, 3), layout="constrained")
    titles = {
        "seed": "Seed threshold",
        "seed_depth_px": "Depth of seeds (px)",
        "foreground": "Foreground threshold",
        "min_area_px": "Smallest area (px)",
    }
    for axes, (name, title) in zip(figure.subplots(1, 4, sharey=True), titles.items(), strict=True):
        axes.plot(*zip(*tuned["curves"][name], strict=True), marker=".")
        axes.axvline(tuned[name], color="0.6", linestyle="--", linewidth=1, label=f"taken: {tuned[name]:g}")
        axes.set(xlabel=title, title=title)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("mean AP of the validation patches")
    figure.savefig(path, dpi=120)
