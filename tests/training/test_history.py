"""Histories: which epoch is best, when a training is over, and the folder that an interrupted one goes on from."""

import json
import math

import pytest

from tessera.training.history import best_row, epochs_waited, open_or_reset_run_folder, verdict


def test_a_training_under_the_same_recipe_keeps_its_folder_and_another_empties_it(tmp_path):
    folder = tmp_path / "runs" / "fold1"
    open_or_reset_run_folder(folder, "one")
    (folder / "history.csv").touch()
    open_or_reset_run_folder(folder, "one")
    assert {path.name for path in folder.iterdir()} == {"history.csv", "provenance.json"}
    open_or_reset_run_folder(folder, "two")
    assert {path.name for path in folder.iterdir()} == {"provenance.json"}
    assert json.loads((folder / "provenance.json").read_text()) == "two"


@pytest.mark.parametrize("content", [b"", b'"on', b"\xff\xfe"])
def test_a_note_that_was_cut_off_does_not_block_training(tmp_path, content):
    (tmp_path / "provenance.json").write_bytes(content)
    (tmp_path / "history.csv").touch()
    open_or_reset_run_folder(tmp_path, "one")
    assert {path.name for path in tmp_path.iterdir()} == {"provenance.json"}


def history(**columns):
    return [
        dict(zip(columns, values, strict=True)) | {"seconds": 1.0} for values in zip(*columns.values(), strict=True)
    ]


def test_the_best_epoch_has_the_smallest_loss_or_the_largest_iou():
    rows = history(epoch=[1, 2, 3, 4], val_loss=[3, 1, 1, 2], val_iou=[0.1, 0.2, 0.4, math.nan])
    assert best_row(rows)["epoch"] == 2
    assert best_row(rows, "val_iou")["epoch"] == 3


def test_what_is_better_by_less_than_min_delta_is_waited_through():
    rows = history(val_iou=[0.50, 0.505, 0.509, 0.52, 0.52])
    assert epochs_waited(rows, "val_iou") == 1
    assert epochs_waited(rows[:3], "val_iou", 0.01) == 2
    assert epochs_waited(rows, "val_iou", 0.01) == 1
    # Small steps add up: 0.505 and 0.509 are no better, 0.52 is by more than 0.015.
    assert epochs_waited(rows, "val_iou", 0.015) == 1


def test_frozen_epochs_do_not_count_for_patience():
    rows = history(epoch=[1, 2, 3, 4, 5], val_loss=[1, 2, 3, 4, 5])
    limits = {"epochs": 60, "patience": 2, "max_minutes": None}
    assert verdict(rows, **limits) == "no better val_loss in 2 epochs"
    assert verdict(rows[:4], **limits, frozen_epochs=3) is None
    assert verdict(rows, **limits, frozen_epochs=2) == "no better val_loss in 2 epochs"


def test_a_column_that_was_never_a_number_is_waited_for_in_vain():
    rows = history(epoch=[1, 2], val_iou=[math.nan, math.nan])
    assert best_row(rows, "val_iou")["epoch"] == 1
    assert epochs_waited(rows, "val_iou") == 2


def test_where_no_epoch_has_a_score_the_loss_decides():
    rows = [{"epoch": n, "val_iou_rare": math.nan, "val_loss": loss} for n, loss in enumerate((3.0, 1.0, 2.0), start=1)]
    assert best_row(rows, "val_iou_rare")["epoch"] == 2


def test_a_class_may_be_named_like_a_loss():
    rows = [{"epoch": n, "val_iou_gloss": iou} for n, iou in enumerate((0.1, 0.9), start=1)]
    assert best_row(rows, "val_iou_gloss")["epoch"] == 2
