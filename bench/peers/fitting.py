"""Rule train on patches, and `model.fit` of the same network on the same minibatches in memory."""

import csv
import itertools
import json
import shutil
import time
from pathlib import Path

import numpy as np
from tasks import CORES, answer

from tessera.common.memory_budget import resident_mb
from tessera.settings.sections import TrainSettings


def settings_of(epochs):
    return TrainSettings(epochs=epochs, patience=epochs, batch_size=8)


def ours(patches, epochs):
    """Seconds of each epoch of rule train, with its checkpoints and images."""
    from train import train

    output = patches.with_name("model")
    for old in (output, output.with_name(f".{output.name}.part"), patches.with_name("logs")):
        shutil.rmtree(old, ignore_errors=True)
    logs, settings = patches.with_name("logs"), settings_of(epochs)
    train(patches, settings=settings, provenance="bench", output=output, threads=CORES, logs=logs)
    with (output / "history.csv").open() as table:
        return {"epochs": [float(row["seconds"]) for row in csv.DictReader(table)]}


def bare(patches, epochs):
    """Seconds of each epoch of `model.fit`, and memory (MiB) and seconds of each step before it."""
    marks = [("start", resident_mb(), time.monotonic())]

    def mark(name):
        marks.append((name, resident_mb(), time.monotonic()))

    from tessera.networks.devices import choose_device
    from tessera.networks.tensorflow_setup import keras, tf
    from tessera.training.data_loader import read_patches, training_minibatches
    from tessera.training.optimizer import make_optimizer
    from tessera.training.training_model import build_training_model

    mark("import")
    settings, patch_info = settings_of(epochs), json.loads((patches / "patches.json").read_text())
    train_set, val_set = (read_patches(patches / f"{subset}.zarr") for subset in ("train", "val"))
    choose_device("cpu", CORES)
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    mark("read")
    _, model = build_training_model(settings, patch_info)
    model.compile(make_optimizer(settings, "float32"))
    mark("build")
    minibatches, steps = training_minibatches(*train_set, batch_size=8, seed=0, first_epoch=0, epochs=1)
    images, targets = (np.concatenate(arrays) for arrays in zip(*minibatches.as_numpy_iterator(), strict=True))
    validation = (val_set.images.astype(np.float32), val_set.targets)
    mark("minibatches")
    model.fit(images[:8], targets[:8], batch_size=8, verbose=0)
    mark("first step")
    model.fit(images, targets, batch_size=8, shuffle=False, verbose=0)
    mark("later steps")
    watch = Watch(keras)
    model.fit(
        images, targets, batch_size=8, shuffle=False, epochs=epochs, validation_data=validation,
        validation_batch_size=8, verbose=0, callbacks=[watch.callback],
    )  # fmt: skip
    stages = {
        name: {"seconds": ended - begun, "mb": mb} for (_, _, begun), (name, mb, ended) in itertools.pairwise(marks)
    }
    return {"epochs": watch.seconds, "steps": steps, "patches": len(images), "stages": stages}


class Watch:
    """Seconds of each epoch, validation included, as the pipeline's own history counts them."""

    def __init__(self, keras):
        self.seconds = []

        def begin(logs=None):
            self._marked = time.monotonic()

        def end(epoch, logs=None):
            before, self._marked = self._marked, time.monotonic()
            self.seconds.append(self._marked - before)

        self.callback = keras.callbacks.LambdaCallback(on_train_begin=begin, on_epoch_end=end)


def run(patches, whose, epochs):
    """{"epochs": seconds of each, ...} of `whose` training, "ours" or "bare"."""
    return {"ours": ours, "bare": bare}[whose](Path(patches), epochs)


if __name__ == "__main__":
    answer(run)
