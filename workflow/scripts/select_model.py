"""Choose the model that did best on its validation images.

Reads model.json and history.csv of each folder in `models`. Writes the JSON file `output`: model, metric, value, and
candidates, {model: value}.
"""

import json
import math
from pathlib import Path

from lib.errors import InputError
from lib.histories import read_history
from lib.jobs import running
from lib.models import HISTORY, read_settings


def select_model(models, output, *, metric):
    """Write down which of `models` has the best value of `metric` at the epoch whose weights it kept.

    Args:
        models: folders of models, named as the models are.
        output: the JSON file.
        metric: a column of history.csv; the smallest value wins for a loss, the largest otherwise.

    Raises:
        InputError: a model that is damaged or lacks the column, or no model with a value.
    """
    candidates = {Path(folder).name: value_of(folder, metric) for folder in models}
    best = choose(candidates, metric)
    content = {"model": best, "metric": metric, "value": candidates[best], "candidates": candidates}
    Path(output).write_text(json.dumps(content, indent=1))
    print(f"{best}: {metric} {candidates[best]:.4f}, the best of {len(candidates)}", flush=True)


def value_of(folder, metric):
    """The metric at the best epoch of a model, or None where it has none (a class that no validation image shows)."""
    best = read_settings(folder)["best_epoch"]
    path = Path(folder) / HISTORY
    row = next((row for row in read_history(path) if row["epoch"] == best), None)
    if row is None:
        raise InputError(f"{path}: has no epoch {best}, the best one by model.json; train the model again")
    if metric not in row:
        raise InputError(f"select_model.metric: {metric} is no column of {path}; it can be {', '.join(row)}")
    return row[metric] if math.isfinite(row[metric]) else None


def choose(candidates, metric):
    """Name of the best of {model: value}; of equals, the first by name."""
    values = {name: value for name, value in sorted(candidates.items()) if value is not None}
    if not values:
        raise InputError(f"select_model.metric: no model has a value of {metric}; choose another, such as val_loss")
    return min(values, key=values.get) if metric.endswith("loss") else max(values, key=values.get)


if __name__ == "__main__":
    with running(snakemake):
        select_model(models=snakemake.input.models, output=snakemake.output.selected, **snakemake.params.settings)
