"""Checkpoints: what a training keeps after each epoch, so that it can continue after it was killed.

After each epoch a checkpoint keeps the history, the best weights and, unless that would take more than a twentieth of
the time, the complete state (weights and optimizer). The files are in a hidden folder beside the model's folder:

- `provenance.json`: the training that the folder belongs to;
- `history.csv`: the rows of all epochs up to the last saved state;
- `best-<epoch>.weights.h5`: the weights of the best epoch;
- `state-<stage>/`: TensorFlow's checkpoint of the last saved epoch of a stage.

The state is written last. Epochs after it are repeated when the training continues, and no file that the state needs is
removed before the state is written. Order and orientation of patches, dropout, learning rate and early stopping depend
only on the seed and the history, so a continued training gives the same weights as an uninterrupted one.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.early_stopping import HistoryRow, StoppingRule, best_row, stop_reason, value_to_minimize
from tessera.training.history import epoch_summary, open_or_reset_run_folder, read_history, write_history

if TYPE_CHECKING:
    from tessera.training.trainer import TrainingStage

MAX_SAVING_FRACTION = 0.05  # of the training time that saving the state may take
logger = logging.getLogger(__name__)


class TrainingCheckpoint(keras.callbacks.Callback):
    """Keras callback that keeps history, best weights and last state of a training in a folder.

    The state is three times as large as the weights. It is saved after each epoch, unless the last save took more than
    MAX_SAVING_FRACTION of the time since then.

    Args:
        network: Keras model whose weights are kept. It shares its layers with the trained model, which may have more.
        folder: folder of the checkpoint; emptied if it belongs to a training with another provenance.
        provenance: identifies the training.
        rule: when the training ends.
        clock: returns the time in seconds.

    Attributes:
        rows: history of the finished epochs.
    """

    def __init__(
        self,
        network: Any,
        folder: StrPath,
        provenance: Any,
        rule: StoppingRule,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._network = network
        self._folder = Path(folder)
        self._rule = rule
        self._clock = clock
        open_or_reset_run_folder(self._folder, provenance)
        self.rows: list[HistoryRow] = []

    def resume(self, model: Any, stage: "TrainingStage") -> None:
        """Restore weights, optimizer and history of the last saved epoch of `stage`, if there is one.

        Args:
            model: compiled Keras model that is trained.
            stage: stage of the training that is about to run.
        """
        model.optimizer.build(model.trainable_variables)
        self._stage = stage
        self._epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
        state = tf.train.Checkpoint(model=model, optimizer=model.optimizer, epoch=self._epoch)
        self._states = tf.train.CheckpointManager(state, str(self._folder / f"state-{stage.name}"), max_to_keep=1)
        if self._states.latest_checkpoint:
            state.restore(self._states.latest_checkpoint).assert_existing_objects_matched()
            self.rows = read_history(self._folder / "history.csv")[: int(self._epoch)]
            logger.info("Continuing after epoch %d, where an earlier run was stopped", len(self.rows))

    @property
    def seconds(self) -> float:
        """Seconds that all finished epochs took."""
        return self.seconds_of(len(self.rows))

    def seconds_of(self, epochs: int) -> float:
        """Return the seconds that the first `epochs` epochs took."""
        return sum(row["seconds"] for row in self.rows[:epochs])

    @property
    def best(self) -> HistoryRow:
        """The history row of the best epoch."""
        return best_row(self.rows, self._rule.monitor)

    @property
    def stop_reason(self) -> str | None:
        """Why the training has ended, or None if it continues."""
        return stop_reason(self.rows, self._rule)

    def monitored_values(self, stage: "TrainingStage") -> list[float]:
        """Return the monitored value of each epoch since the start of `stage`, negated if larger is better."""
        return [value_to_minimize(row, self._rule.monitor) for row in self.rows[stage.start :]]

    def load_best(self) -> None:
        """Load the weights of the best epoch into the network."""
        self._network.load_weights(self._weights_file(self.best["epoch"]))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._epoch_started = self._last_save = self._clock()
        self._last_save_s = 0.0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if not math.isfinite(logs["val_loss"]):
            raise InputError(
                f"train: the validation loss after epoch {epoch + 1} is not finite; lower train.learning_rate"
            )
        # Saving counts as part of the next epoch, so that the seconds add up to the time that training took.
        epoch_started, self._epoch_started = self._epoch_started, self._clock()
        learning_rate = float(keras.backend.get_value(self.model.optimizer.learning_rate))
        seconds = round(self._epoch_started - epoch_started, 2)
        row = {"epoch": epoch + 1, **logs, "lr": learning_rate, "seconds": seconds}
        self.rows.append(row)
        ended = self.stop_reason is not None
        with explain_write_errors(self._folder):
            if self.best is row:
                self._network.save_weights(self._weights_file(row["epoch"]))
            if ended or len(self.rows) == self._stage.end or self._is_save_due():
                self._save()
        logger.info("%s", epoch_summary(self.rows, self._rule))
        self.model.stop_training = ended

    def _is_save_due(self) -> bool:
        return self._last_save_s <= MAX_SAVING_FRACTION * (self._clock() - self._last_save)

    def _save(self) -> None:
        """Write the history, then the state, then remove the weights of epochs that are no longer the best."""
        started = self._clock()
        write_history(self.rows, self._folder / "history.csv")
        self._epoch.assign(len(self.rows))
        self._states.save()
        for path in self._folder.glob("best-*"):
            if path != self._weights_file(self.best["epoch"]):
                path.unlink()
        self._last_save = self._clock()
        self._last_save_s = self._last_save - started

    def _weights_file(self, epoch: int) -> Path:
        return self._folder / f"best-{epoch}.weights.h5"


@contextlib.contextmanager
def explain_write_errors(folder: StrPath) -> Iterator[None]:
    """Turn errors of writing into `folder` within the block into errors that say what to do.

    Raises:
        InputError: a file could not be written.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"{folder}: cannot write ({' '.join(str(error).split())[:200]}); free space on that disk and run the same "
            "command again, which continues after the last saved epoch"
        ) from error
