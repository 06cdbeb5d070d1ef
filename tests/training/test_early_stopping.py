"""Early stopping: which epoch is the best, and when a training ends."""

import math

import pytest

from tessera.training.early_stopping import (
    StoppingRule,
    best_row,
    epochs_without_improvement,
    is_smaller_better,
    stop_reason,
)


def make_rows(*, seconds=1.0, **columns):
    """Return a history with these columns."""
    return [
        dict(zip(columns, values, strict=True)) | {"seconds": seconds} for values in zip(*columns.values(), strict=True)
    ]


def test_best_epoch_has_the_smallest_loss_or_the_largest_iou():
    rows = make_rows(epoch=[1, 2, 3, 4], val_loss=[3, 1, 1, 2], val_iou=[0.1, 0.2, 0.4, math.nan])
    assert best_row(rows)["epoch"] == 2
    assert best_row(rows, "val_iou")["epoch"] == 3


def test_improvements_below_min_delta_do_not_count():
    rows = make_rows(val_iou=[0.50, 0.505, 0.509, 0.52, 0.52])
    assert epochs_without_improvement(rows, "val_iou") == 1
    assert epochs_without_improvement(rows[:3], "val_iou", 0.01) == 2
    assert epochs_without_improvement(rows, "val_iou", 0.01) == 1
    # Small steps add up: 0.505 and 0.509 are no improvement, 0.52 is one by more than 0.015.
    assert epochs_without_improvement(rows, "val_iou", 0.015) == 1


@pytest.mark.parametrize(
    ("losses", "limits", "reason"),
    [
        ([], {}, None),
        ([3, 2, 1], {}, None),
        ([3, 2, 1], {"epochs": 3}, "all 3 epochs are done"),
        ([1, 2, 3], {"patience": 2}, "no better val_loss in 2 epochs"),
        ([1, 2, 0.5], {"patience": 2}, None),
        ([3, 2], {"max_minutes": 0.5}, None),
        ([3, 2, 1], {"max_minutes": 0.5}, "one more epoch would not fit into 0.5 minutes"),
    ],
)
def test_training_ends_by_epochs_patience_or_time_limit(losses, limits, reason):
    rows = make_rows(epoch=list(range(1, len(losses) + 1)), val_loss=losses, seconds=10.0)
    assert stop_reason(rows, StoppingRule(**{"epochs": 60, "patience": 12} | limits)) == reason


def test_frozen_epochs_do_not_count_for_patience():
    rows = make_rows(epoch=[1, 2, 3, 4, 5], val_loss=[1, 2, 3, 4, 5])
    assert stop_reason(rows, StoppingRule(epochs=60, patience=2)) == "no better val_loss in 2 epochs"
    assert stop_reason(rows[:4], StoppingRule(epochs=60, patience=2, frozen_epochs=3)) is None
    assert stop_reason(rows, StoppingRule(epochs=60, patience=2, frozen_epochs=2)) == "no better val_loss in 2 epochs"


def test_column_without_finite_values_never_improves():
    rows = make_rows(epoch=[1, 2], val_iou=[math.nan, math.nan])
    assert best_row(rows, "val_iou")["epoch"] == 1
    assert epochs_without_improvement(rows, "val_iou") == 2


def test_loss_decides_if_no_epoch_has_a_finite_score():
    rows = [{"epoch": n, "val_iou_rare": math.nan, "val_loss": loss} for n, loss in enumerate((3.0, 1.0, 2.0), start=1)]
    assert best_row(rows, "val_iou_rare")["epoch"] == 2


def test_iou_of_a_class_with_the_name_of_a_loss_is_maximized():
    rows = [{"epoch": n, "val_iou_gloss": iou} for n, iou in enumerate((0.1, 0.9), start=1)]
    assert best_row(rows, "val_iou_gloss")["epoch"] == 2
    assert is_smaller_better("val_loss")
    assert not is_smaller_better("val_iou_bone_loss")
