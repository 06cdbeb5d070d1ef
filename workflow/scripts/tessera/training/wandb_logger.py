"""Experiments, as Weights & Biases keeps them."""

import importlib
import os
import sys
import uuid

import numpy as np

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.training.patch_overlays import display_rgb

CONNECT_S = 30
# Weights & Biases is told what a training shows, not what the machine is called or does, nor the code.
QUIET = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "init_timeout": CONNECT_S,
    "finish_timeout": CONNECT_S,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


def load_wandb(wanted):
    """The package wandb, which is not installed with the rest."""
    # It reports its own errors to its makers unless told not to before it is imported.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        package = importlib.import_module("wandb")
    except ImportError:
        package = None
    # A mere folder of this name can be imported as well.
    if not hasattr(package, "init"):
        raise InputError(
            f"train.wandb_mode is {wanted}, but Weights & Biases is not installed; "
            f"run `{sys.executable} -m pip install wandb`, or set train.wandb_mode to off"
        )
    return package


class Experiment:
    """A run of Weights & Biases, whose files are in a folder.

    Online, a training that goes on does so in the same run; offline it begins another in the same group.
    """

    name = "Weights & Biases"

    def __init__(self, folder, package, mode, model, settings):
        self._folder = folder
        self._package = package
        self._mode = mode
        self._model = model
        self._settings = settings

    def start(self, epochs):
        self._folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_CACHE_DIR", str(self._folder / "cache"))  # where it keeps its own log
        note = self._folder / f"{self._model}.id"
        if not epochs or not note.exists():
            note.write_text(f"{self._model}-{uuid.uuid4().hex[:8]}")
        id_ = note.read_text()
        if self._mode == "online":
            try:
                self._run = self._begin("online", id=id_, resume="allow")
            except Exception as error:
                print(
                    f"{self.name} cannot be used online, so the run is kept in {self._folder} for `wandb sync`: "
                    f"{error}",
                    flush=True,
                )
            else:
                return
        self._run = self._begin("offline", group=id_)

    def _begin(self, mode, **identity):
        known = self._package.Settings.model_fields
        settings = self._package.Settings(**{key: value for key, value in QUIET.items() if key in known})
        stdin = sys.stdin
        with open(os.devnull) as nobody:
            # Without an account it would ask for one at a terminal.
            sys.stdin = nobody
            try:
                return self._package.init(
                    project=os.environ.get("WANDB_PROJECT", "tessera"),
                    name=self._model,
                    dir=self._folder.parent,
                    config=self._settings,
                    mode=mode,
                    settings=settings,
                    reinit="finish_previous",
                    **identity,
                )
            finally:
                sys.stdin = stdin

    def scalars(self, epoch, logs):
        self._run.log(logs, step=epoch)

    def pictures(self, epoch, patches, outputs):
        labels = dict(enumerate(outputs)) | {IGNORE: "unknown"}
        shown = []
        for index, pixels, truth, prediction in patches:
            planes = {"ground_truth": truth, "prediction": prediction}
            masks = {key: {"mask_data": plane, "class_labels": labels} for key, plane in planes.items()}
            picture = np.rint(255 * display_rgb(pixels)).astype(np.uint8)
            shown.append(self._package.Image(picture, masks=masks, caption=f"patch {index}"))
        self._run.log({"patches": shown}, step=epoch)

    def finish(self):
        self._run.finish()
