"""Folders of trained models, as far as they can be read without TensorFlow."""

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

from .curves import draw_curves
from .errors import InputError
from .histories import best_row, write_history

FORMAT = "tessera-model/1"
SETTINGS, WEIGHTS, SAVED_MODEL = "model.json", "model.weights.h5", "saved_model"
HISTORY, CURVES = "history.csv", "curves.png"
DIVISOR = 32
_LIBRARIES = ("tensorflow", "tf_keras", "segmentation_models", "numpy")
_FROM_PATCHES = (
    "task",
    "classes",
    "outputs",
    "channels",
    "normalisation",
    "pixel_um",
    "object_px",
    "patch_px",
    "class_share",
)
_REQUIRED = {
    "architecture": str,
    "backbone": str,
    "channels": list,
    "outputs": list,
    "normalisation": dict,
    "task": str,
}


def read_settings(folder):
    """Content of a model's model.json.

    Raises:
        InputError: it is missing, damaged, of another format, or lacks something.
    """
    path = Path(folder) / SETTINGS
    try:
        settings = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); train the model again") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); train the model again") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise InputError(f"{path}: is not of the format {FORMAT}; give the folder of a model that Tessera trained")
    wrong = [key for key, kind in _REQUIRED.items() if not isinstance(settings.get(key), kind) or not settings[key]]
    if wrong:
        raise InputError(f"{path}: {', '.join(wrong)} missing or not as Tessera writes them; train the model again")
    return settings


def describe(patches, network, rows, settings):
    """Content of model.json.

    Args:
        patches: content of patches.json.
        network: the Keras model.
        rows: its history.
        settings: the section train of the configuration.
    """
    best = best_row(rows)
    return {
        "format": FORMAT,
        **{key: patches.get(key) for key in _FROM_PATCHES},
        "architecture": settings["architecture"],
        "backbone": settings["backbone"],
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


def write_model(folder, settings, network, rows):
    """Write the folder of a model: its settings, the Keras model `network` and the `rows` of its history."""
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1))
    network.save_weights(folder / WEIGHTS)
    network.export(folder / SAVED_MODEL)
    write_history(rows, folder / HISTORY)
    draw_curves(rows, folder / CURVES)
