"""Learning rates: how they go on through a training, and a trial that finds a good one."""

import math
import time

import numpy as np
from matplotlib.figure import Figure

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, tf

LOWEST = 0.01  # share of the peak where a schedule begins and ends
TRIED = (1e-6, 1.0)  # learning rates of a trial
TRIAL_STEPS = 100
_RISE = {"cosine": 0.05, "one_cycle": 0.3}  # share of a training in which the rate rises
_PLATEAU_FACTOR = 0.3
_SMOOTHING = 0.9
_DIVERGED = 4.0  # times the least loss at which a trial is over
_BACK_OFF = 10.0  # a rate that trains well is so many times smaller than that of the least loss


def share_of_peak(schedule, share):
    """The learning rate, as a share of its peak, when `share` of a training is done.

    cosine: a short linear rise, then half a cosine down to nearly nothing.
        Loshchilov and Hutter 2017, SGDR, https://arxiv.org/abs/1608.03983
    one_cycle: half a cosine up for three tenths of the training, then down.
        Smith and Topin 2018, Super-Convergence, https://arxiv.org/abs/1708.07120
    plateau, constant: 1.
    """
    if schedule not in _RISE:
        return 1.0
    rise = _RISE[schedule]
    if share >= rise:
        return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * (share - rise) / (1 - rise))) / 2
    done = share / rise
    return LOWEST + (1 - LOWEST) * (done if schedule == "cosine" else (1 - math.cos(math.pi * done)) / 2)


def plateau_factor(values, patience):
    """By what the schedule plateau has lowered the rate after epochs with these values (the smaller the better).

    It is lowered to 0.3 of itself whenever `patience` epochs have passed without a value below all before.
    """
    factor, best, waited = 1.0, math.inf, 0
    for value in values:
        waited = 0 if value < best else waited + 1
        best = min(best, value)
        if waited >= patience:
            factor, waited = factor * _PLATEAU_FACTOR, 0
    return factor


class Schedule(keras.callbacks.Callback):
    """Sets the learning rate before each step.

    It follows the share of the planned steps that are done, or of the seconds where those run out first.

    Args:
        kind: name of a schedule, see `share_of_peak`.
        peak: largest learning rate.
        steps: planned.
        step: done already.
        budget: seconds planned, or None.
        seconds: spent already.
        factor: function without arguments, by what the schedule plateau has lowered the rate, asked before each epoch.
    """

    def __init__(self, kind, peak, steps, *, step=0, budget=None, seconds=0.0, factor=lambda: 1.0):
        super().__init__()
        self._kind, self._peak, self._factor = kind, peak, factor
        self._steps, self._step = steps, step
        self._budget = budget or math.inf
        self._started = time.monotonic() - seconds

    def on_epoch_begin(self, epoch, logs=None):
        self._lowered = self._factor() if self._kind == "plateau" else 1.0

    def on_train_batch_begin(self, batch, logs=None):
        share = max(self._step / self._steps, (time.monotonic() - self._started) / self._budget)
        rate = self._peak * self._lowered * share_of_peak(self._kind, min(share, 1.0))
        self.model.optimizer.learning_rate.assign(rate)
        self._step += 1


def find_learning_rate(trainee, batches):
    """Try rising learning rates, and leave the weights as they were.

    Smith 2017, Cyclical Learning Rates, https://arxiv.org/abs/1506.01186. The rate that is found is a tenth of the one
    with the least smoothed loss, where training is quick and not yet near to diverging.

    Args:
        trainee: compiled Keras model; its optimiser is of no use afterwards.
        batches: tf.data.Dataset of pixels and targets, TRIAL_STEPS of them at the most are taken.

    Returns:
        The rate, and the trial: a list of (rate, smoothed loss).

    Raises:
        InputError: the loss is no number from the first.
    """
    weights = trainee.get_weights()
    step, trial, smoothed = trainee.make_train_function(force=True), [], 0.0
    rates = np.geomspace(*TRIED, TRIAL_STEPS)
    iterator = iter(trainee.distribute_strategy.experimental_distribute_dataset(batches.take(TRIAL_STEPS)))
    for number, rate in enumerate(rates, start=1):
        trainee.optimizer.learning_rate.assign(rate)
        trainee.reset_metrics()
        try:
            loss = float(step(iterator)["loss"])
        except (StopIteration, tf.errors.OutOfRangeError):
            break
        smoothed = _SMOOTHING * smoothed + (1 - _SMOOTHING) * loss
        value = smoothed / (1 - _SMOOTHING**number)
        if not math.isfinite(value) or (trial and value > _DIVERGED * min(loss for _, loss in trial)):
            break
        trial.append((float(rate), value))
    trainee.set_weights(weights)
    trainee.reset_metrics()
    if not trial:
        raise InputError(
            "train.learning_rate: auto finds none, since the loss is no number from the first step; look at the "
            "contact sheet of the patches, and give a number"
        )
    return min(trial, key=lambda pair: pair[1])[0] / _BACK_OFF, trial


def plot_learning_rate_trial(trial, rate, path):
    """Draw the curve of a trial, see `find_learning_rate`, with a line at the rate that was taken."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*trial, strict=True))
    axes.axvline(rate, color="0.6", linestyle="--", linewidth=1, label=f"taken: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss", title="Trial of learning rates")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
