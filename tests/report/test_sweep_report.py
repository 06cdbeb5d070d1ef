"""Models of variants and folds are put in order, in a table and in charts."""

import pytest

from tessera.report.model_report import ModelSummary
from tessera.report.sweep_report import compare_models

# The name of one axis is the end of the name of another.
POINTS = {
    "learning_rate~0.001_rate~falling": {"learning_rate": "0.001", "rate": "falling"},
    "learning_rate~0.01_rate~steady": {"learning_rate": "0.01", "rate": "steady"},
}


def model(name, iou, *, epochs=10, planned=20, seconds=60, parameters=1000):
    return ModelSummary(
        name,
        epochs=epochs,
        best_epoch=epochs - 1,
        planned_epochs=planned,
        seconds=seconds,
        parameters=parameters,
        validation={"val_loss": 1.0, "val_iou": iou},
    )


def selection(models, variants, metric="val_iou", chosen=None):
    """What select_model writes, of {variant: (mean, spread)} of models that are called after them."""
    summaries = {
        name: {
            "models": [m.name for m in models if m.name.startswith(f"{name}_")],
            "mean": mean,
            "spread": spread,
        }
        for name, (mean, spread) in variants.items()
    }
    best = chosen or next(iter(variants))
    candidates = {m.name: m.validation[metric] for m in models}
    members = summaries[best]["models"]
    return {"metric": metric, "candidates": candidates, "variant": best, "variants": summaries, "members": members}


@pytest.fixture
def swept():
    """Four models: two variants in two folds."""
    first, second = POINTS
    models = [
        model(f"{first}_fold1", 0.5, epochs=10),
        model(f"{first}_fold2", 0.7, epochs=14, seconds=180),
        model(f"{second}_fold1", 0.9, epochs=20),
        model(f"{second}_fold2", 0.7, epochs=6, parameters=3000),
    ]
    return models, selection(models, {first: (0.6, 0.141), second: (0.8, 0.141)}, chosen=second)


def test_a_single_model_has_no_comparison():
    only = model("fold1", 0.5)
    assert compare_models([only], {}, {}) is None


def test_variants_are_listed_with_their_values_the_best_first(swept):
    compared = compare_models(*swept, POINTS)
    assert compared.axes == ["learning_rate", "rate"]
    lines = [(v.number, v.values, v.mean, v.chosen) for v in compared.variants]
    assert lines == [(1, ["0.01", "steady"], 0.8, True), (2, ["0.001", "falling"], 0.6, False)]
    second = compared.variants[1]
    assert [second.average(name) for name in ("epochs", "seconds", "parameters")] == [12, 120, 1000]
    assert compared.variants[0].average("parameters") == 2000


def test_models_are_listed_the_best_first_and_those_in_use_are_marked(swept):
    compared = compare_models(*swept, POINTS)
    assert [each.value for each in compared.models] == [0.9, 0.7, 0.7, 0.5]
    assert [each.in_use for each in compared.models] == [True, False, True, False]
    assert compared.columns == ["val_loss", "val_iou"]


def test_a_loss_ranks_the_smallest_first_and_missing_values_last():
    models = [model("a_1", 0.4), model("b_1", 0.2), model("c_1", 0.1)]
    chosen = selection(models, {"a": (0.4, None), "b": (0.2, None), "c": (None, None)}, chosen="b")
    compared = compare_models(models, chosen | {"metric": "val_loss"}, {})
    assert [variant.name for variant in compared.variants] == ["b", "a", "c"]


def test_an_iou_ranks_the_largest_first_whatever_the_name_of_its_class():
    models = [model("a_1", 0.4), model("b_1", 0.6)]
    chosen = selection(models, {"a": (0.4, None), "b": (0.6, None)}, chosen="b") | {"metric": "val_iou_bone_loss"}
    compared = compare_models(models, chosen, {})
    assert [variant.name for variant in compared.variants] == ["b", "a"]
    assert [each.name for each in compared.models] == ["b_1", "a_1"]
    assert not compared.smaller_better


def test_charts_have_a_dot_for_each_model_and_a_bar_for_each_variant_inside_their_axes(swept):
    epochs, minutes, parameters = compare_models(*swept, POINTS).charts
    assert [(p.x, p.y, p.number, p.stopped_early) for p in epochs.points] == [
        (20, 0.9, 1, False),
        (6, 0.7, 1, True),
        (10, 0.5, 2, True),
        (14, 0.7, 2, True),
    ]
    assert [point.x for point in minutes.points] == [1, 1, 1, 3]
    assert [point.x for point in parameters.points] == [0.001, 0.003, 0.001, 0.001]
    bar = epochs.means[0]
    assert (bar.x, bar.y) == (13, 0.8)
    assert (bar.low, bar.high) == pytest.approx((0.659, 0.941))
    for chart in (epochs, minutes):
        assert all(chart.x_low <= point.x <= chart.x_high for point in chart.points)
        assert all(chart.y_low < point.y < chart.y_high for point in chart.points)
        assert all(chart.y_low < bar.low < bar.high < chart.y_high for bar in chart.means)


def test_equal_values_have_a_chart_and_equal_quantities_do_not():
    models = [model("a_1", 0.5), model("b_1", 0.5, epochs=11)]
    [chart] = compare_models(models, selection(models, {"a": (0.5, None), "b": (0.5, None)}), {}).charts
    assert (chart.y_low, chart.y_high) == pytest.approx((0.45, 0.55))
    assert chart.means == []


def test_models_without_training_metadata_have_no_chart():
    models = [ModelSummary("a_1"), ModelSummary("b_1")]
    chosen = selection([], {"a": (None, None), "b": (None, None)})
    chosen["variants"] = {name: summary | {"models": [f"{name}_1"]} for name, summary in chosen["variants"].items()}
    compared = compare_models(models, chosen, {})
    assert compared.charts == []
    assert [each.value for each in compared.models] == [None, None]
