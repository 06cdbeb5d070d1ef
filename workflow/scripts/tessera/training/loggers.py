"""Loggers: what a training shows while it runs, in TensorBoard, in Weights & Biases and in the log of the job.

`LoggerCallback` is one Keras callback that passes the scalars of each epoch, and images every few epochs, to each
logger. `TensorBoardLogger` writes event files to `logs/tensorboard/{model}`, `WandbLogger` logs a run of Weights &
Biases. `ProgressCallback` logs how far a long epoch is.

TensorBoard's and Weights & Biases' logs are not outputs of the workflow. They never cause a rerun, a logger that fails
is disabled while the training continues, and they draw no random numbers, so the trained weights do not depend on them.
Steps are epochs. A training that continues marks its start, so that readers drop the epochs that it repeats.
"""

import importlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import IGNORE
from tessera.common.errors import InputError
from tessera.common.progress import INTERVAL_S, Progress
from tessera.common.types import StrPath
from tessera.networks.tensorflow_setup import keras, tf
from tessera.settings.sections import TrainSettings
from tessera.training.data_loader import PatchSet
from tessera.training.patch_overlays import display_rgb, draw_comparison

MAX_SHOWN_PATCHES = 6
MAX_SEARCHED_PATCHES = 64  # patches that are read to find some with objects; reading all of a large set takes long
WANDB_TIMEOUT_S = 30
# Weights & Biases logs the training, but neither the machine, nor its commands, nor the code.
WANDB_SETTINGS = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "init_timeout": WANDB_TIMEOUT_S,
    "finish_timeout": WANDB_TIMEOUT_S,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
logger = logging.getLogger(__name__)


class ShownPatch(NamedTuple):
    """A validation patch and its prediction.

    Attributes:
        number: its index in the validation patches.
        pixels: (y, x, c), normalized.
        truth: (y, x) uint8, true classes.
        prediction: (y, x) uint8, predicted classes.
    """

    number: int
    pixels: NDArray[Any]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


class ExperimentLogger(Protocol):
    """What `LoggerCallback` needs of a logger; epochs count from 1."""

    name: str

    def start(self, epochs_done: int) -> None:
        """Begin a training, or continue one of which `epochs_done` epochs are done."""

    def log_scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log the history row of an epoch."""

    def log_images(self, epoch: int, patches: Sequence[ShownPatch], outputs: Sequence[str]) -> None:
        """Log patches with ground truth and prediction; `outputs` are the names of the classes."""

    def finish(self) -> None:
        """Close the log at the end of the training."""


def make_logger_callback(
    network: Any, val: PatchSet, outputs: Sequence[str], settings: TrainSettings, *, folder: StrPath, name: str
) -> "LoggerCallback":
    """Return the callback that logs a training.

    A training that begins at its first epoch removes what an earlier one logged; one that continues replaces the epochs
    that it repeats.

    Args:
        network: Keras model, pixels (n, y, x, c) to probabilities (n, y, x, outputs).
        val: validation patches.
        outputs: names of the network's outputs, background first.
        settings: section train; it is logged, and gives `log_images_every` and `wandb_mode`.
        folder: folder of TensorBoard's event files; those of Weights & Biases are in `wandb` beside its parent.
        name: name of the model.

    Raises:
        InputError: Weights & Biases is requested and not installed.
    """
    values = settings.model_dump()
    loggers: list[ExperimentLogger] = [TensorBoardLogger(Path(folder), values)]
    if settings.wandb_mode != "off":
        wandb = load_wandb(settings.wandb_mode)
        loggers.append(WandbLogger(Path(folder).parent.with_name("wandb"), wandb, settings.wandb_mode, name, values))
    indices = choose_patches(val.targets) if settings.log_images_every else []
    patches = [(index, np.asarray(val.images[index]), np.asarray(val.targets[index])) for index in indices]
    return LoggerCallback(network, patches, outputs, settings.log_images_every, loggers)


def choose_patches(targets: Any) -> list[int]:
    """Return the indices of up to MAX_SHOWN_PATCHES evenly spaced patches, preferably with objects.

    Args:
        targets: (n, y, x) uint8, 0 is background.
    """
    searched = _evenly_spaced(range(targets.shape[0]), MAX_SEARCHED_PATCHES)
    with_objects = [index for index in searched if ((targets[index] > 0) & (targets[index] != IGNORE)).any()]
    without_objects = [index for index in searched if index not in with_objects]
    chosen = _evenly_spaced(with_objects, MAX_SHOWN_PATCHES)
    return sorted(chosen + _evenly_spaced(without_objects, MAX_SHOWN_PATCHES - len(chosen)))


def _evenly_spaced(items: Sequence[int], limit: int) -> list[int]:
    """Return the items in the middle of `limit` equal parts."""
    count = min(limit, len(items))
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


class LoggerCallback(keras.callbacks.Callback):
    """Keras callback that passes scalars and images of each epoch to loggers; see `make_logger_callback`.

    Args:
        network: Keras model that predicts the shown patches.
        patches: (index, pixels (y, x, c), true classes (y, x)) of each shown patch.
        outputs: names of the classes.
        images_every: number of epochs between images.
        loggers: where to log; a logger that raises an exception is removed.
    """

    def __init__(
        self,
        network: Any,
        patches: Sequence[tuple[int, NDArray[Any], NDArray[np.uint8]]],
        outputs: Sequence[str],
        images_every: int,
        loggers: list[ExperimentLogger],
    ) -> None:
        super().__init__()
        self._network = network
        self._patches = patches
        self._outputs = outputs
        self._images_every = images_every
        self._loggers = loggers
        self._epochs_done: int | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The next stage of the same training does not start the loggers again.
        if epoch != self._epochs_done:
            self._call_loggers("start", epoch)
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epochs_done = epoch + 1
        rate = keras.backend.get_value(self.model.optimizer.learning_rate)
        values = {key: float(value) for key, value in (logs or {}).items()}
        values |= {"lr": float(rate), "seconds": round(time.monotonic() - self._started, 2)}
        self._call_loggers("log_scalars", self._epochs_done, values)
        if self._patches and self._loggers and self._epochs_done % self._images_every == 0:
            self._call_loggers("log_images", self._epochs_done, self._predict_patches(), self._outputs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.model.stop_training:
            self._call_loggers("finish")

    def _predict_patches(self) -> list[ShownPatch]:
        shown = []
        for index, pixels, truth in self._patches:
            # One patch at a time, so that images need no more memory than the training.
            probabilities = self._network(pixels[None].astype(np.float32), training=False)
            shown.append(ShownPatch(index, pixels, truth, np.argmax(probabilities[0], -1).astype(np.uint8)))
        return shown

    def _call_loggers(self, method: str, *arguments: Any) -> None:
        for experiment_logger in list(self._loggers):
            try:
                getattr(experiment_logger, method)(*arguments)
            except Exception as error:  # a logger must never end a training
                self._loggers.remove(experiment_logger)
                logger.warning("%s is disabled for the rest of the training: %s", experiment_logger.name, error)


class TensorBoardLogger:
    """Writes TensorBoard's event files into a folder, one file for each start of the training.

    Args:
        folder: folder of the event files.
        settings: section train, shown as a table.
    """

    name = "TensorBoard"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = settings

    def start(self, epochs_done: int) -> None:
        if not epochs_done:
            for path in self._folder.glob("events.out.tfevents.*"):
                path.unlink()
        self._mark_start(epochs_done + 1)
        self._writer = tf.summary.create_file_writer(str(self._folder))
        if not epochs_done:
            with self._writer.as_default(step=0):
                tf.summary.text("settings", settings_table(self._settings))

    def _mark_start(self, step: int) -> None:
        """Make readers drop the events of `step` and later that earlier runs wrote; TensorFlow 2 has no call for it."""
        with tf.Graph().as_default():
            writer = tf.compat.v1.summary.FileWriter(str(self._folder))
            writer.add_session_log(tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START), step)
            writer.close()

    def log_scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        with self._writer.as_default(step=epoch):
            for column, value in values.items():
                tf.summary.scalar(f"{scalar_group(column)}/{column}", value)
        self._writer.flush()

    def log_images(self, epoch: int, patches: Sequence[ShownPatch], outputs: Sequence[str]) -> None:
        with self._writer.as_default(step=epoch):
            for number, pixels, truth, prediction in patches:
                image = np.asarray(draw_comparison(pixels, truth, prediction, outputs))
                tf.summary.image(f"patches/{number}", image[None])
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


def scalar_group(column: str) -> str:
    """Return the heading under which TensorBoard shows a column of the history."""
    return next((heading for heading in ("loss", "iou") if heading in column), "run")


def settings_table(settings: Mapping[str, Any]) -> str:
    """Return settings as a Markdown table."""
    rows = [f"| {key} | {value} |" for key, value in settings.items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def load_wandb(mode: str) -> Any:
    """Return the package wandb, which Tessera does not install for its users.

    Args:
        mode: the setting `train.wandb_mode`, for the message.

    Raises:
        InputError: it is not installed.
    """
    # The package reports its own errors to its makers, unless this is set before it is imported.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        package = importlib.import_module("wandb")
    except ImportError:
        package = None
    # A folder called wandb can be imported as well, but has no `init`.
    if not hasattr(package, "init"):
        raise InputError(
            f"train.wandb_mode is {mode}, but Weights & Biases is not installed; "
            f"run `{sys.executable} -m pip install wandb`, or set train.wandb_mode to off"
        )
    return package


class WandbLogger:
    """Logs a run of Weights & Biases, whose files are in a folder.

    A training that continues logs to the same run online; offline it begins another run in the same group.

    Args:
        folder: folder of the runs.
        package: the package wandb.
        mode: "offline" or "online".
        model: name of the model.
        settings: section train, logged as the run's configuration.
    """

    name = "Weights & Biases"

    def __init__(self, folder: Path, package: Any, mode: str, model: str, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._package = package
        self._mode = mode
        self._model = model
        self._settings = settings

    def start(self, epochs_done: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_CACHE_DIR", str(self._folder / "cache"))  # for wandb's own log
        id_file = self._folder / f"{self._model}.id"
        if not epochs_done or not id_file.exists():
            id_file.write_text(f"{self._model}-{uuid.uuid4().hex[:8]}")
        run_id = id_file.read_text()
        if self._mode == "online":
            try:
                self._run = self._begin("online", id=run_id, resume="allow")
            except Exception as error:
                logger.warning(
                    "%s is not available online (%s); the run is kept in %s for `wandb sync`",
                    self.name,
                    error,
                    self._folder,
                )
            else:
                return
        self._run = self._begin("offline", group=run_id)

    def _begin(self, mode: str, **identity: Any) -> Any:
        """Begin a run; `identity` are the arguments that name it."""
        known_settings = self._package.Settings.model_fields
        settings = {key: value for key, value in WANDB_SETTINGS.items() if key in known_settings}
        stdin = sys.stdin
        with open(os.devnull) as empty_stdin:
            # Without an account, wandb would ask for one at a terminal.
            sys.stdin = empty_stdin
            try:
                return self._package.init(
                    project=os.environ.get("WANDB_PROJECT", "tessera"),
                    name=self._model,
                    dir=self._folder.parent,
                    config=self._settings,
                    mode=mode,
                    settings=self._package.Settings(**settings),
                    reinit="finish_previous",
                    **identity,
                )
            finally:
                sys.stdin = stdin

    def log_scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        self._run.log(values, step=epoch)

    def log_images(self, epoch: int, patches: Sequence[ShownPatch], outputs: Sequence[str]) -> None:
        labels = dict(enumerate(outputs)) | {IGNORE: "unknown"}
        images = []
        for number, pixels, truth, prediction in patches:
            planes = {"ground_truth": truth, "prediction": prediction}
            masks = {key: {"mask_data": plane, "class_labels": labels} for key, plane in planes.items()}
            rgb = np.rint(255 * display_rgb(pixels)).astype(np.uint8)
            images.append(self._package.Image(rgb, masks=masks, caption=f"patch {number}"))
        self._run.log({"patches": images}, step=epoch)

    def finish(self) -> None:
        self._run.finish()


class ProgressCallback(keras.callbacks.Callback):
    """Keras callback that logs how far a long epoch is, about every 10 s; short epochs log nothing.

    Args:
        batch_size: patches per minibatch.
        epochs: number of epochs of the whole training.
        clock: returns the time in seconds.
    """

    def __init__(self, batch_size: int, epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._supports_tf_logs = True  # Keras then leaves the loss on the device until it is needed
        self._batch_size = batch_size
        self._epochs = epochs
        self._clock = clock

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._has_traced = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._label = f"epoch {epoch + 1}/{self._epochs}"
        self._progress = self._make_progress()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._has_traced:
            # The first step builds the network's graph, so its time does not count.
            self._has_traced = True
            self._progress = self._make_progress()
            self._progress.skip(self._batch_size)
        else:
            self._progress.advance(self._batch_size, f"loss {float((logs or {})['loss']):.4f}")

    def _make_progress(self) -> Progress:
        total = self.params["steps"] * self._batch_size
        return Progress(total, "patches", self._label, interval_s=INTERVAL_S, clock=self._clock)
