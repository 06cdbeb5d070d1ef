"""What goes on around the steps of a training: scores, the learning rate, and the record of its epochs."""

import math
import time
from pathlib import Path

from .errors import InputError
from .frameworks import keras, tf
from .histories import best_row, claim_folder, progress_line, read_history, verdict, write_history
from .targets import IGNORE

_WARM_UP = 0.05
_LOWEST = 0.01
_SAVE_SECONDS = 30


class ClassIoU(keras.metrics.MeanIoU):
    """Intersection over union of every class but the background, and their mean, over all pixels that are known.

    A class that is neither true nor predicted anywhere has no IoU, and is left out of the mean.
    """

    def __init__(self, outputs, name="iou"):
        super().__init__(len(outputs), name=name, ignore_class=IGNORE, sparse_y_pred=False)
        self._outputs = outputs

    def result(self):
        """{"iou": mean, "iou_<output>": of one class}."""
        overlap = tf.linalg.diag_part(self.total_cm)
        union = tf.reduce_sum(self.total_cm, 0) + tf.reduce_sum(self.total_cm, 1) - overlap
        ious = (overlap / union)[1:]
        mean = tf.reduce_mean(tf.boolean_mask(ious, union[1:] > 0))
        return {self.name: mean} | {f"{self.name}_{o}": ious[i] for i, o in enumerate(self._outputs[1:])}


class Schedule(keras.callbacks.Callback):
    """The learning rate, step by step: a short linear rise to its peak, then half a cosine down to nearly nothing.

    It follows the share of the planned steps that are done, or of the minutes where those run out first.

    Loshchilov and Hutter 2017, SGDR, https://arxiv.org/abs/1608.03983
    """

    def __init__(self, peak, steps, minutes, step=0, seconds=0.0):
        """`steps` and `minutes` (or None) are planned; `step` and `seconds` are done already."""
        super().__init__()
        self._peak = peak
        self._steps = steps
        self._step = step
        self._budget = minutes * 60 if minutes else math.inf
        self._started = time.monotonic() - seconds

    def on_train_batch_begin(self, batch, logs=None):
        share = max(self._step / self._steps, (time.monotonic() - self._started) / self._budget)
        self.model.optimizer.learning_rate.assign(self._peak * rate(min(share, 1.0)))
        self._step += 1

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"train: the loss is no longer a number at step {self._step}; "
                "lower train.learning_rate, and look for patches with odd values in the contact sheet of the patches"
            )


def rate(share):
    """The learning rate, as a share of its peak, when `share` of a training is done."""
    if share < _WARM_UP:
        return _LOWEST + (1 - _LOWEST) * share / _WARM_UP
    return _LOWEST + (1 - _LOWEST) * (1 + math.cos(math.pi * (share - _WARM_UP) / (1 - _WARM_UP))) / 2


class Record(keras.callbacks.Callback):
    """The history of a training, its best weights and its last state, in a folder, from which it goes on when killed.

    The state, three times as large as the weights, is saved after an epoch when _SAVE_SECONDS have passed.

    Args:
        network: the Keras model to keep; it shares its layers with the one that is trained, which may have more.
        folder: it is emptied where it is of another recipe.
        limits: {"epochs", "patience", "minutes"}, see `verdict`.

    Attributes:
        rows: one dict per finished epoch.
    """

    def __init__(self, network, folder, recipe, limits):
        super().__init__()
        self._network = network
        self._folder = Path(folder)
        self._limits = limits
        claim_folder(self._folder, recipe)
        self.rows = []

    def resume(self, model):
        """Bring back weights, optimiser and history of the last finished epoch; `model` is the one that is trained."""
        model.optimizer.build(model.trainable_variables)
        self._epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
        state = tf.train.Checkpoint(model=model, optimizer=model.optimizer, epoch=self._epoch)
        self._states = tf.train.CheckpointManager(state, str(self._folder / "state"), max_to_keep=1)
        if self._states.latest_checkpoint:
            state.restore(self._states.latest_checkpoint).assert_existing_objects_matched()
            self.rows = read_history(self._folder / "history.csv")[: int(self._epoch)]
            print(f"Going on after epoch {len(self.rows)}, where an earlier run was stopped", flush=True)

    @property
    def seconds(self):
        """Seconds that all finished epochs took."""
        return sum(row["seconds"] for row in self.rows)

    @property
    def best(self):
        """The row of the epoch with the smallest validation loss."""
        return best_row(self.rows)

    @property
    def verdict(self):
        """Why the training is over, or None."""
        return verdict(self.rows, **self._limits)

    def load_best(self):
        """Put the weights of the best epoch into the network."""
        self._network.load_weights(self._weights(self.best["epoch"]))

    def on_train_begin(self, logs=None):
        self._marked = self._saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["val_loss"]):
            raise InputError(
                f"train: the validation loss is no longer a number after epoch {epoch + 1}; lower train.learning_rate"
            )
        # Saving counts as part of the next epoch, so that the seconds add up to the time that training took.
        marked, self._marked = self._marked, time.monotonic()
        learning_rate = float(self.model.optimizer.learning_rate)
        row = {"epoch": epoch + 1, **logs, "lr": learning_rate, "seconds": round(self._marked - marked, 2)}
        self.rows.append(row)
        if self.best is row:
            self._network.save_weights(self._weights(row["epoch"]))
        if self.verdict or self._marked - self._saved > _SAVE_SECONDS:
            self._save()
        print(progress_line(self.rows, self._limits), flush=True)
        self.model.stop_training = self.verdict is not None

    def _save(self):
        """Write the state last: what is newer than it is made again, what it needs is never removed before it."""
        write_history(self.rows, self._folder / "history.csv")
        self._epoch.assign(len(self.rows))
        self._states.save()
        for path in self._folder.glob("best-*"):
            if path != self._weights(self.best["epoch"]):
                path.unlink()
        self._saved = time.monotonic()

    def _weights(self, epoch):
        return self._folder / f"best-{epoch}.weights.h5"
