"""Thresholds of `task: instances` that come with the selected models, for settings that are `auto`.

Rule select_model tunes them on the validation patches of the models (`tessera.evaluation.threshold_tuning`). Rule
predict copies them to the store of each prediction, with the scale at which the image was predicted.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.common.types import StrPath
from tessera.io.ome_zarr_store import read_metadata
from tessera.settings.sections import SegmentSettings

MAX_SEED_DEPTH_PX = 64  # also the limit of the setting; blocks need a margin of this width


@dataclass(frozen=True)
class Thresholds:
    """Thresholds that decide which pixels are cells. The defaults are for models that were not tuned.

    Attributes:
        foreground: probability above which a pixel belongs to a cell.
        seed: probability of interior above which a pixel belongs to a seed.
        min_area_px: smallest area of a cell in pixels.
        seed_depth_px: distance from the end of the interior in pixels, above which a pixel belongs to a seed.
    """

    foreground: float = 0.5
    seed: float = 0.8
    min_area_px: int = 16
    seed_depth_px: float = 0.0


def combine_thresholds(members: Sequence[Mapping[str, Any] | None]) -> dict[str, float] | None:
    """Return the medians of the thresholds of the models of an ensemble; None if no model was tuned.

    Args:
        members: results of `tessera.evaluation.threshold_tuning`; None for a model that could not be tuned.
    """
    tuned = [member for member in members if member]
    if not tuned:
        return None
    return {
        name: statistics.median(thresholds[name] for thresholds in tuned)
        for name in ("foreground", "seed", "min_area_px", "seed_depth_px")
    }


def read_thresholds(predictions: StrPath) -> Thresholds:
    """Return the thresholds of the models that made the store `predictions`, for the pixels of this image.

    The smallest area and the depth of seeds were tuned in pixels of the training patches. An image that was
    magnified s times for the network has s² times fewer pixels in an object, and distances that are s times shorter.
    """
    prediction = read_metadata(predictions).extra.get("prediction") or {}
    tuned = prediction.get("thresholds")
    if not tuned:
        return Thresholds()
    scale = prediction.get("scale", 1.0)
    area_px = max(1, round(tuned["min_area_px"] / scale**2))
    depth_px = min(tuned["seed_depth_px"] / scale, MAX_SEED_DEPTH_PX)
    return Thresholds(tuned["foreground"], tuned["seed"], area_px, depth_px)


def resolve_thresholds(settings: SegmentSettings, tuned: Thresholds) -> Thresholds:
    """Return the thresholds of the settings, or those that were tuned where a setting is `auto`."""
    return Thresholds(
        tuned.foreground if settings.foreground_threshold == "auto" else settings.foreground_threshold,
        tuned.seed if settings.seed_threshold == "auto" else settings.seed_threshold,
        tuned.min_area_px if settings.min_area_px == "auto" else settings.min_area_px,
        tuned.seed_depth_px if settings.seed_depth_px == "auto" else settings.seed_depth_px,
    )
