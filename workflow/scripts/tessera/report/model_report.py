"""Models in the report: their origin, their training, and the images that differ from their training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tessera.common.constants import HISTORY_CSV, RANGE_TEST_PNG
from tessera.networks.model_folder import read_model_card
from tessera.report.image_files import embed_image
from tessera.report.threshold_curves import draw_threshold_curves
from tessera.report.wording import count_nouns, format_duration, format_integer


class LearningCurve(NamedTuple):
    """A quantity in each epoch of a training.

    Attributes:
        name: the quantity.
        lines: {"train", "val": [(epoch, value)]}, without missing values.
        first: first epoch of the chart.
        last: last epoch of the chart.
        top: upper end of the chart's axis.
    """

    name: str
    lines: dict[str, list[tuple[float, float]]]
    first: int
    last: int
    top: float


@dataclass(frozen=True)
class ModelSummary:
    """A model. A model from elsewhere may say nothing about its training.

    Attributes:
        name: name of the model.
        facts: [(label, text)] to list.
        curves: learning curves; empty without a history.
        learning_rate_trial: figure of the learning rate test as a data URI, or None.
        threshold_curves: figure of the tuned thresholds as a data URI, or None.
        plan: automatic choices, dictionaries with setting, value and reason.
        versions: {package: version} of the training.
        epochs: number of epochs of the training.
        best_epoch: the epoch whose weights were kept.
        planned_epochs: number of epochs that the settings allowed.
        seconds: duration of the training.
        parameters: number of parameters of the network.
        validation: {metric: its value at the best epoch, or None}.
        provenance: provenance hash of the training.
        training_data: provenance hash of the training patches.
        training_images: names of the images that it was trained or validated on.
        label_warnings: warnings about augmentations that damage the ground truth.
    """

    name: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    curves: list[LearningCurve] = field(default_factory=list)
    learning_rate_trial: str | None = None
    threshold_curves: str | None = None
    plan: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    epochs: int | None = None
    best_epoch: int | None = None
    planned_epochs: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    validation: dict[str, float | None] = field(default_factory=dict)
    provenance: str | None = None
    training_data: str | None = None
    training_images: frozenset[str] = frozenset()
    label_warnings: list[str] = field(default_factory=list)


def summarize_model(folder: Path, *, existing: bool, tuned: Mapping[str, Any] | None = None) -> ModelSummary:
    """Summary of a model.

    Args:
        folder: folder of the model.
        existing: whether the model existed before this run.
        tuned: its entry `tuning` in selected.json; None if its thresholds were not tuned.
    """
    folder, model = Path(folder), read_model_card(folder)
    # The history of a model from another run tells how it was trained, and is shown as well.
    curves = learning_curves(pd.read_csv(folder / HISTORY_CSV)) if (folder / HISTORY_CSV).is_file() else []
    trial = folder / RANGE_TEST_PNG
    return ModelSummary(
        name=folder.name,
        facts=_list_facts(model, folder if existing else None),
        curves=curves,
        learning_rate_trial=embed_image(trial) if trial.is_file() else None,
        threshold_curves=draw_threshold_curves(tuned) if tuned else None,
        plan=[*(dict(choice) for choice in model.get("plan") or []), *_list_thresholds(tuned)],
        versions=model.get("versions") or {},
        epochs=model.get("epochs"),
        best_epoch=model.get("best_epoch"),
        planned_epochs=(model.get("settings") or {}).get("epochs"),
        seconds=model.get("seconds"),
        parameters=model.get("parameters"),
        validation=model.get("validation") or {},
        provenance=model.get("provenance"),
        training_data=model.get("training_data"),
        training_images=frozenset(image for images in (model.get("sources") or {}).values() for image in images),
        label_warnings=(model.get("label_check") or {}).get("warnings", []),
    )


def _list_thresholds(tuned: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Choices for the thresholds of instances that were tuned on the validation images."""
    if not tuned:
        return []
    reason = (
        f"tuned on {tuned['objects']} objects of the validation images: mean AP {tuned['ap']:.3f}, with the defaults "
        f"{tuned['default_ap']:.3f}"
    )
    settings = {
        "foreground_threshold": "foreground",
        "seed_threshold": "seed",
        "seed_depth_px": "seed_depth_px",
        "min_area_px": "min_area_px",
    }
    return [
        {"setting": f"segment.{setting}", "value": tuned[name], "reason": reason} for setting, name in settings.items()
    ]


def _list_facts(model: Mapping[str, Any], folder: Path | None) -> list[tuple[str, str]]:
    """[(label, text)] of what a model's model.json says; facts it does not have are left out."""
    size, diameter, epochs = model.get("pixel_size_um"), model.get("diameter_px"), model.get("epochs")
    facts = [
        ("Folder", folder and str(folder)),
        ("Network", " ".join(model[key] for key in ("architecture", "backbone") if model.get(key))),
        ("Parameters", model.get("parameters") and format_integer(model["parameters"])),
        ("Channels", ", ".join(model["channels"])),
        ("Outputs", ", ".join(model["outputs"])),
        ("Patch size", model.get("patch_size_px") and f"{model['patch_size_px']} px"),
        ("Pixel size", size and f"{size:.3g} µm"),
        ("Object diameter", diameter and f"{diameter:.3g} px"),
        ("Fraction of pixels", _list_shares(model["outputs"], model.get("class_share") or [])),
        ("Epochs", epochs and f"{epochs} (best: {model['best_epoch']})"),
        ("Training time", model.get("seconds") and format_duration(model["seconds"])),
        ("Trained on", {"cpu": "CPU", "gpu": "GPU"}.get(model.get("device") or "", model.get("device"))),
        ("Throughput", _describe_throughput(model.get("throughput"))),
    ]
    return [(label, text) for label, text in facts if text]


def _list_shares(outputs: Sequence[str], shares: Sequence[float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in zip(outputs, shares, strict=False))


def _describe_throughput(throughput: Mapping[str, Any] | None) -> str | None:
    """The result of `tessera.training.throughput.measure_throughput` in words."""
    if not throughput:
        return None
    step, pipeline = (
        f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}" for rate in (throughput["step"], throughput["pipeline"])
    )
    limit = f", limited by the input pipeline ({pipeline} patches/s)" if throughput["bound"] == "input" else ""
    return f"{step} patches/s{limit}"


def learning_curves(history: pd.DataFrame) -> list[LearningCurve]:
    """The learning curve of each column of a training's history (epochs, columns) that has a partner val_..."""
    curves = []
    for name in (column for column in history.columns if f"val_{column}" in history):
        columns = {"train": name, "val": f"val_{name}"}
        points = {subset: history[["epoch", column]].dropna() for subset, column in columns.items()}
        highest = max((line.iloc[:, 1].max() for line in points.values() if len(line)), default=0)
        curves.append(
            LearningCurve(
                name=name.replace("_", " "),
                lines={
                    subset: list(map(tuple, line.to_numpy().tolist())) for subset, line in points.items() if len(line)
                },
                first=int(history["epoch"].min()),
                last=int(max(history["epoch"].max(), history["epoch"].min() + 1)),
                top=float(highest) if highest > 1 or (name == "loss" and highest > 0) else 1.0,
            )
        )
    return curves


def list_domain_shifts(table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """[(image, warnings)] of the images in a table of metrics that differ from the training images."""
    if "domain_shift" not in table:
        return []
    rows = table.loc[table["domain_shift"].notna(), ["image", "domain_shift"]]
    return [
        (image, text.removeprefix(f"{image}: ").split(f"; {image}: ")) for image, text in rows.itertuples(index=False)
    ]


def model_warnings(
    table: pd.DataFrame,
    models: Sequence[ModelSummary],
    domain_shifts: Sequence[tuple[str, list[str]]],
    *,
    existing: bool,
) -> list[tuple[str, str]]:
    """Warnings [(text, id of the section)] of the report about domain shift, augmentation and known images.

    Args:
        table: table of metrics.
        models: the models in use.
        domain_shifts: from `list_domain_shifts`.
        existing: whether existing models were applied.
    """
    warnings = []
    if domain_shifts:
        verb = "differs" if len(domain_shifts) == 1 else "differ"
        warnings.append(
            (f"{count_nouns(len(domain_shifts), 'image')} {verb} from the training images.", "domain-shift")
        )
    damages = {text for model in models for text in model.label_warnings}
    warnings += [(f"{text}.", "training") for text in sorted(damages)]
    trained_on = {image for model in models for image in model.training_images}
    scored = set(table.loc[table["frames_scored"] > 0, "image"])
    if existing and trained_on & scored:
        images = count_nouns(len(trained_on & scored), "image")
        verb = "has" if len(trained_on & scored) == 1 else "have"
        text = f"{images} {verb} the name of a training image of the model; scores on training images are too good."
        warnings.append((text, "training"))
    return warnings
