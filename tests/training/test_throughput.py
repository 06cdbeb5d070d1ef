"""Throughput: the rates of the input pipeline and of the training step, on a clock that the work itself advances."""

import numpy as np
import pytest

from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.throughput import measure_throughput


class WorkClock:
    """A clock that each minibatch and each training step advances by a fixed time."""

    def __init__(self, minibatch_s, step_s):
        self.now, self.minibatch_s, self.step_s = 0.0, minibatch_s, step_s

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("minibatch_s", "step_s", "expected"),
    [
        (0.5, 0.25, {"pipeline": 8.0, "step": 16.0, "bound": "input"}),
        (0.25, 0.5, {"pipeline": 16.0, "step": 8.0, "bound": "compute"}),
    ],
)
def test_slower_part_limits_the_training(minibatch_s, step_s, expected):
    clock = WorkClock(minibatch_s, step_s)

    class Pipeline:
        """Minibatches of 4 patches, each of which takes `minibatch_s`."""

        element_spec = (tf.TensorSpec((4, 2)), tf.TensorSpec((4, 1)))

        def repeat(self):
            while True:
                clock.now += clock.minibatch_s
                yield np.ones((4, 2), "float32"), np.ones((4, 1), "float32")

    class Step(keras.Model):
        """A model whose `fit` takes `step_s` per step."""

        def fit(self, *arguments, steps_per_epoch, **options):
            clock.now += steps_per_epoch * clock.step_s
            return super().fit(*arguments, steps_per_epoch=steps_per_epoch, **options)

    pixels = keras.Input((2,))
    model = Step(pixels, keras.layers.Dense(1)(pixels))
    model.compile(keras.optimizers.SGD(), "mse")
    assert measure_throughput(model, Pipeline(), batch_size=4, clock=clock) == expected
