"""Checkpoints: when the state of a training is saved, how a training continues, and a full disk."""

import itertools
import os
import resource
import signal
from collections.abc import Callable

import pytest

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.checkpoint import TrainingCheckpoint, explain_write_errors
from tessera.training.early_stopping import StoppingRule
from tessera.training.history import read_history
from tessera.training.trainer import TrainingStage

RULE = StoppingRule(epochs=50, patience=50)
STAGE = TrainingStage("all", 0, 50, 1.0)


def standing_clock() -> float:
    """A clock on which saving takes no time, so that each epoch is saved."""
    return 0.0


def slow_clock() -> Callable[[], float]:
    """Return a clock that advances by 1 s whenever it is read: saving takes 1 s, an epoch 2 s."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


def start_training(folder, units=4, clock=standing_clock, stage=STAGE):
    """Return the checkpoint of a tiny network whose training is about to begin, and the network."""
    pixels = keras.Input((2,))
    network = keras.Model(pixels, keras.layers.Dense(units)(pixels))
    network.compile(keras.optimizers.Adam())
    checkpoint = TrainingCheckpoint(network, folder, "provenance", RULE, clock=clock)
    checkpoint.resume(network, stage)
    checkpoint.set_model(network)
    checkpoint.on_train_begin()
    return checkpoint, network


def saved_epochs(folder):
    path = folder / "history.csv"
    return [row["epoch"] for row in read_history(path)] if path.exists() else []


def test_load_best_restores_the_best_weights_not_the_last(tmp_path):
    checkpoint, network = start_training(tmp_path / "run")
    for epoch, loss in enumerate([3.0, 1.0, 2.0]):
        network.layers[-1].kernel.assign(tf.fill((2, 4), float(epoch)))
        checkpoint.on_epoch_end(epoch, {"loss": 1.0, "val_loss": loss})
    assert checkpoint.best["epoch"] == 2
    checkpoint.load_best()
    assert network.layers[-1].kernel.numpy().max() == 1.0


def test_killed_training_continues_after_the_last_saved_epoch(tmp_path):
    checkpoint, network = start_training(tmp_path / "run", clock=slow_clock())
    network.layers[-1].kernel.assign(tf.fill((2, 4), 7.0))
    checkpoint.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})
    network.layers[-1].kernel.assign(tf.fill((2, 4), 8.0))
    checkpoint.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.0})
    continued, restored = start_training(tmp_path / "run")
    assert [row["epoch"] for row in continued.rows] == [1]
    assert restored.layers[-1].kernel.numpy().max() == 7.0


def test_saving_takes_at_most_a_twentieth_of_the_time(tmp_path):
    checkpoint, _ = start_training(tmp_path / "run", clock=slow_clock())
    lengths = []
    for epoch in range(24):
        checkpoint.on_epoch_end(epoch, {"loss": 1.0, "val_loss": 3.0})
        lengths.append(len(saved_epochs(tmp_path / "run")))
    # A save takes 1 s, so the next one is due after 20 s, that is after ten epochs of 2 s.
    assert lengths == [1] * 10 + [11] * 10 + [21] * 4


def test_seconds_of_an_epoch_include_the_save_before_it(tmp_path):
    checkpoint, _ = start_training(tmp_path / "run", clock=slow_clock())
    for epoch in range(3):
        checkpoint.on_epoch_end(epoch, {"loss": 1.0, "val_loss": 3.0})
    # The clock is read once at the start, then for the end of the epoch and for the question whether to save; twice
    # more during the save after the first epoch.
    assert [row["seconds"] for row in checkpoint.rows] == [1.0, 4.0, 2.0]
    assert checkpoint.seconds == 7.0


def test_last_epoch_of_a_stage_is_always_saved(tmp_path):
    stage = TrainingStage("decoder", 0, 2, 1.0)
    checkpoint, _ = start_training(tmp_path / "run", clock=slow_clock(), stage=stage)
    for epoch in range(2):
        checkpoint.on_epoch_end(epoch, {"loss": 1.0, "val_loss": 3.0})
    assert saved_epochs(tmp_path / "run") == [1, 2]


def test_full_disk_is_an_error_and_the_saved_state_stays(tmp_path):
    checkpoint, network = start_training(tmp_path / "run", units=200_000)
    checkpoint.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})
    saved = network.layers[-1].kernel.numpy().copy()
    network.layers[-1].kernel.assign_add(tf.ones_like(saved))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*free space on that disk and run the same command"):
            checkpoint.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    continued, restored = start_training(tmp_path / "run", units=200_000)
    assert [row["epoch"] for row in continued.rows] == [1]
    assert (restored.layers[-1].kernel.numpy() == saved).all()
    continued.load_best()


def test_explain_write_errors_lets_other_errors_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), explain_write_errors(tmp_path):
        _ = 1 / 0
    with pytest.raises(InputError, match=os.strerror(28)), explain_write_errors(tmp_path):
        raise OSError(28, os.strerror(28))


def test_checkpoint_of_another_provenance_is_removed(tmp_path):
    TrainingCheckpoint(None, tmp_path / "run", "one", RULE)
    (tmp_path / "run" / "history.csv").write_text("epoch")
    TrainingCheckpoint(None, tmp_path / "run", "one", RULE)
    assert (tmp_path / "run" / "history.csv").exists()
    TrainingCheckpoint(None, tmp_path / "run", "two", RULE)
    assert not (tmp_path / "run" / "history.csv").exists()
