"""Comparisons of models: what a report says of the variants of a sweep and of their folds."""

import statistics

from tessera.training.history import is_smaller_better

QUANTITIES = {
    "epochs": "epochs until training was over",
    "minutes": "minutes of training",
    "million_parameters": "million parameters of the network",
}


def compare_models(models, selected, points):
    """How several models did, or None for one.

    Args:
        models: of `tessera.report.model_report.describe_model`.
        selected: content of selected.json.
        points: {variant: {axis of the sweep: name of its value}}; none without a sweep.

    Returns:
        `metric`, `smaller_better`, `note` on the metric or None, `axes`; `variants`, of `_describe_variant`, and
        `models`, of `_describe_model`, the best first; `columns` of the models' scores; `charts`, of `_chart`.
    """
    if len(models) < 2:
        return None
    smaller_better = is_smaller_better(selected["metric"])
    described = {model["name"]: _describe_model(model, selected) for model in models}
    variants = [
        _describe_variant(name, summary, [described[model] for model in summary["models"]])
        | {"values": [*points.get(name, {}).values()], "chosen": name == selected["variant"]}
        for name, summary in selected["variants"].items()
    ]
    variants.sort(key=lambda variant: _rank(variant["mean"], smaller_better))
    for number, variant in enumerate(variants, start=1):
        variant["number"] = number
    columns = list(dict.fromkeys(column for model in described.values() for column in model["scores"]))
    charts = [_chart(variants, selected["metric"], quantity, label) for quantity, label in QUANTITIES.items()]
    return {
        "metric": selected["metric"],
        "smaller_better": smaller_better,
        "note": selected.get("note"),
        "axes": list(next(iter(points.values()), {})),
        "variants": variants,
        "models": sorted(described.values(), key=lambda model: _rank(model["value"], smaller_better)),
        "columns": columns,
        "charts": [chart for chart in charts if chart],
        "folds": max(len(variant["models"]) for variant in variants),
    }


def _rank(value, smaller_better):
    return value is None, (value or 0) if smaller_better else -(value or 0)


def _describe_model(model, selected):
    """name, value of the metric, member, epochs, early (it stopped before all), parameters, scores and so on."""
    epochs, seconds = model.get("epochs"), model.get("seconds")
    planned = (model.get("settings") or {}).get("epochs")
    return {
        "name": model["name"],
        "value": selected["candidates"].get(model["name"]),
        "member": model["name"] in selected["members"],
        "epochs": epochs,
        "best_epoch": model.get("best_epoch"),
        "early": bool(epochs and planned and epochs < planned),
        "minutes": seconds and seconds / 60,
        "seconds": seconds,
        "parameters": model.get("parameters"),
        "million_parameters": model.get("parameters") and model["parameters"] / 1e6,
        "scores": model.get("validation") or {},
    }


def _describe_variant(name, summary, models):
    """name, models, mean and spread of the metric, and means of quantities."""
    means = {}
    for quantity in ("epochs", "minutes", "seconds", "parameters", "million_parameters"):
        known = [model[quantity] for model in models if model[quantity] is not None]
        means[quantity] = statistics.mean(known) if known else None
    return {
        "name": name,
        "models": models,
        "mean": summary["mean"],
        "spread": summary["spread"],
    } | means


def _chart(variants, metric, quantity, label):
    """A chart of the metric against a quantity, or None where not two models differ in it.

    `points`, a dict for each model: x, y, number (of its variant), chosen and early; `means`, one for each variant of
    several: x, y, low and high (a spread below and above), number, chosen; `x_low`, `x_high`, `y_low`, `y_high`.
    """
    points, means = [], []
    for variant in variants:
        marks = {"number": variant["number"], "chosen": variant["chosen"]}
        for model in variant["models"]:
            if model[quantity] is not None and model["value"] is not None:
                points.append({"x": model[quantity], "y": model["value"], "early": model["early"]} | marks)
        if variant["spread"] is not None and variant[quantity] is not None:
            y, spread = variant["mean"], variant["spread"]
            means.append({"x": variant[quantity], "y": y, "low": y - spread, "high": y + spread} | marks)
    if len({point["x"] for point in points}) < 2:
        return None
    ends = [point["y"] for point in points] + [mean[end] for mean in means for end in ("low", "high")]
    margin = 0.1 * (max(ends) - min(ends)) or 0.05
    return {
        "title": f"{metric} against {quantity.replace('_', ' ')}",
        "x_label": label,
        "points": points,
        "means": means,
        "x_low": 0,
        "x_high": 1.08 * max(point["x"] for point in points) or 1,
        "y_low": min(ends) - margin,
        "y_high": max(ends) + margin,
    }
