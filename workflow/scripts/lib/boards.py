"""Boards on which a training can be watched: TensorBoard and Weights & Biases."""

import importlib
import os
import sys
import time
import uuid
from pathlib import Path

import numpy as np

from .errors import InputError
from .frameworks import keras, tf
from .overlays import displayed, draw_panels
from .targets import IGNORE

PICTURES = 6
CANDIDATES = 64  # patches that are looked at for objects; reading all of a large side would take long
CONNECT_S = 30
# Weights & Biases is told what a training shows, and nothing of the machine or the code.
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


def boards(network, images, targets, outputs, *, folder, every, wandb, name, settings):
    """Callbacks that show a training as it goes on: scalars after each epoch, pictures after every few.

    They draw nothing at random. A board that fails is left out with a warning; the training goes on. A training that
    begins at its first epoch clears the folder of what an earlier one wrote, one that goes on replaces what it repeats.

    Args:
        network: Keras model, pixels (n, y, x, c) to probabilities (n, y, x, outputs).
        images, targets: validation patches, (n, y, x, c) and (n, y, x) uint8, arrays in memory or Zarr arrays.
        outputs: names of what the network tells apart, background first.
        folder: of TensorBoard's event files; those of Weights & Biases go to `wandb` beside the parent of it.
        every: epochs from one set of pictures to the next; 0: none.
        wandb: "off" | "offline" | "online".
        name: of the model.
        settings: dict, for the record.

    Raises:
        InputError: Weights & Biases is wanted, and is not installed.
    """
    shown = [Events(Path(folder), settings)]
    if wandb != "off":
        shown.append(Run(Path(folder).parent.with_name("wandb"), load_wandb(wandb), wandb, name, settings))
    chosen = choose_patches(targets) if every else []
    patches = [(index, np.asarray(images[index]), np.asarray(targets[index])) for index in chosen]
    return [Display(network, patches, outputs, every, shown)]


def choose_patches(targets):
    """Indices of up to PICTURES patches, evenly spread, those with objects first, the same ones each time.

    Args:
        targets: (n, y, x) uint8, 0 is background.
    """
    spread = _evenly(range(targets.shape[0]), CANDIDATES)
    full = [index for index in spread if ((targets[index] > 0) & (targets[index] != IGNORE)).any()]
    chosen = _evenly(full, PICTURES)
    return sorted(chosen + _evenly([index for index in spread if index not in full], PICTURES - len(chosen)))


def _evenly(items, most):
    count = min(most, len(items))
    return [items[int((i + 0.5) * len(items) / count)] for i in range(count)]


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
            f"train.wandb is {wanted}, but Weights & Biases is not installed; run `{sys.executable} -m pip install wandb`, "
            "or set train.wandb to off"
        )
    return package


class Display(keras.callbacks.Callback):
    """Gives every board what there is to see of each epoch; see `boards`.

    A board has `name`, `start(epochs)` with the epochs that are done already, `scalars(epoch, logs)`,
    `pictures(epoch, patches, outputs)` with (index, pixels, truth, prediction) of each patch, and `finish()`.
    """

    def __init__(self, network, patches, outputs, every, shown):
        super().__init__()
        self._network = network
        self._patches = patches
        self._outputs = outputs
        self._every = every
        self._shown = shown
        self._done = None

    def on_epoch_begin(self, epoch, logs=None):
        # A training in stages is one all the same.
        if epoch != self._done:
            self._each("start", epoch)
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self._done = epoch + 1
        own = {"lr": float(self.model.optimizer.learning_rate), "seconds": round(time.monotonic() - self._began, 2)}
        self._each("scalars", self._done, {key: float(value) for key, value in logs.items()} | own)
        if self._patches and self._shown and self._done % self._every == 0:
            self._each("pictures", self._done, self._predicted(), self._outputs)

    def on_train_end(self, logs=None):
        if self.model.stop_training:
            self._each("finish")

    def _predicted(self):
        # One by one, so that pictures take no more memory than training does.
        found = [self._network(pixels[None].astype(np.float32), training=False) for _, pixels, _ in self._patches]
        classes = [np.argmax(probabilities[0], -1).astype(np.uint8) for probabilities in found]
        return [(*patch, prediction) for patch, prediction in zip(self._patches, classes, strict=True)]

    def _each(self, action, *arguments):
        for board in list(self._shown):
            try:
                getattr(board, action)(*arguments)
            except Exception as error:  # whatever it is, it is no reason to lose a training
                self._shown.remove(board)
                print(f"{board.name} is left out from here on: {error}", flush=True)


class Events:
    """TensorBoard's event files in a folder, one for each time that a training goes on; steps are epochs."""

    name = "TensorBoard"

    def __init__(self, folder, settings):
        self._folder = folder
        self._settings = settings

    def start(self, epochs):
        if epochs:
            self._forget(epochs + 1)
        else:
            for path in self._folder.glob("events.out.tfevents.*"):
                path.unlink()
        self._writer = tf.summary.create_file_writer(str(self._folder))
        if not epochs:
            with self._writer.as_default(step=0):
                tf.summary.text("settings", settings_table(self._settings))

    def _forget(self, step):
        """Have readers drop what an earlier run wrote of `step` and later; TensorFlow 2 has no call for it."""
        with tf.Graph().as_default():
            writer = tf.compat.v1.summary.FileWriter(str(self._folder))
            writer.add_session_log(tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START), step)
            writer.close()

    def scalars(self, epoch, logs):
        with self._writer.as_default(step=epoch):
            for column, value in logs.items():
                tf.summary.scalar(f"{section(column)}/{column}", value)
        self._writer.flush()

    def pictures(self, epoch, patches, outputs):
        with self._writer.as_default(step=epoch):
            for index, *planes in patches:
                tf.summary.image(f"patches/{index}", np.asarray(draw_panels(*planes, outputs))[None])
        self._writer.flush()

    def finish(self):
        self._writer.close()


def section(column):
    """Under which heading TensorBoard shows a column of the history."""
    return next((heading for heading in ("loss", "iou") if heading in column), "run")


def settings_table(settings):
    """Settings as a table in Markdown."""
    rows = [f"| {key} | {value} |" for key, value in settings.items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


class Run:
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
                    f"{self.name} cannot be used online, so the run is kept in {self._folder} for `wandb sync`: {error}",
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
            picture = np.rint(255 * displayed(pixels)).astype(np.uint8)
            shown.append(self._package.Image(picture, masks=masks, caption=f"patch {index}"))
        self._run.log({"patches": shown}, step=epoch)

    def finish(self):
        self._run.finish()
