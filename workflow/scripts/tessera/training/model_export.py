"""Folders of models as a training leaves them; `tessera.networks.model_folder` reads them."""

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

from tessera.common.constants import CURVES, DIVISOR, FORMAT, HISTORY, SAVED_MODEL, SETTINGS, WEIGHTS
from tessera.networks.model_folder import write_validation_patches
from tessera.training.history import best_row, write_history
from tessera.training.training_curves import plot_training_curves

_LIBRARIES = ("tensorflow", "tf-keras", "segmentation-models", "numpy")
_FROM_PATCHES = (
    "task",
    "classes",
    "outputs",
    "channels",
    "normalization",
    "pixel_size_um",
    "pixel_size_um_range",
    "diameter_px",
    "scale",
    "patch_size_px",
    "class_share",
    "label_check",
    "fingerprint",
)


def describe(patches, network, rows, settings, plan):
    """Content of model.json.

    Args:
        patches: content of patches.json.
        network: the Keras model.
        rows: its history.
        settings: the section train of the configuration.
        plan: what was chosen for this training, dicts with `setting`, `value` and `reason`; that of the patches comes
            before it.
    """
    best = best_row(rows, settings["monitor"])
    return {
        "format": FORMAT,
        **{key: patches.get(key) for key in _FROM_PATCHES},
        "architecture": settings["architecture"],
        "backbone": settings["backbone"],
        "width": settings["width"],
        "depth": settings["depth"],
        "plan": [*(patches.get("plan") or []), *plan],
        "divisor": DIVISOR,
        "parameters": network.count_params(),
        "settings": settings,
        "sources": patches.get("sources"),
        "epochs": len(rows),
        "best_epoch": best["epoch"],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        # JSON knows no NaN, the IoU of a class that the validation images lack.
        "validation": {key: value if value == value else None for key, value in best.items() if key.startswith("val_")},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
    }


def write_model_folder(folder, settings, network, rows, validation):
    """Write the folder of a model.

    Args:
        folder: of the model; what is there is replaced.
        settings: content of model.json.
        network: the Keras model.
        rows: its history.
        validation: images (n, y, x, c), normalized, and targets (n, y, x) of the validation side; some are kept.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1))
    network.save_weights(folder / WEIGHTS)
    network.export(folder / SAVED_MODEL)
    write_validation_patches(folder, *validation)
    write_history(rows, folder / HISTORY)
    plot_training_curves(rows, settings["best_epoch"], folder / CURVES)
