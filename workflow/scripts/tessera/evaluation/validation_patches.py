"""Validation patches of a model: which ones it has, how well it predicts them, and the best and the worst of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tessera.common.constants import WEIGHTS_H5
from tessera.common.even_sampling import evenly_spaced_indices
from tessera.evaluation.calibration import Calibration
from tessera.evaluation.segmentation_metrics import class_counts, class_scores, count_overlaps
from tessera.networks.model_folder import read_model_card, read_validation_patches

MAX_PIXELS, MIN_PATCHES = 2**22, 16  # patches to predict: a few seconds on two cores
MAX_BATCH, BATCH_VALUES = 16, 2**22  # patches, and probabilities, in a minibatch


@dataclass(frozen=True)
class ModelToExplain:
    """The selected model and its validation patches.

    Attributes:
        folder: folder of the model.
        images: patches (n, y, x, c), normalized.
        targets: their true outputs (n, y, x).
    """

    folder: Path
    images: Any
    targets: Any


def find_patches(folder: Path, fold_patches: Path | None) -> ModelToExplain | str:
    """The model with its validation patches, or the reason why it cannot be explained.

    Args:
        folder: folder of the model.
        fold_patches: folder of the training patches of its fold; None for an existing model.
    """
    model = read_model_card(folder)
    if not (folder / WEIGHTS_H5).is_file() or not {"architecture", "backbone"} <= model.keys():
        return f"the model's folder lacks {WEIGHTS_H5} or the architecture, so its layers are not accessible"
    if fold_patches is not None:
        group = zarr.open_group(fold_patches / "val.zarr", mode="r")
        return ModelToExplain(folder, group["image"], group["target"])
    kept = read_validation_patches(folder)
    return ModelToExplain(folder, *kept) if kept else "the model's folder has no validation patches"


def choose_patches(model: ModelToExplain) -> list[int]:
    """Numbers of the patches to predict, evenly spaced: at most MAX_PIXELS pixels, but at least MIN_PATCHES patches."""
    n_patches = max(MAX_PIXELS // np.prod(model.targets.shape[1:]), MIN_PATCHES)
    return evenly_spaced_indices(model.images.shape[0], n_patches)


def predict_patches(
    network: Any, model: ModelToExplain, numbers: Sequence[int], outputs: Sequence[str]
) -> tuple[Calibration, dict[int, float]]:
    """The calibration over the patches with these numbers, and {patch: mean IoU of its foreground}.

    Unknown pixels do not count. A patch without any object has no IoU.
    """
    calibration, ious = Calibration(outputs), {}
    values = np.prod(model.targets.shape[1:]) * len(outputs)
    size = int(np.clip(BATCH_VALUES // values, 1, MAX_BATCH))
    for minibatch in (numbers[first : first + size] for first in range(0, len(numbers), size)):
        pixels = np.stack([model.images[number] for number in minibatch]).astype(np.float32)
        truth = np.stack([model.targets[number] for number in minibatch])
        probabilities = network.predict_on_batch(pixels)
        calibration.add(probabilities, truth)
        for number, target, predicted in zip(minibatch, truth, probabilities.argmax(-1), strict=True):
            if ((target > 0) & (target < len(outputs))).any():
                counts = class_counts(count_overlaps([(target, predicted)]), outputs)
                ious[number] = class_scores(counts, outputs)["iou_mean"]
    return calibration, ious


def rank_patches(ious: Mapping[int, float], n_examples: int) -> list[dict[str, Any]]:
    """The best and the worst patches of {patch: IoU}, without repetition: kind, rank, patch and iou of each."""
    order = sorted(ious, key=lambda patch: (-ious[patch], patch))
    best = order[: min(n_examples, -(-len(order) // 2))]
    worst = order[len(best) :][::-1][:n_examples]
    return [
        {"kind": kind, "rank": rank, "patch": patch, "iou": ious[patch]}
        for kind, patches in (("best", best), ("worst", worst))
        for rank, patch in enumerate(patches, start=1)
    ]
