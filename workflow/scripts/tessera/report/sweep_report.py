"""Hyperparameter sweeps and cross-validation in the report: a comparison of several models."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tessera.report.model_report import ModelSummary
from tessera.training.early_stopping import is_smaller_better

QUANTITIES = {
    "epochs": "epochs",
    "minutes": "training time (minutes)",
    "million_parameters": "parameters (millions)",
}


@dataclass(frozen=True)
class ComparedModel:
    """A model of the comparison.

    Attributes:
        name: name of the model.
        value: its value of the metric, or None.
        in_use: whether it predicts.
        epochs: number of epochs of its training.
        best_epoch: the epoch whose weights were kept.
        stopped_early: whether training ended before all epochs were done.
        seconds: duration of the training.
        parameters: number of parameters of the network.
        scores: {metric: its value at the best epoch, or None}.
    """

    name: str
    value: float | None
    in_use: bool
    epochs: int | None
    best_epoch: int | None
    stopped_early: bool
    seconds: float | None
    parameters: int | None
    scores: Mapping[str, float | None]

    @property
    def minutes(self) -> float | None:
        return self.seconds and self.seconds / 60

    @property
    def million_parameters(self) -> float | None:
        return self.parameters and self.parameters / 1e6


@dataclass(frozen=True)
class Variant:
    """A point of the sweep: the models with the same hyperparameters, one for each fold.

    Attributes:
        number: its place in the ranking, from 1.
        name: name of the variant.
        values: its value on each axis of the sweep.
        chosen: whether it predicts.
        mean: mean of the metric over its models, or None.
        spread: standard deviation of the metric over its models; None for a single model.
        models: its models.
    """

    number: int
    name: str
    values: list[str]
    chosen: bool
    mean: float | None
    spread: float | None
    models: list[ComparedModel]

    def average(self, quantity: str) -> float | None:
        """Mean of an attribute of its models, without those that lack it; None if all do."""
        values = [value for model in self.models if (value := getattr(model, quantity)) is not None]
        return statistics.mean(values) if values else None


@dataclass(frozen=True)
class ChartPoint:
    """A model in a chart, with the number of its variant."""

    x: float
    y: float
    number: int
    chosen: bool
    stopped_early: bool


@dataclass(frozen=True)
class ChartMean:
    """A variant of several models in a chart: the mean `y`, and one standard deviation below and above it."""

    x: float
    y: float
    low: float
    high: float
    number: int
    chosen: bool


@dataclass(frozen=True)
class Chart:
    """A chart of the metric against a quantity.

    Attributes:
        title: title of the chart.
        x_label: the quantity.
        points: the models.
        means: the variants of several models.
        x_low, x_high: ends of the horizontal axis.
        y_low, y_high: ends of the vertical axis.
    """

    title: str
    x_label: str
    points: list[ChartPoint]
    means: list[ChartMean]
    x_low: float
    x_high: float
    y_low: float
    y_high: float


@dataclass(frozen=True)
class ModelComparison:
    """A comparison of several models.

    Attributes:
        metric: the metric that ranks them.
        smaller_better: whether smaller values of it are better.
        note: a remark on the metric, or None.
        axes: settings that the sweep varies; empty without a sweep.
        variants: points of the sweep, the best first.
        models: all models, the best first.
        columns: metrics of the table of models.
        charts: charts of the metric.
        n_folds: largest number of models of a variant.
    """

    metric: str
    smaller_better: bool
    note: str | None
    axes: list[str]
    variants: list[Variant]
    models: list[ComparedModel]
    columns: list[str]
    charts: list[Chart]
    n_folds: int


def compare_models(
    models: Sequence[ModelSummary], selected: Mapping[str, Any], points: Mapping[str, Mapping[str, str]]
) -> ModelComparison | None:
    """Compare several models; None for a single model.

    Args:
        models: the models.
        selected: content of selected.json.
        points: {variant: {axis of the sweep: its value}}; empty without a sweep.
    """
    if len(models) < 2:
        return None
    metric = selected["metric"]
    smaller_better = is_smaller_better(metric)
    compared = {model.name: _describe_model(model, selected) for model in models}
    ranked = sorted(selected["variants"].items(), key=lambda pair: _rank(pair[1]["mean"], smaller_better))
    variants = [
        Variant(
            number=number,
            name=name,
            values=[*points.get(name, {}).values()],
            chosen=name == selected["variant"],
            mean=summary["mean"],
            spread=summary["spread"],
            models=[compared[model] for model in summary["models"]],
        )
        for number, (name, summary) in enumerate(ranked, start=1)
    ]
    charts = [_draw_chart(variants, metric, quantity, label) for quantity, label in QUANTITIES.items()]
    return ModelComparison(
        metric=metric,
        smaller_better=smaller_better,
        note=selected.get("note"),
        axes=list(next(iter(points.values()), {})),
        variants=variants,
        models=sorted(compared.values(), key=lambda model: _rank(model.value, smaller_better)),
        columns=list(dict.fromkeys(column for model in compared.values() for column in model.scores)),
        charts=[chart for chart in charts if chart],
        n_folds=max(len(variant.models) for variant in variants),
    )


def _rank(value: float | None, smaller_better: bool) -> tuple[bool, float]:
    return value is None, (value or 0) if smaller_better else -(value or 0)


def _describe_model(model: ModelSummary, selected: Mapping[str, Any]) -> ComparedModel:
    return ComparedModel(
        name=model.name,
        value=selected["candidates"].get(model.name),
        in_use=model.name in selected["members"],
        epochs=model.epochs,
        best_epoch=model.best_epoch,
        stopped_early=bool(model.epochs and model.planned_epochs and model.epochs < model.planned_epochs),
        seconds=model.seconds,
        parameters=model.parameters,
        scores=model.validation,
    )


def _draw_chart(variants: Sequence[Variant], metric: str, quantity: str, label: str) -> Chart | None:
    """A chart of the metric against a quantity; None if all models have the same quantity."""
    points, means = [], []
    for variant in variants:
        for model in variant.models:
            x = getattr(model, quantity)
            if x is not None and model.value is not None:
                points.append(ChartPoint(x, model.value, variant.number, variant.chosen, model.stopped_early))
        x, y, spread = variant.average(quantity), variant.mean, variant.spread
        if spread is not None and y is not None and x is not None:
            means.append(ChartMean(x, y, y - spread, y + spread, variant.number, variant.chosen))
    if len({point.x for point in points}) < 2:
        return None
    ends = [point.y for point in points] + [end for mean in means for end in (mean.low, mean.high)]
    margin = 0.1 * (max(ends) - min(ends)) or 0.05
    return Chart(
        title=f"{metric} against {quantity.replace('_', ' ')}",
        x_label=label,
        points=points,
        means=means,
        x_low=0,
        x_high=1.08 * max(point.x for point in points) or 1,
        y_low=min(ends) - margin,
        y_high=max(ends) + margin,
    )
