"""Records: when the state of a training is saved, and what is said where there is no room for it."""

import os
import resource
import signal

import pytest

from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.checkpoint import Record, room_on_disk
from tessera.training.history import read_history
from tessera.training.trainer import Stage, plan_stages

LIMITS = {"epochs": 5, "patience": 9, "max_minutes": None, "monitor": "val_loss"}
STAGE = Stage("all", 0, 5, 1.0)


def started(folder, units=4):
    """A record of a tiny network whose training is about to begin, and the trained model."""
    pixels = keras.Input((2,))
    network = keras.Model(pixels, keras.layers.Dense(units)(pixels))
    network.compile(keras.optimizers.Adam())
    record = Record(network, folder, "provenance", LIMITS)
    record.resume(network, STAGE)
    record.set_model(network)
    record.on_train_begin()
    return record, network


def test_the_best_weights_come_back_and_not_the_last(tmp_path):
    record, network = started(tmp_path / "work")
    for epoch, loss in enumerate([3.0, 1.0, 2.0]):
        network.layers[-1].kernel.assign(tf.fill((2, 4), float(epoch)))
        record.on_epoch_end(epoch, {"loss": 1.0, "val_loss": loss})
    assert record.best["epoch"] == 2
    record.load_best()
    assert network.layers[-1].kernel.numpy().max() == 1.0


def test_a_killed_training_goes_on_from_the_last_epoch_that_was_saved(tmp_path):
    record, network = started(tmp_path / "work")
    network.layers[-1].kernel.assign(tf.fill((2, 4), 7.0))
    record.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})
    network.layers[-1].kernel.assign(tf.fill((2, 4), 8.0))
    record._saving_s = 1e9
    record.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.0})
    again, resumed = started(tmp_path / "work")
    assert [row["epoch"] for row in again.rows] == [1]
    assert resumed.layers[-1].kernel.numpy().max() == 7.0


def test_saving_takes_a_small_share_of_the_time(tmp_path):
    record, _ = started(tmp_path / "work")
    assert record._is_saving_due()
    record._saving_s = 1.0
    assert not record._is_saving_due()
    record._saved -= 21
    assert record._is_saving_due()


def test_the_last_epoch_of_a_stage_is_always_saved(tmp_path):
    record, network = started(tmp_path / "work")
    record.resume(network, Stage("decoder", 0, 1, 1.0))
    record._saving_s = 1e9
    record.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})
    assert [row["epoch"] for row in read_history(tmp_path / "work" / "history.csv")] == [1]


def test_a_full_disk_is_told_and_what_was_saved_before_is_kept(tmp_path):
    record, network = started(tmp_path / "work", units=200_000)
    record.on_epoch_end(0, {"loss": 1.0, "val_loss": 3.0})
    kept = network.layers[-1].kernel.numpy().copy()
    network.layers[-1].kernel.assign_add(tf.ones_like(kept))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written .*make room on that disk and run the same command"):
            record.on_epoch_end(1, {"loss": 1.0, "val_loss": 2.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    again, resumed = started(tmp_path / "work", units=200_000)
    assert [row["epoch"] for row in again.rows] == [1]
    assert (resumed.layers[-1].kernel.numpy() == kept).all()
    again.load_best()


def test_room_on_disk_lets_other_errors_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), room_on_disk(tmp_path):
        _ = 1 / 0
    with pytest.raises(InputError, match=os.strerror(28)), room_on_disk(tmp_path):
        raise OSError(28, os.strerror(28))


def test_stages_follow_from_frozen_epochs():
    plain = {"epochs": 10, "frozen_epochs": 0, "finetune_lr_factor": None}
    assert plan_stages(plain) == [Stage("all", 0, 10, 1.0)]
    assert plan_stages(plain | {"frozen_epochs": 4}) == [Stage("decoder", 0, 4, 1.0), Stage("all", 4, 10, 0.1)]
    assert plan_stages(plain | {"frozen_epochs": 4, "finetune_lr_factor": 0.5})[1].rate == 0.5
    assert plan_stages(plain | {"frozen_epochs": 10}) == [Stage("decoder", 0, 10, 1.0)]
