"""Variants of a training: what they are compared by, and which is the best.

Used when Snakemake plans, so it needs the standard library only.
"""

import statistics

from tessera.common.errors import InputError
from tessera.training.history import is_smaller_better

# Settings that say what a loss is: its values can only be compared where these are the same.
LOSS_SETTINGS = ("losses", "tversky_beta", "class_weights")


def choose_metric(metric, trainings):
    """The column that models are compared by, and a sentence on why it is not what they watched, or None.

    Args:
        metric: the setting, "auto" for what the models watched while they learnt.
        trainings: the settings of each model's training, {} where they are not known.

    Raises:
        InputError: val_loss is asked for, of models whose losses differ.
    """
    differing = [key for key in LOSS_SETTINGS if any(one.get(key) != trainings[0].get(key) for one in trainings)]
    watched = sorted({one.get("monitor", "val_loss") for one in trainings})
    if metric == "val_loss" and differing:
        raise InputError(
            f"select_model.metric: is val_loss, but the models differ in {differing[0]}, and values of different "
            "losses cannot be compared; give val_iou, or auto"
        )
    if metric != "auto":
        return metric, None
    if len(watched) > 1:
        return "val_iou", f"Models are compared by val_iou, since they watched {' and '.join(watched)}."
    if watched == ["val_loss"] and differing:
        reason = f"since they differ in {differing[0]}, and values of different losses cannot be compared"
        return "val_iou", f"Models are compared by val_iou, {reason}."
    return watched[0], None


def summarize_variants(variants, values):
    """How the models of each variant did.

    Args:
        variants: {model: name of its variant}.
        values: {model: value of the metric, or None}.

    Returns:
        {variant: {"models": their names, "mean": of the values that there are, or None, "spread": their standard
        deviation (n - 1), None for fewer than two}}.
    """
    summaries = {}
    for variant in dict.fromkeys(variants.values()):
        models = [model for model, name in variants.items() if name == variant]
        known = [values[model] for model in models if values[model] is not None]
        mean = statistics.mean(known) if known else None
        spread = statistics.stdev(known) if len(known) > 1 else None
        summaries[variant] = {"models": models, "mean": mean, "spread": spread}
    return summaries


def choose_best(values, metric):
    """Name of the best of {name: value or None}; of equals, the first by name.

    Raises:
        InputError: none has a value.
    """
    known = {name: value for name, value in sorted(values.items()) if value is not None}
    if not known:
        raise InputError(
            f"select_model.metric: no model has a value of {metric} to choose by; take another metric that their "
            "history.csv has, give one model alone, or set select_model.ensemble to all"
        )
    best = min if is_smaller_better(metric) else max
    return best(known, key=known.get)
