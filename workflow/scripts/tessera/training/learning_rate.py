"""Learning rates: the schedules of a training, and the range test that finds a peak learning rate.

A schedule gives the learning rate of each step as a fraction of the peak (`train.learning_rate`). With
`train.learning_rate: auto` a range test finds the peak first (Smith 2017, https://arxiv.org/abs/1506.01186).
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.networks.tensorflow_setup import keras, tf

MIN_FRACTION = 0.01  # of the peak, at the start and the end of a schedule
RANGE_TEST_LIMITS = (1e-6, 1.0)  # lowest and highest learning rate of the range test
RANGE_TEST_STEPS = 100
_WARMUP = {"cosine": 0.05, "one_cycle": 0.3}  # fraction of the training in which the rate rises
_PLATEAU_FACTOR = 0.3
_SMOOTHING = 0.9
_DIVERGENCE_FACTOR = 4.0  # the range test ends when the loss exceeds the lowest loss so many times
_SAFETY_FACTOR = 10.0  # the rate of the lowest loss is divided by this


def fraction_of_peak(schedule: str, progress: float) -> float:
    """Return the learning rate as a fraction of its peak, when the fraction `progress` of a training is done.

    - cosine: a short linear warm-up, then half a cosine down to MIN_FRACTION.
      Loshchilov and Hutter 2017, SGDR, https://arxiv.org/abs/1608.03983
    - one_cycle: half a cosine up for 30 % of the training, then half a cosine down.
      Smith and Topin 2018, Super-Convergence, https://arxiv.org/abs/1708.07120
    - plateau, constant: 1. `plateau_factor` lowers the rate of plateau.
    """
    if schedule not in _WARMUP:
        return 1.0
    warmup = _WARMUP[schedule]
    if progress >= warmup:
        return MIN_FRACTION + (1 - MIN_FRACTION) * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
    done = progress / warmup
    return MIN_FRACTION + (1 - MIN_FRACTION) * (done if schedule == "cosine" else (1 - math.cos(math.pi * done)) / 2)


def plateau_factor(values: Sequence[float], patience: int) -> float:
    """Return the factor of the learning rate in the schedule plateau.

    The rate falls to 0.3 of itself whenever `patience` epochs in a row have brought no better value.

    Args:
        values: monitored value of each epoch so far, smaller is better.
        patience: number of epochs.
    """
    factor, best, waited = 1.0, math.inf, 0
    for value in values:
        waited = 0 if value < best else waited + 1
        best = min(best, value)
        if waited >= patience:
            factor, waited = factor * _PLATEAU_FACTOR, 0
    return factor


class LearningRateSchedule(keras.callbacks.Callback):
    """Keras callback that sets the learning rate before each step.

    The rate follows the fraction of the planned steps that are done, or the fraction of the time limit if that is
    larger.

    Args:
        schedule: name of the schedule, see `fraction_of_peak`.
        peak: largest learning rate.
        steps: number of planned steps.
        steps_done: number of steps that earlier runs did.
        time_limit_s: seconds that the training may take; None: no limit.
        seconds_done: seconds that earlier runs took.
        plateau: returns the current factor of the schedule plateau; called before each epoch.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        schedule: str,
        peak: float,
        steps: int,
        *,
        steps_done: int = 0,
        time_limit_s: float | None = None,
        seconds_done: float = 0.0,
        plateau: Callable[[], float] = lambda: 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._schedule, self._peak, self._plateau = schedule, peak, plateau
        self._steps, self._steps_done = steps, steps_done
        self._time_limit_s = time_limit_s or math.inf
        self._clock = clock
        self._started = clock() - seconds_done

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._factor = self._plateau() if self._schedule == "plateau" else 1.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        progress = max(self._steps_done / self._steps, (self._clock() - self._started) / self._time_limit_s)
        rate = self._peak * self._factor * fraction_of_peak(self._schedule, min(progress, 1.0))
        self.model.optimizer.learning_rate.assign(rate)
        self._steps_done += 1


def find_learning_rate(model: Any, minibatches: Any) -> tuple[float, list[tuple[float, float]]]:
    """Find a learning rate by a range test: train some steps with rising rates, then restore the weights.

    The result is a tenth of the rate with the lowest smoothed loss. There, training is fast and far from divergence.

    Args:
        model: compiled Keras model; compile it again afterwards.
        minibatches: tf.data.Dataset of pixels and targets, of which at most RANGE_TEST_STEPS are used.

    Returns:
        The learning rate, and the curve of the test: (rate, smoothed loss) of each step.

    Raises:
        InputError: the loss of the first step is not finite.
    """
    weights = model.get_weights()
    step = model.make_train_function(force=True)
    curve: list[tuple[float, float]] = []
    smoothed = 0.0
    rates = np.geomspace(*RANGE_TEST_LIMITS, RANGE_TEST_STEPS)
    iterator = iter(model.distribute_strategy.experimental_distribute_dataset(minibatches.take(RANGE_TEST_STEPS)))
    for number, rate in enumerate(rates, start=1):
        model.optimizer.learning_rate.assign(rate)
        model.reset_metrics()
        try:
            loss = float(step(iterator)["loss"])
        except (StopIteration, tf.errors.OutOfRangeError):
            break
        smoothed = _SMOOTHING * smoothed + (1 - _SMOOTHING) * loss
        value = smoothed / (1 - _SMOOTHING**number)
        if not math.isfinite(value) or (curve and value > _DIVERGENCE_FACTOR * min(loss for _, loss in curve)):
            break
        curve.append((float(rate), value))
    model.set_weights(weights)
    model.reset_metrics()
    if not curve:
        raise InputError(
            "train.learning_rate: auto found no learning rate, because the loss of the first step is not finite; look "
            "at the contact sheet of the patches, and set a number"
        )
    return min(curve, key=lambda point: point[1])[0] / _SAFETY_FACTOR, curve


def plot_range_test(curve: Sequence[tuple[float, float]], rate: float, path: StrPath) -> None:
    """Plot the curve of a range test (see `find_learning_rate`), with a line at the rate that was chosen."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*curve, strict=True))
    axes.axvline(rate, color="0.6", linestyle="--", linewidth=1, label=f"chosen: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss", title="Learning rate range test")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
