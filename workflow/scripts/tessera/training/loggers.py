"""Boards on which a training can be watched: TensorBoard and Weights & Biases."""

import time
from pathlib import Path

import numpy as np

from tessera.common.constants import IGNORE
from tessera.networks.tensorflow_setup import keras
from tessera.training.tensorboard_logger import Events
from tessera.training.wandb_logger import Experiment, load_wandb

PICTURES = 6
CANDIDATES = 64  # patches that are looked at for objects; reading all of a large side would take long


def make_display(network, images, targets, outputs, *, folder, every, wandb_mode, name, settings):
    """A callback that shows a training as it goes on: scalars after each epoch, pictures after every few.

    It draws nothing at random. A board that fails is left out with a warning; the training goes on. A training that
    begins at its first epoch clears the folder of what an earlier one wrote, one that goes on replaces what it repeats.

    Args:
        network: Keras model, pixels (n, y, x, c) to probabilities (n, y, x, outputs).
        images, targets: validation patches, (n, y, x, c) and (n, y, x) uint8, arrays in memory or Zarr arrays.
        outputs: names of what the network tells apart, background first.
        folder: of TensorBoard's event files; those of Weights & Biases go to `wandb` beside the parent of it.
        every: epochs from one set of pictures to the next; 0: none.
        wandb_mode: "off" | "offline" | "online".
        name: of the model.
        settings: dict, for the record.

    Raises:
        InputError: Weights & Biases is wanted, and is not installed.
    """
    shown = [Events(Path(folder), settings)]
    if wandb_mode != "off":
        shown.append(
            Experiment(Path(folder).parent.with_name("wandb"), load_wandb(wandb_mode), wandb_mode, name, settings)
        )
    chosen = choose_patches(targets) if every else []
    patches = [(index, np.asarray(images[index]), np.asarray(targets[index])) for index in chosen]
    return Display(network, patches, outputs, every, shown)


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


class Display(keras.callbacks.Callback):
    """Gives every board what there is to see of each epoch; see `make_display`.

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
        rate = keras.backend.get_value(self.model.optimizer.learning_rate)
        own = {"lr": float(rate), "seconds": round(time.monotonic() - self._began, 2)}
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
