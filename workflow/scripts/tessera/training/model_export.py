"""Model export: writes the folder of a trained model, which `tessera.networks.model_folder` reads.

The folder contains model.json (the model card), model.weights.h5 (weights of the best epoch), last.weights.h5,
saved_model/ (for other programs), validation.zarr (some validation patches), history.csv, curves.png and, after a
learning rate range test, rates.png.
"""

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tessera.common.constants import (
    CURVES_PNG,
    HISTORY_CSV,
    MODEL_FORMAT,
    MODEL_JSON,
    SAVED_MODEL_FOLDER,
    SIZE_DIVISOR,
    WEIGHTS_H5,
)
from tessera.common.types import StrPath
from tessera.networks.model_folder import AutoChoice, ModelCard, write_validation_patches
from tessera.settings.sections import TrainSettings
from tessera.training.data_loader import PatchSet
from tessera.training.early_stopping import HistoryRow, best_row
from tessera.training.history import write_history
from tessera.training.training_curves import plot_training_curves

_LIBRARIES = ("tensorflow", "tf-keras", "segmentation-models", "numpy")


def make_model_card(
    patch_info: Mapping[str, Any],
    network: Any,
    rows: Sequence[HistoryRow],
    settings: TrainSettings,
    choices: Sequence[AutoChoice],
) -> ModelCard:
    """Return the content of model.json, as far as a training knows it.

    Args:
        patch_info: content of patches.json.
        network: the Keras model.
        rows: history of the training.
        settings: section train.
        choices: what the training chose for `auto` settings; the choices of the patches precede them.
    """
    best = best_row(rows, settings.monitor)
    return {
        "format": MODEL_FORMAT,
        "task": patch_info["task"],
        "classes": patch_info["classes"],
        "outputs": patch_info["outputs"],
        "channels": patch_info["channels"],
        "normalization": patch_info["normalization"],
        "pixel_size_um": patch_info.get("pixel_size_um"),
        "pixel_size_um_range": patch_info.get("pixel_size_um_range"),
        "diameter_px": patch_info.get("diameter_px"),
        "scale": patch_info.get("scale"),
        "patch_size_px": patch_info.get("patch_size_px"),
        "class_share": patch_info.get("class_share"),
        "label_check": patch_info.get("label_check"),
        "fingerprint": patch_info.get("fingerprint"),
        "signal": patch_info.get("signal"),
        "architecture": settings.architecture,
        "backbone": settings.backbone,
        "width": settings.width,
        "depth": settings.depth,
        "plan": [*(patch_info.get("plan") or []), *choices],
        "divisor": SIZE_DIVISOR,
        "parameters": network.count_params(),
        "settings": settings.model_dump(),
        "sources": patch_info.get("sources"),
        "epochs": len(rows),
        "best_epoch": best["epoch"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        # JSON has no NaN, which is the IoU of a class that is not in the validation images.
        "validation": {key: value if value == value else None for key, value in best.items() if key.startswith("val_")},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
    }


def write_model_folder(
    folder: StrPath, model_card: ModelCard, network: Any, rows: Sequence[HistoryRow], val: PatchSet
) -> None:
    """Write the folder of a model; an existing folder is replaced.

    Args:
        folder: folder of the model.
        model_card: content of model.json.
        network: the Keras model.
        rows: history of the training.
        val: validation patches, of which some are kept.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MODEL_JSON).write_text(json.dumps(model_card, indent=1))
    network.save_weights(folder / WEIGHTS_H5)
    network.export(folder / SAVED_MODEL_FOLDER)
    write_validation_patches(folder, *val)
    write_history(rows, folder / HISTORY_CSV)
    plot_training_curves(rows, model_card["best_epoch"], folder / CURVES_PNG)
