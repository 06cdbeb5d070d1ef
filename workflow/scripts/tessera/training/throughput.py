"""Throughput: whether a training waits for its input pipeline or for its network.

After a training, the input pipeline alone and the training step alone are timed. The slower one limits the training.
"""

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, TypedDict

from tessera.networks.tensorflow_setup import tf

MEASURED_S = 1.0  # approximate length of each measurement
MIN_MINIBATCHES = 3  # in each measurement
logger = logging.getLogger(__name__)


class Throughput(TypedDict):
    """Patches per second of the input `pipeline` and of the training `step`; the slower one: "input" or "compute"."""

    pipeline: float
    step: float
    bound: str


def measure_throughput(
    model: Any, minibatches: Any, batch_size: int, clock: Callable[[], float] = time.perf_counter
) -> Throughput:
    """Time the input pipeline alone, and the training step alone on one minibatch that is in memory.

    The weights of the model change.

    Args:
        model: compiled Keras model that was trained on such minibatches, so that its step is traced already.
        minibatches: tf.data.Dataset of a training.
        batch_size: patches per minibatch.
        clock: returns the time in seconds.
    """
    first_minibatch, pipeline = _time_pipeline(minibatches, batch_size, clock)
    step = _time_step(model, first_minibatch, minibatches.element_spec, batch_size, clock)
    bound = "input" if pipeline < step else "compute"
    logger.info(
        "Patches per second: %.1f from the input pipeline alone, %.1f through the network alone; %s",
        pipeline,
        step,
        "the input pipeline limits the training" if bound == "input" else "the input pipeline keeps up",
    )
    return {"pipeline": round(pipeline, 1), "step": round(step, 1), "bound": bound}


def _time_pipeline(minibatches: Any, batch_size: int, clock: Callable[[], float]) -> tuple[Any, float]:
    """Return the first minibatch, and the patches per second of those after it."""
    source = iter(minibatches.repeat())
    first = next(source)
    started = clock()
    number, seconds = 0, 0.0
    while number < MIN_MINIBATCHES or seconds <= MEASURED_S:
        next(source)
        number += 1
        seconds = clock() - started
    return first, number * batch_size / seconds


def _time_step(model: Any, minibatch: Any, signature: Any, batch_size: int, clock: Callable[[], float]) -> float:
    """Return the patches per second of training steps on the same minibatch."""
    # Same signature as the training's minibatches: another one would trace the step again, for many seconds.
    repeated = tf.data.Dataset.from_generator(lambda: itertools.repeat(minibatch), output_signature=signature)

    def seconds_of(steps: int) -> float:
        started = clock()
        model.fit(repeated, steps_per_epoch=steps, verbose=0)
        return clock() - started

    seconds_of(1)
    steps = max(MIN_MINIBATCHES, round(MEASURED_S / max(seconds_of(1), 1e-3)))
    return steps * batch_size / seconds_of(steps)
