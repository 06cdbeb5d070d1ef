"""Early stopping: which epoch of a training is the best, and when the training ends.

A history is a list of rows, one dict {column: number} per epoch, as `tessera.training.history` reads and writes them.
The decisions depend on the history alone, so an interrupted training that continues ends at the same epoch.

Planning imports this module, so it needs the standard library only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

HistoryRow: TypeAlias = dict[str, Any]
"""One epoch: `epoch` (int), `loss`, `val_loss`, `iou`, `val_iou`, `val_iou_<output>`, ..., `lr` and `seconds`."""


@dataclass(frozen=True)
class StoppingRule:
    """Limits of a training.

    Attributes:
        epochs: number of epochs after which the training ends.
        patience: the training ends after so many epochs in a row without a better monitored value.
        max_minutes: the training ends before an epoch that would not fit into this time; None: no limit.
        monitor: column of the history that is monitored.
        min_delta: a value counts as better only if it is better by more than this.
        frozen_epochs: first epochs, which patience ignores.
    """

    epochs: int
    patience: int
    max_minutes: float | None = None
    monitor: str = "val_loss"
    min_delta: float = 0.0
    frozen_epochs: int = 0


def is_smaller_better(metric: str) -> bool:
    """Return whether smaller values of a history column are better: true for losses, false for an IoU."""
    return metric.endswith("loss") and not metric.startswith("val_iou")


def value_to_minimize(row: HistoryRow, metric: str) -> float:
    """Return the value of a column, negated if larger values are better; inf if the value is not finite."""
    value = row[metric] if is_smaller_better(metric) else -row[metric]
    return value if math.isfinite(value) else math.inf


def best_row(rows: Sequence[HistoryRow], monitor: str = "val_loss") -> HistoryRow:
    """Return the row of the first epoch with the best value of the column `monitor`.

    If no epoch has a finite value of `monitor`, the validation loss decides.
    """
    if not any(math.isfinite(row[monitor]) for row in rows) and "val_loss" in rows[0]:
        monitor = "val_loss"
    return min(rows, key=lambda row: value_to_minimize(row, monitor))


def epochs_without_improvement(rows: Sequence[HistoryRow], monitor: str, min_delta: float = 0.0) -> int:
    """Return the number of epochs since the value of `monitor` last improved by more than `min_delta`."""
    best, waited = math.inf, 0
    for row in rows:
        improved = value_to_minimize(row, monitor) < best - (min_delta if math.isfinite(best) else 0)
        best, waited = (value_to_minimize(row, monitor), 0) if improved else (best, waited + 1)
    return waited


def stop_reason(rows: Sequence[HistoryRow], rule: StoppingRule) -> str | None:
    """Return why a training with the history `rows` has ended, or None if it continues."""
    if not rows:
        return None
    if len(rows) >= rule.epochs:
        return f"all {rule.epochs} epochs are done"
    unfrozen = rows[rule.frozen_epochs :]
    if epochs_without_improvement(unfrozen, rule.monitor, rule.min_delta) >= rule.patience:
        return f"no better {rule.monitor} in {rule.patience} epochs"
    seconds = sum(row["seconds"] for row in rows)
    if rule.max_minutes and seconds + rows[-1]["seconds"] > rule.max_minutes * 60:
        return f"one more epoch would not fit into {rule.max_minutes:g} minutes"
    return None
