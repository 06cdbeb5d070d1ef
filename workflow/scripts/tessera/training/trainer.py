"""The trainer: runs a training stage by stage.

With `train.frozen_epochs`, the decoder is trained alone first, while the encoder is frozen; then everything is trained.
A training whose folder has a saved state continues there (see `tessera.training.checkpoint`).
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tessera.common.atomic_write import write_json
from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras
from tessera.settings.sections import TrainSettings
from tessera.training.checkpoint import TrainingCheckpoint
from tessera.training.data_loader import PatchSet, training_minibatches, validation_minibatches
from tessera.training.early_stopping import StoppingRule
from tessera.training.learning_rate import LearningRateSchedule, find_learning_rate, plateau_factor
from tessera.training.optimizer import make_optimizer
from tessera.training.throughput import Throughput, measure_throughput
from tessera.training.training_model import reseed

FINETUNE_LR_FACTOR = 0.1
RANGE_TEST_FILE = "rates.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingStage:
    """Consecutive epochs of a training in which the same layers are trained.

    Attributes:
        name: "decoder" (the encoder is frozen) or "all".
        start: number of epochs before the stage.
        end: number of epochs after the stage.
        lr_factor: factor on the learning rate of the training.
    """

    name: str
    start: int
    end: int
    lr_factor: float


@dataclass(frozen=True)
class LearningRateChoice:
    """The peak learning rate of a training.

    Attributes:
        rate: the learning rate.
        reason: why it was chosen.
        curve: (rate, smoothed loss) of each step of the range test; None if there was no test.
    """

    rate: float
    reason: str
    curve: list[tuple[float, float]] | None = None


def plan_stages(settings: TrainSettings) -> list[TrainingStage]:
    """Return the stages of a training in order, by `frozen_epochs`, `epochs` and `finetune_lr_factor`."""
    frozen_epochs, epochs = min(settings.frozen_epochs, settings.epochs), settings.epochs
    if not frozen_epochs:
        return [TrainingStage("all", 0, epochs, 1.0)]
    lr_factor = FINETUNE_LR_FACTOR if settings.finetune_lr_factor is None else settings.finetune_lr_factor
    stages = [
        TrainingStage("decoder", 0, frozen_epochs, 1.0),
        TrainingStage("all", frozen_epochs, epochs, lr_factor),
    ]
    return [stage for stage in stages if stage.start < stage.end]


def stopping_rule(settings: TrainSettings) -> StoppingRule:
    """Return when a training with these settings ends."""
    return StoppingRule(
        epochs=settings.epochs,
        patience=settings.patience,
        max_minutes=settings.max_minutes,
        monitor=settings.monitor,
        min_delta=settings.min_delta,
        frozen_epochs=settings.frozen_epochs,
    )


class Trainer:
    """The training of one network.

    Args:
        model: `tessera.training.training_model.DeepSupervisionModel`.
        encoder: layers that are frozen while the decoder is trained alone.
        train: training patches.
        val: validation patches.
        checkpoint: keeps the state of the training.
        settings: section train, with `precision` and `batch_size` resolved.
    """

    def __init__(
        self,
        model: Any,
        encoder: Sequence[Any],
        train: PatchSet,
        val: PatchSet,
        checkpoint: TrainingCheckpoint,
        settings: TrainSettings,
    ) -> None:
        self._model, self._encoder = model, encoder
        self._train, self._val = train, val
        self._checkpoint, self._settings = checkpoint, settings
        self._stages = plan_stages(settings)

    def resolve_learning_rate(self, run_folder: Path) -> LearningRateChoice:
        """Return the peak learning rate: as set, or found by a range test, which is stored in `run_folder`."""
        path = run_folder / RANGE_TEST_FILE
        if self._settings.learning_rate != "auto":
            self._peak_rate = self._settings.learning_rate
            return LearningRateChoice(self._peak_rate, "as set")
        if not path.is_file():
            self._enter(self._stages[0])
            minibatches, _ = self._minibatches(0, self._settings.epochs)
            write_json(path, find_learning_rate(self._model, minibatches))
        self._peak_rate, curve = json.loads(path.read_text())
        lowest = min(curve, key=lambda point: point[1])
        reason = f"a tenth of {lowest[0]:.2g}, which had the lowest loss in a range test of {len(curve)} steps"
        logger.info("Learning rate: %.2g, %s", self._peak_rate, reason)
        return LearningRateChoice(self._peak_rate, reason, curve)

    def run(self, callbacks: Sequence[Any]) -> None:
        """Train stage by stage, from the last saved epoch, until the checkpoint has a reason to stop."""
        for stage in self._stages:
            self._enter(stage)
            self._checkpoint.resume(self._model, stage)
            epochs_done = len(self._checkpoint.rows)
            if self._checkpoint.stop_reason or epochs_done >= stage.end:
                continue
            minibatches, steps = self._minibatches(epochs_done, stage.end)
            own = [
                self._make_schedule(stage, epochs_done, steps),
                EpochSeeder(self._settings.seed),
                NanGuard(),
                self._checkpoint,
            ]
            self._model.fit(
                minibatches,
                steps_per_epoch=steps,
                initial_epoch=epochs_done,
                epochs=stage.end,
                validation_data=validation_minibatches(*self._val, batch_size=self._batch_size),
                callbacks=[*own, *callbacks],
                verbose=0,
            )
        logger.info(
            "Training ended: %s; epoch %d was the best", self._checkpoint.stop_reason, self._checkpoint.best["epoch"]
        )

    def measure_throughput(self) -> Throughput:
        """See `tessera.training.throughput.measure_throughput`; the weights change."""
        return measure_throughput(self._model, self._minibatches(0, 1)[0], self._batch_size)

    @property
    def _batch_size(self) -> int:
        assert self._settings.batch_size != "auto"
        return self._settings.batch_size

    def _enter(self, stage: TrainingStage) -> None:
        """Freeze or unfreeze the encoder for `stage`, and compile the model with a new optimizer."""
        for layer in self._encoder:
            # A frozen batch normalization of Keras uses its moving averages and does not update them.
            layer.trainable = stage.name == "all"
        optimizer = make_optimizer(self._settings, self._settings.precision)
        self._model.compile(optimizer, jit_compile=self._settings.xla)

    def _minibatches(self, first_epoch: int, epochs: int) -> tuple[Any, int]:
        return training_minibatches(
            *self._train,
            batch_size=self._batch_size,
            seed=self._settings.seed,
            first_epoch=first_epoch,
            epochs=epochs,
        )

    def _make_schedule(self, stage: TrainingStage, epochs_done: int, steps: int) -> LearningRateSchedule:
        settings, seconds_before = self._settings, self._checkpoint.seconds_of(stage.start)
        is_limited = settings.max_minutes and stage is self._stages[-1]
        time_limit_s = (settings.max_minutes or 0) * 60 - seconds_before if is_limited else None
        patience = max(settings.patience // 2, 1)
        return LearningRateSchedule(
            settings.schedule,
            self._peak_rate * stage.lr_factor,
            steps * (stage.end - stage.start),
            steps_done=steps * (epochs_done - stage.start),
            time_limit_s=time_limit_s,
            seconds_done=self._checkpoint.seconds - seconds_before,
            plateau=lambda: plateau_factor(self._checkpoint.monitored_values(stage), patience),
        )


class EpochSeeder(keras.callbacks.Callback):
    """Keras callback that seeds random layers before each epoch, see `tessera.training.training_model.reseed`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        reseed(self.model, self._seed, epoch)


class NanGuard(keras.callbacks.Callback):
    """Keras callback that stops a training when its loss is no longer finite.

    Raises:
        InputError: the loss is NaN or infinite.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None and not math.isfinite(logs["loss"]):
            raise InputError(
                f"train: the loss is no longer finite at epoch {self._epoch + 1}, minibatch {batch + 1}; lower "
                "train.learning_rate, set train.clip_norm to 1, and look for patches with odd values in their contact "
                "sheet. The state of the last saved epoch is kept beside the model's folder"
            )
