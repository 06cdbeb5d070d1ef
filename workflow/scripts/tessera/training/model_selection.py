"""Model selection: by which metric models are compared, and which variant of a sweep is the best.

A variant is one combination of the hyperparameters of a sweep. With folds, a variant has one model per fold, and the
mean over the folds counts.

Planning imports this module, so it needs the standard library only.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from tessera.common.errors import InputError
from tessera.training.early_stopping import is_smaller_better

# Settings that define the loss. Values of the loss are comparable only between models with the same ones.
LOSS_SETTINGS = ("losses", "tversky_beta", "class_weights")


class VariantSummary(TypedDict):
    """How the models of a variant did.

    Attributes:
        models: names of the models.
        mean: mean of the metric over the models that have a value; None if none has one.
        spread: standard deviation (n - 1) of the metric; None for fewer than two values.
    """

    models: list[str]
    mean: float | None
    spread: float | None


def choose_metric(metric: str, train_settings: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    """Return the column of history.csv that models are compared by, and a note if it is not the monitored column.

    Args:
        metric: the setting `select_model.metric`; "auto" for the column that the models monitored.
        train_settings: settings of each model's training; {} for a model that does not say them.

    Raises:
        InputError: the metric is val_loss, and the models have different losses.
    """
    first = train_settings[0]
    differing = [
        key for key in LOSS_SETTINGS if any(settings.get(key) != first.get(key) for settings in train_settings)
    ]
    monitored = sorted({settings.get("monitor", "val_loss") for settings in train_settings})
    if metric == "val_loss" and differing:
        raise InputError(
            f"select_model.metric: is val_loss, but the models differ in {differing[0]}, and values of different "
            "losses are not comparable; set val_iou, or auto"
        )
    if metric != "auto":
        return metric, None
    if len(monitored) > 1:
        return "val_iou", f"Models are compared by val_iou, because they monitored {' and '.join(monitored)}."
    if monitored == ["val_loss"] and differing:
        reason = f"because they differ in {differing[0]}, and values of different losses are not comparable"
        return "val_iou", f"Models are compared by val_iou, {reason}."
    return monitored[0], None


def summarize_variants(variant_of: Mapping[str, str], values: Mapping[str, float | None]) -> dict[str, VariantSummary]:
    """Return a summary of each variant, {variant: summary}.

    Args:
        variant_of: {model: name of its variant}.
        values: {model: value of the metric, or None}.
    """
    summaries: dict[str, VariantSummary] = {}
    for variant in dict.fromkeys(variant_of.values()):
        models = [model for model, name in variant_of.items() if name == variant]
        variant_values = [value for model in models if (value := values[model]) is not None]
        mean = statistics.mean(variant_values) if variant_values else None
        spread = statistics.stdev(variant_values) if len(variant_values) > 1 else None
        summaries[variant] = {"models": models, "mean": mean, "spread": spread}
    return summaries


def choose_best(values: Mapping[str, float | None], metric: str) -> str:
    """Return the name with the best of `values`, {name: value or None}; of equal ones, the first in the alphabet.

    Raises:
        InputError: there is no value.
    """
    finite = {name: value for name, value in sorted(values.items()) if value is not None}
    if not finite:
        raise InputError(
            f"select_model.metric: no model has a value of {metric}; choose another column of history.csv, give a "
            "single model, or set select_model.ensemble to all"
        )
    best = min if is_smaller_better(metric) else max
    return best(finite, key=lambda name: finite[name])


def choose_variant(
    summaries: Mapping[str, VariantSummary], candidates: Mapping[str, float | None], metric: str, ensemble: str
) -> tuple[str, str]:
    """Return the best variant, by its mean, and its best model.

    A single model, or an ensemble of all models, needs no values.
    """
    if len(candidates) == 1:
        return next(iter(summaries)), next(iter(candidates))
    if ensemble == "all" and not any(value is not None for value in candidates.values()):
        return min(summaries), min(candidates)
    variant = choose_best({name: summary["mean"] for name, summary in summaries.items()}, metric)
    return variant, choose_best({name: candidates[name] for name in summaries[variant]["models"]}, metric)


def choose_members(ensemble: str, models: list[str], summary: VariantSummary, best: str) -> list[str]:
    """Return the models that predict: all ("all"), those of the best variant ("auto"), or the best one ("best")."""
    return {"all": models, "auto": summary["models"], "best": [best]}[ensemble]


def check_compatible(cards: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse an ensemble of models, {name: model card}, that differ in channels, outputs, task or scale.

    Raises:
        InputError: they differ.
    """
    for key in ("task", "channels", "outputs", "normalization", "scale"):
        values = {json.dumps(card.get(key)): name for name, card in cards.items()}
        if len(values) > 1:
            differing = "; ".join(f"{name}: {value}" for value, name in values.items())
            raise InputError(f"select_model.ensemble: models differ in {key} ({differing}); set it to best")
