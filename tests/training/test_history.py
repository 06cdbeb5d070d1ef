"""Training history: reading and writing it, its summary, and the folder of an interrupted training."""

import json

import pytest

from tessera.training.early_stopping import StoppingRule
from tessera.training.history import epoch_summary, open_or_reset_run_folder, read_history, write_history


def test_run_folder_is_kept_for_the_same_provenance_and_emptied_for_another(tmp_path):
    folder = tmp_path / "runs" / "fold1"
    open_or_reset_run_folder(folder, "one")
    (folder / "history.csv").touch()
    open_or_reset_run_folder(folder, "one")
    assert {path.name for path in folder.iterdir()} == {"history.csv", "provenance.json"}
    open_or_reset_run_folder(folder, "two")
    assert {path.name for path in folder.iterdir()} == {"provenance.json"}
    assert json.loads((folder / "provenance.json").read_text()) == "two"


@pytest.mark.parametrize("content", [b"", b'"on', b"\xff\xfe"])
def test_truncated_provenance_file_does_not_block_a_training(tmp_path, content):
    (tmp_path / "provenance.json").write_bytes(content)
    (tmp_path / "history.csv").touch()
    open_or_reset_run_folder(tmp_path, "one")
    assert {path.name for path in tmp_path.iterdir()} == {"provenance.json"}


def test_written_history_is_read_back(tmp_path):
    rows = [{"epoch": 1, "loss": 0.5, "seconds": 2.25}, {"epoch": 2, "loss": 0.25, "seconds": 2.0}]
    write_history(rows, tmp_path / "history.csv")
    assert read_history(tmp_path / "history.csv") == rows
    assert isinstance(read_history(tmp_path / "history.csv")[0]["epoch"], int)


def test_epoch_summary_is_one_readable_line():
    row = {"loss": 0.5, "val_iou": 0.7, "val_iou_cell": 0.7, "val_iou_edge": 0.25, "lr": 0.001}
    rows = [row | {"epoch": 1, "val_loss": 0.6, "seconds": 20.0}, row | {"epoch": 2, "val_loss": 0.5, "seconds": 10.0}]
    assert epoch_summary(rows, StoppingRule(epochs=60, patience=12)) == (
        "epoch  2/60  loss 0.5000  val 0.5000  iou cell 0.700 edge 0.250  10.0 s  at most 14.5 min left  *"
    )
    rows.append(row | {"epoch": 3, "val_loss": 0.7, "seconds": 10.0})
    rule = StoppingRule(epochs=60, patience=12, max_minutes=2)
    assert epoch_summary(rows, rule).endswith("at most 1.3 min left")
