"""Throughputs: whether a training waits for its patches or for its network."""

import itertools
import time

from tessera.networks.tensorflow_setup import tf

_SECONDS = 1.0  # for each of the two measurements, about
_FEW = 3  # batches at the least


def measure_throughput(trainee, batches, batch_size):
    """Patches per second that the input pipeline gives by itself, and that the network takes when one batch is at hand.

    The weights of the trainee are changed.

    Args:
        trainee: compiled Keras model that has been trained on such batches, so that its step is traced.
        batches: tf.data.Dataset of a training.
        batch_size: patches per batch.

    Returns:
        {"pipeline", "step": patches per second, "bound": "input" or "compute", whichever is the slower}.
    """
    first, pipeline = _time_pipeline(batches, batch_size)
    step = _time_step(trainee, first, batches.element_spec, batch_size)
    bound = "input" if pipeline < step else "compute"
    print(
        f"Patches per second: {pipeline:.1f} from the input pipeline alone, {step:.1f} through the network alone; "
        + ("the pipeline holds the network up" if bound == "input" else "the pipeline keeps up"),
        flush=True,
    )
    return {"pipeline": round(pipeline, 1), "step": round(step, 1), "bound": bound}


def _time_pipeline(batches, batch_size):
    """The first batch, and patches per second of those after it."""
    source = iter(batches.repeat())
    first = next(source)
    began = time.perf_counter()
    for number in itertools.count(1):
        next(source)
        seconds = time.perf_counter() - began
        if number >= _FEW and seconds > _SECONDS:
            return first, number * batch_size / seconds


def _time_step(trainee, batch, signature, batch_size):
    # The same signature as the training's batches have: another would trace the step anew, for many seconds.
    same = tf.data.Dataset.from_generator(lambda: itertools.repeat(batch), output_signature=signature)

    def fit(steps):
        began = time.perf_counter()
        trainee.fit(same, steps_per_epoch=steps, verbose=0)
        return time.perf_counter() - began

    fit(1)
    steps = max(_FEW, round(_SECONDS / max(fit(1), 1e-3)))
    return steps * batch_size / fit(steps)
