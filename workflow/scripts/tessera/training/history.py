"""Training history: history.csv with one row per epoch, its one-line summary, and the folder of a running training.

`tessera.training.early_stopping` decides from the rows when a training ends.
"""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tessera.common.atomic_write import atomic_file, write_json
from tessera.common.types import StrPath
from tessera.training.early_stopping import HistoryRow, StoppingRule, best_row


def open_or_reset_run_folder(folder: StrPath, provenance: Any) -> None:
    """Prepare the folder in which a training keeps its state.

    The folder is kept if it belongs to a training with the same provenance, and emptied otherwise. Its file
    provenance.json identifies the training; a truncated or unreadable file counts as another provenance.
    """
    provenance_file = Path(folder) / "provenance.json"
    try:
        existing_provenance = json.loads(provenance_file.read_text())
    except (FileNotFoundError, ValueError):
        existing_provenance = None
    if existing_provenance == provenance:
        return
    shutil.rmtree(folder, ignore_errors=True)
    provenance_file.parent.mkdir(parents=True)
    write_json(provenance_file, provenance)


def epoch_summary(rows: Sequence[HistoryRow], rule: StoppingRule) -> str:
    """Return one line about the last epoch; a star at its end marks the best epoch so far."""
    row = rows[-1]
    seconds = sum(row["seconds"] for row in rows)
    seconds_left = (rule.epochs - len(rows)) * seconds / len(rows)
    if rule.max_minutes:
        seconds_left = max(0, min(seconds_left, rule.max_minutes * 60 - seconds))
    ious = [f"{key.removeprefix('val_iou_')} {value:.3f}" for key, value in row.items() if key.startswith("val_iou_")]
    return (
        f"epoch {row['epoch']:>{len(str(rule.epochs))}}/{rule.epochs}  loss {row['loss']:.4f}  "
        f"val {row['val_loss']:.4f}  iou {' '.join(ious)}  {row['seconds']:.1f} s  "
        f"at most {seconds_left / 60:.1f} min left{'  *' if best_row(rows, rule.monitor) is row else ''}"
    )


def read_history(path: StrPath) -> list[HistoryRow]:
    """Read history.csv; `epoch` is an int, all other values are floats."""
    with open(path, newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]


def write_history(rows: Sequence[HistoryRow], path: StrPath) -> None:
    """Write history.csv atomically."""
    with atomic_file(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
