"""The trainer: its stages and its stopping rule."""

import pytest

from tessera.common.errors import InputError
from tessera.settings.sections import TrainSettings
from tessera.training.early_stopping import StoppingRule
from tessera.training.trainer import NanGuard, TrainingStage, plan_stages, stopping_rule


def test_stages_follow_from_frozen_epochs():
    assert plan_stages(TrainSettings(epochs=10)) == [TrainingStage("all", 0, 10, 1.0)]
    frozen = TrainSettings(epochs=10, frozen_epochs=4)
    assert plan_stages(frozen) == [TrainingStage("decoder", 0, 4, 1.0), TrainingStage("all", 4, 10, 0.1)]
    assert plan_stages(frozen.model_copy(update={"finetune_lr_factor": 0.5}))[1].lr_factor == 0.5
    assert plan_stages(TrainSettings(epochs=10, frozen_epochs=10)) == [TrainingStage("decoder", 0, 10, 1.0)]


def test_stopping_rule_is_taken_from_the_settings():
    settings = TrainSettings(epochs=9, patience=3, max_minutes=5, monitor="val_iou", min_delta=0.1, frozen_epochs=2)
    assert stopping_rule(settings) == StoppingRule(9, 3, 5, "val_iou", 0.1, 2)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_nan_guard_stops_at_the_minibatch_whose_loss_is_not_finite(loss):
    guard = NanGuard()
    guard.on_epoch_begin(4)
    guard.on_train_batch_end(0, {"loss": 0.5})
    with pytest.raises(InputError, match="the loss is no longer finite at epoch 5, minibatch 3"):
        guard.on_train_batch_end(2, {"loss": loss})
