"""Records of trainings: what is kept of one after each epoch, from which it goes on when it was killed."""

import contextlib
import math
import time
from pathlib import Path

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.history import (
    best_row,
    cost,
    open_or_reset_run_folder,
    progress_line,
    read_history,
    verdict,
    write_history,
)

_SAVING_SHARE = 0.05  # of the time of a training that saving its state may take


class Record(keras.callbacks.Callback):
    """The history of a training, its best weights and its last state, in a folder, from which it goes on when killed.

    The state, three times as large as the weights, is saved after each epoch, unless that took more than _SAVING_SHARE
    of the time.

    Args:
        network: the Keras model to keep; it shares its layers with the one that is trained, which may have more.
        folder: it is emptied where it is of another provenance.
        limits: see `tessera.training.history.verdict`.

    Attributes:
        rows: one dict per finished epoch.
    """

    def __init__(self, network, folder, provenance, limits):
        super().__init__()
        self._network = network
        self._folder = Path(folder)
        self._limits = limits
        open_or_reset_run_folder(self._folder, provenance)
        self.rows = []

    def resume(self, trainee, stage):
        """Bring back weights, optimiser and history of the last epoch that was saved in `stage`, if one was."""
        trainee.optimizer.build(trainee.trainable_variables)
        self._stage = stage
        self._epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
        state = tf.train.Checkpoint(model=trainee, optimizer=trainee.optimizer, epoch=self._epoch)
        self._states = tf.train.CheckpointManager(state, str(self._folder / f"state-{stage.name}"), max_to_keep=1)
        if self._states.latest_checkpoint:
            state.restore(self._states.latest_checkpoint).assert_existing_objects_matched()
            self.rows = read_history(self._folder / "history.csv")[: int(self._epoch)]
            print(f"Going on after epoch {len(self.rows)}, where an earlier run was stopped", flush=True)

    @property
    def seconds(self):
        """Seconds that all finished epochs took."""
        return self.seconds_of(len(self.rows))

    def seconds_of(self, epochs):
        """Seconds that the first `epochs` epochs took."""
        return sum(row["seconds"] for row in self.rows[:epochs])

    @property
    def best(self):
        """The row of the best epoch."""
        return best_row(self.rows, self._limits["monitor"])

    @property
    def verdict(self):
        """Why the training is over, or None."""
        return verdict(self.rows, **self._limits)

    def costs(self, stage):
        """The values of what is monitored in the epochs of a stage, the smaller the better."""
        return [cost(row, self._limits["monitor"]) for row in self.rows[stage.start :]]

    def load_best(self):
        """Put the weights of the best epoch into the network."""
        self._network.load_weights(self._weights(self.best["epoch"]))

    def on_train_begin(self, logs=None):
        self._marked = self._saved = time.monotonic()
        self._saving_s = 0.0

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["val_loss"]):
            raise InputError(
                f"train: the validation loss is no longer a number after epoch {epoch + 1}; lower train.learning_rate"
            )
        # Saving counts as part of the next epoch, so that the seconds add up to the time that training took.
        marked, self._marked = self._marked, time.monotonic()
        learning_rate = float(keras.backend.get_value(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1, **logs, "lr": learning_rate, "seconds": round(self._marked - marked, 2)}
        self.rows.append(row)
        over = self.verdict is not None
        with room_on_disk(self._folder):
            if self.best is row:
                self._network.save_weights(self._weights(row["epoch"]))
            if over or len(self.rows) == self._stage.end or self._is_saving_due():
                self._save()
        print(progress_line(self.rows, self._limits), flush=True)
        self.model.stop_training = over

    def _is_saving_due(self):
        return self._saving_s <= _SAVING_SHARE * (time.monotonic() - self._saved)

    def _save(self):
        """Write the state last: what is newer than it is made again, what it needs is never removed before it."""
        began = time.monotonic()
        write_history(self.rows, self._folder / "history.csv")
        self._epoch.assign(len(self.rows))
        self._states.save()
        for path in self._folder.glob("best-*"):
            if path != self._weights(self.best["epoch"]):
                path.unlink()
        self._saved = time.monotonic()
        self._saving_s = self._saved - began

    def _weights(self, epoch):
        return self._folder / f"best-{epoch}.weights.h5"


@contextlib.contextmanager
def room_on_disk(folder):
    """Tell the user what to do where something cannot be written into `folder`.

    Raises:
        InputError: it cannot.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"{folder}: cannot be written ({' '.join(str(error).split())[:200]}); make room on that disk and run the "
            "same command again, which goes on from the last epoch that was saved"
        ) from error
