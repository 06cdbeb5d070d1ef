"""Histories of trainings: one row per epoch, {column: number}.

Used when Snakemake plans, so it needs the standard library only.
"""

import csv
import json
import math
import shutil
from pathlib import Path

from tessera.common.atomic_write import atomic_file, write_json


def open_or_reset_run_folder(folder, provenance):
    """Make `folder` that of a training under `provenance`: empty, unless it is one under the same provenance already.

    The provenance is noted in it; a note that cannot be read, such as one that was cut off, counts as another provenance.
    """
    note = Path(folder) / "provenance.json"
    try:
        noted = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        noted = None
    if noted == provenance:
        return
    shutil.rmtree(folder, ignore_errors=True)
    note.parent.mkdir(parents=True)
    write_json(note, provenance)


def is_smaller_better(metric):
    """Whether a column of a history is the better the smaller it is: a loss, and no IoU."""
    return metric.endswith("loss") and not metric.startswith("val_iou")


def cost(row, metric):
    """The value of a column, negative where more is better, so that the least is the best; inf if it is no number."""
    value = row[metric] if is_smaller_better(metric) else -row[metric]
    return value if math.isfinite(value) else math.inf


def best_row(rows, monitor="val_loss"):
    """The row of the first epoch with the best value of the column `monitor`, of the loss where it has none at all."""
    if not any(math.isfinite(row[monitor]) for row in rows) and "val_loss" in rows[0]:
        monitor = "val_loss"
    return min(rows, key=lambda row: cost(row, monitor))


def epochs_waited(rows, monitor, min_delta=0.0):
    """Epochs since the value of `monitor` was last better, by more than `min_delta`, than all before."""
    best, waited = math.inf, 0
    for row in rows:
        better = cost(row, monitor) < best - (min_delta if math.isfinite(best) else 0)
        best, waited = (cost(row, monitor), 0) if better else (best, waited + 1)
    return waited


def verdict(rows, *, epochs, patience, max_minutes, monitor="val_loss", min_delta=0.0, frozen_epochs=0):
    """Why a training with the history `rows` is over, or None.

    It is over after `epochs` epochs; after `patience` epochs without a better value of `monitor`, frozen epochs not
    counted; or when one more epoch would not fit into `max_minutes`.
    """
    if not rows:
        return None
    if len(rows) >= epochs:
        return f"all {epochs} epochs are done"
    if epochs_waited(rows[frozen_epochs:], monitor, min_delta) >= patience:
        return f"no better {monitor} in {patience} epochs"
    if max_minutes and sum(row["seconds"] for row in rows) + rows[-1]["seconds"] > max_minutes * 60:
        return f"one more epoch would not fit into {max_minutes:g} minutes"
    return None


def progress_line(rows, limits):
    """The last epoch in one line that a person can read."""
    row = rows[-1]
    seconds = sum(row["seconds"] for row in rows)
    left = (limits["epochs"] - len(rows)) * seconds / len(rows)
    if limits["max_minutes"]:
        left = max(0, min(left, limits["max_minutes"] * 60 - seconds))
    ious = [f"{key.removeprefix('val_iou_')} {value:.3f}" for key, value in row.items() if key.startswith("val_iou_")]
    return (
        f"epoch {row['epoch']:>{len(str(limits['epochs']))}}/{limits['epochs']}  loss {row['loss']:.4f}  "
        f"val {row['val_loss']:.4f}  iou {' '.join(ious)}  {row['seconds']:.1f} s  "
        f"at most {left / 60:.1f} min left{'  *' if best_row(rows, limits['monitor']) is row else ''}"
    )


def read_history(path):
    """Rows of history.csv: {column: number}, `epoch` an int."""
    with open(path, newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return [row | {"epoch": int(row["epoch"])} for row in rows]


def write_history(rows, path):
    """Write history.csv whole or not at all."""
    with atomic_file(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
