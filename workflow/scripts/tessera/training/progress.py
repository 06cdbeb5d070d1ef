"""The pace of a training within an epoch, in lines that a person can read."""

import time

from tessera.networks.tensorflow_setup import keras

EVERY_S = 10


class Pace(keras.callbacks.Callback):
    """Prints how far an epoch is about every EVERY_S, and nothing in an epoch that is shorter.

    Args:
        batch_size: images per step.
        epochs: of the whole training.
        clock: gives seconds.
    """

    def __init__(self, batch_size, epochs, clock=time.monotonic):
        super().__init__()
        self._supports_tf_logs = True  # Keras then leaves the loss on the device until it is asked for
        self._batch_size = batch_size
        self._epochs = epochs
        self._clock = clock

    def on_train_begin(self, logs=None):
        self._mark = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        # The first step of all builds the network's graph, and is no measure of those to come.
        self._mark = self._mark and (0, self._clock())

    def on_train_batch_end(self, batch, logs=None):
        now, done = self._clock(), batch + 1
        if self._mark is None:
            self._mark = done, now
        since, marked = self._mark
        steps = self.params["steps"]
        if now - marked < EVERY_S or done == steps:
            return
        rate = (done - since) / (now - marked)
        print(
            step_line(
                (self._epoch + 1, self._epochs),
                (done, steps),
                float(logs["loss"]),
                rate * self._batch_size,
                (steps - done) / rate,
            ),
            flush=True,
        )
        self._mark = done, now


def step_line(epoch, step, loss, images_per_s, left_s):
    """How far a training is within an epoch: `epoch` and `step` are (number, of how many)."""
    epoch, step = (f"{number:>{len(str(all_))}}/{all_}" for number, all_ in (epoch, step))
    return (
        f"epoch {epoch}  step {step}  loss {loss:.4f}  {images_per_s:.1f} images/s  "
        f"{left_s / 60:.1f} min left in this epoch"
    )
