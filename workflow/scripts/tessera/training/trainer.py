"""Trainings: their stages, and what goes on around their steps."""

import json
import math
from dataclasses import dataclass

from tessera.common.atomic_write import write_json
from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras
from tessera.training.data_loader import training_minibatches, validation_minibatches
from tessera.training.learning_rate import Schedule, find_learning_rate, plateau_factor
from tessera.training.throughput import measure_throughput
from tessera.training.training_model import make_optimizer, reseed

UNFROZEN_RATE = 0.1
TRIAL = "rates.json"


@dataclass(frozen=True)
class Stage:
    """Epochs of a training in which the same layers learn.

    Attributes:
        name: "decoder" (the encoder is frozen) or "all".
        start, end: epochs done before it, and after it.
        rate: its largest learning rate, as a share of the training's.
    """

    name: str
    start: int
    end: int
    rate: float


def plan_stages(settings):
    """The stages of a training by `frozen_epochs`, `epochs` and `finetune_lr_factor` of the section train, in order."""
    frozen, epochs = min(settings["frozen_epochs"], settings["epochs"]), settings["epochs"]
    if not frozen:
        return [Stage("all", 0, epochs, 1.0)]
    rate = UNFROZEN_RATE if settings["finetune_lr_factor"] is None else settings["finetune_lr_factor"]
    stages = [Stage("decoder", 0, frozen, 1.0), Stage("all", frozen, epochs, rate)]
    return [stage for stage in stages if stage.start < stage.end]


class Training:
    """The training of one network.

    Args:
        trainee: `tessera.training.training_model.DeepSupervisionModel`.
        encoder: layers that stay as they are while the decoder learns alone.
        sides: {"train", "val": images (n, y, x, c) and targets (n, y, x)}.
        record: `tessera.training.checkpoint.Record`.
        settings: of the section train, `batch_size` and `precision` settled.
    """

    def __init__(self, trainee, encoder, sides, record, settings):
        self._trainee, self._encoder, self._sides = trainee, encoder, sides
        self._record, self._settings = record, settings
        self._stages = plan_stages(settings)

    def settle_rate(self, folder):
        """The largest learning rate: as set, or found by a trial that is kept in `folder`.

        Returns:
            The rate, why, and the trial (see `tessera.training.learning_rate.find_learning_rate`), None where there was none.
        """
        rate, path = self._settings["learning_rate"], folder / TRIAL
        if rate != "auto":
            self._rate = rate
            return rate, "as set", None
        if not path.is_file():
            self._enter(self._stages[0])
            batches, _ = self._batches(0, self._settings["epochs"])
            write_json(path, find_learning_rate(self._trainee, batches))
        self._rate, trial = json.loads(path.read_text())
        lowest = min(trial, key=lambda pair: pair[1])
        reason = f"a tenth of {lowest[0]:.2g}, where the loss was least in a trial of {len(trial)} steps"
        print(f"Learning rate: {self._rate:.2g}, {reason}", flush=True)
        return self._rate, reason, trial

    def run(self, callbacks):
        """Train stage by stage, from the last saved epoch on, until the record finds that it is over."""
        for stage in self._stages:
            self._enter(stage)
            self._record.resume(self._trainee, stage)
            done = len(self._record.rows)
            if self._record.verdict or done >= stage.end:
                continue
            batches, steps = self._batches(done, stage.end)
            self._trainee.fit(
                batches,
                steps_per_epoch=steps,
                initial_epoch=done,
                epochs=stage.end,
                validation_data=validation_minibatches(*self._sides["val"], batch_size=self._settings["batch_size"]),
                callbacks=[self._schedule(stage, done, steps), Guard(self._settings["seed"]), self._record, *callbacks],
                verbose=0,
            )
        print(f"Training is over: {self._record.verdict}; the best epoch was {self._record.best['epoch']}", flush=True)

    def measure_throughput(self):
        """See `tessera.training.throughput`; the weights are of no use afterwards."""
        return measure_throughput(self._trainee, self._batches(0, 1)[0], self._settings["batch_size"])

    def _enter(self, stage):
        for layer in self._encoder:
            # Keras lets batch normalization that is not trainable use its averages and leave them as they are.
            layer.trainable = stage.name == "all"
        optimizer = make_optimizer(self._settings, self._settings["precision"])
        self._trainee.compile(optimizer, jit_compile=self._settings["xla"])

    def _batches(self, first_epoch, epochs):
        settings = {key: self._settings[key] for key in ("batch_size", "seed")}
        return training_minibatches(*self._sides["train"], **settings, first_epoch=first_epoch, epochs=epochs)

    def _schedule(self, stage, done, steps):
        settings, before = self._settings, self._record.seconds_of(stage.start)
        limited = settings["max_minutes"] and stage is self._stages[-1]
        patience = max(settings["patience"] // 2, 1)
        return Schedule(
            settings["schedule"],
            self._rate * stage.rate,
            steps * (stage.end - stage.start),
            step=steps * (done - stage.start),
            budget=settings["max_minutes"] * 60 - before if limited else None,
            seconds=self._record.seconds - before,
            factor=lambda: plateau_factor(self._record.costs(stage), patience),
        )


class Guard(keras.callbacks.Callback):
    """Stops a training whose loss is no longer a number, and lets each epoch draw its own random numbers."""

    def __init__(self, seed):
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        reseed(self.model, self._seed, epoch)

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"train: the loss is no longer a number at epoch {self._epoch + 1}, batch {batch + 1}; lower "
                "train.learning_rate, set train.clip_norm to 1, and look for patches with odd values in their contact "
                "sheet. What was learnt up to the last saved epoch is kept beside the model's folder"
            )
