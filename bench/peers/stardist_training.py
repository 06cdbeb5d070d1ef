"""Trains StarDist for some minutes, like the 2D example of its authors, and labels the test images.

From https://github.com/stardist/stardist, examples/2D/2_training.ipynb and 3_prediction.ipynb: 32 rays on a grid of 2,
minibatches of 4 patches of 256, channels normalized one by one, flips, quarter turns and changes of intensity, Adam at
3e-4, halved if the validation loss has not fallen for a tenth of the epochs (40 of 400), best weights, and thresholds
optimized on the validation images. The number of epochs is the one that fits into the minutes.
"""

import json
import os
import shutil
import time
from pathlib import Path

os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}

import numpy as np
import tensorflow as tf  # noqa: TID251 - in an environment of its own
import tf_keras as keras  # noqa: TID251
from csbdeep.utils import normalize
from stardist import fill_label_holes
from stardist.models import Config2D, StarDist2D
from tasks import answer

PRECISIONS = ("float32", "mixed_bfloat16")
STEPS = 100  # of an epoch
PROBE_STEPS, PROBE_SECONDS = 12, 20
RNG = np.random.default_rng(0)


class Network(StarDist2D):
    """StarDist with float32 outputs in any precision, which Keras recommends and the losses need."""

    def _build(self):
        def rebuilt(layer):
            settings = layer.get_config()
            if layer.name in ("prob", "dist"):
                settings["dtype"] = "float32"
            return type(layer).from_config(settings)

        return keras.models.clone_model(super()._build(), clone_function=rebuilt)


class Stopwatch(keras.callbacks.Callback):
    """Stops the training after some seconds; counts its steps."""

    def __init__(self, seconds):
        super().__init__()
        self._seconds = seconds
        self.steps = 0

    def on_train_begin(self, logs=None):
        self._started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.seconds = time.monotonic() - self._started
        self.model.stop_training = self.seconds >= self._seconds


def read_side(folder, side):
    """Normalized images (y, x, c) and labels (y, x) of a subset."""
    images, labels = [], []
    for path in sorted((Path(folder) / side).glob("*.npz")):
        with np.load(path) as arrays:
            images.append(normalize(arrays["image"], 1, 99.8, axis=(0, 1)))
            labels.append(fill_label_holes(arrays["labels"]))
    return images, labels


def augment(image, labels):
    """Flips, quarter turns and changes of intensity, as in the example."""
    quarter, flip = RNG.integers(4), RNG.integers(2)
    image, labels = (np.rot90(array, quarter)[:: -1 if flip else 1] for array in (image, labels))
    image = image * RNG.uniform(0.6, 2) + RNG.uniform(-0.2, 0.2)
    return image + 0.02 * RNG.uniform() * RNG.standard_normal(image.shape), labels


def build(output, name, channels, precision, **settings):
    keras.mixed_precision.set_global_policy(precision)
    keras.utils.set_random_seed(0)
    shutil.rmtree(output / name, ignore_errors=True)
    config = Config2D(
        n_rays=32, grid=(2, 2), n_channel_in=channels, use_gpu=False, train_tensorboard=False,
        train_steps_per_epoch=STEPS, **settings,
    )  # fmt: skip
    return Network(config, name=name, basedir=str(output))


def measure_rate(output, train, precision):
    """Steps per second, after a warm-up, of at most PROBE_STEPS and PROBE_SECONDS."""
    model = build(output, f"probe-{precision}", train[0][0].shape[-1], precision)
    model.prepare_for_training()
    rates = []
    for steps in (2, PROBE_STEPS):
        watch = Stopwatch(PROBE_SECONDS)
        model.callbacks = [watch]
        model.train(*train, validation_data=(train[0][:1], train[1][:1]), augmenter=augment, epochs=1,
                    steps_per_epoch=steps)  # fmt: skip
        rates.append(watch.steps / watch.seconds)
    return rates[-1]


def run(examples, output, minutes, precision, optimize=True):
    """Train on the examples and label the test images.

    Args:
        examples: folder with train, val and test, which hold npz of "image" (y, x, c) and "labels" (y, x).
        output: folder for the model and for {image}.npy, the labels of the test images.
        minutes: time of training, without the search for the faster precision and for thresholds.
        precision: precision of Keras, or "quickest".
        optimize: optimize the thresholds, which takes very long for a network that has hardly learned.

    Returns:
        {"precision", "epochs", "steps", "seconds", "images_per_second": in training, "thresholds", "val_loss"}.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    train, val = (read_side(examples, side) for side in ("train", "val"))
    rates = {each: measure_rate(output, train, each) for each in PRECISIONS if precision in (each, "quickest")}
    precision = max(rates, key=rates.get)
    epochs = max(1, round(minutes * 60 * rates[precision] / STEPS))
    reduce = {"factor": 0.5, "patience": max(2, round(epochs / 10)), "min_delta": 0}
    model = build(output, "model", train[0][0].shape[-1], precision, train_reduce_lr=reduce)
    model.prepare_for_training()
    watch = Stopwatch(minutes * 60)
    model.callbacks.append(watch)
    history = model.train(*train, validation_data=val, augmenter=augment, seed=0, epochs=10 * epochs).history
    thresholds = model.optimize_thresholds(*val) if optimize else model.thresholds._asdict()
    for path in sorted((Path(examples) / "test").glob("*.npz")):
        with np.load(path) as arrays:
            labels, _ = model.predict_instances(normalize(arrays["image"], 1, 99.8, axis=(0, 1)))
        np.save(output / f"{path.stem}.npy", labels.astype(np.int32))
    images_per_second = watch.steps * model.config.train_batch_size / watch.seconds
    figures = {"precision": precision, "epochs": len(history["loss"]), "steps": watch.steps, "seconds": watch.seconds}
    figures |= {"images_per_second": images_per_second, "thresholds": thresholds, "val_loss": min(history["val_loss"])}
    figures |= {"steps_per_second": rates, "cores": len(os.sched_getaffinity(0)), "tensorflow": tf.__version__}
    (output / "history.json").write_text(json.dumps({key: list(map(float, row)) for key, row in history.items()}))
    return figures


if __name__ == "__main__":
    answer(run)
