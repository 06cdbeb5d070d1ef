"""Checks of settings that depend on each other.

Each check gets the values of some settings and returns what is wrong with the first of them, or None.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tessera.common.constants import INSTANCE_OUTPUTS, MODEL_JSON, WEIGHTS_H5
from tessera.planning.messages import format_value
from tessera.training.model_selection import LOSS_SETTINGS


def _check_classes(classes: Sequence[str], task: str) -> str | None:
    if task == "instances" and len(classes) != 2:
        return f"has {len(classes)} names, but instances have one class of object; give two names, or task: semantic"
    if task == "semantic" and "mean" in classes:
        return "has the name mean, which the table of scores uses for the mean over classes; give another name"
    return None


def _check_shard_px(shard_px: int, chunk_px: int) -> str | None:
    if shard_px % chunk_px:
        low = max(shard_px // chunk_px, 1) * chunk_px
        return f"{shard_px} is not a multiple of ingest.chunk_px, {chunk_px}; give {low} or {low + chunk_px}"
    return None


def _check_ignore_label(ignore_label: int | None, task: str, classes: Sequence[str]) -> str | None:
    if ignore_label is None:
        return None
    names = classes if task == "semantic" else ["background"]
    if ignore_label in range(len(names)):
        return (
            f"is {ignore_label}, which means {names[ignore_label]}; give a value that annotations use for nothing else"
        )
    return None


def _check_colors(colors: Mapping[str, str] | None, classes: Sequence[str], outlines: bool) -> str | None:
    if colors and outlines:
        return "is given, and ingest_truth.outlines is true; give one of them"
    for color, name in (colors or {}).items():
        if name not in (*classes, "ignore"):
            return f"{color} is {name}, which is not one of {', '.join(classes)}, ignore; correct it, or classes"
    return None


def _check_fractions(train: float, val: float, test: float) -> str | None:
    if abs(train + val + test - 1) > 1e-6:
        total = f"{train + val + test:.6g}"
        return f"train {train:g}, val {val:g} and test {test:g} add up to {total}; change them to add up to 1"
    return None


def _check_group_pattern(pattern: str | None) -> str | None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        return f"{format_value(pattern)} is not a regular expression ({error}); correct it, or give null"
    return None


def _check_rescale_by(rescale_by: str, task: str) -> str | None:
    if rescale_by == "object_diameter" and task == "semantic":
        return (
            "is object_diameter, but task is semantic, whose ground truth does not separate objects; give pixel_size, "
            "none or auto"
        )
    return None


def _check_preset(preset: str, transforms: Sequence[Any] | None) -> str | None:
    if preset != "auto" and transforms is not None:
        return f"is {preset}, but augment.transforms replaces the preset; give auto here, or null there"
    return None


def _check_encoder_weights(weights: str | None, architecture: str) -> str | None:
    if weights is None:
        return None
    folder = Path(weights)
    if weights != "imagenet" and folder.is_dir():
        if not all((folder / name).is_file() for name in (MODEL_JSON, WEIGHTS_H5)):
            return f"{weights} has no {MODEL_JSON} and {WEIGHTS_H5}; give the folder of an earlier model, or null"
        if folder.resolve().is_relative_to(Path("results/models").resolve()):
            return f"{weights} is replaced when its own training runs again; copy it elsewhere and give the copy"
        return None
    if weights != "imagenet" and not folder.is_file():
        return (
            f"there is no file or folder {weights} in {Path.cwd()}; give null, imagenet, the path of a weights file or "
            "of an earlier model's folder"
        )
    if architecture == "PlainUnet":
        return (
            f"is {weights}, but PlainUnet has no backbone that could use it; give null, or an earlier PlainUnet model"
        )
    return None


def _check_losses(losses: Mapping[str, float]) -> str | None:
    return None if sum(losses.values()) > 0 else "has no weight above 0; give one to a loss, such as {dice: 1.0}"


def _check_backbone(backbone: str | None, architecture: str) -> str | None:
    if architecture == "PlainUnet" and backbone is not None:
        return f"is {backbone}, but train.architecture is PlainUnet, which has no backbone; give null"
    if architecture != "PlainUnet" and backbone is None:
        return f"is null, but train.architecture is {architecture}, which needs one; give one, such as resnet18"
    return None


def _check_width_and_depth(width: int | None, depth: int | None, architecture: str) -> str | None:
    if architecture == "PlainUnet" or width is depth is None:
        return None
    return f"width and depth are settings of PlainUnet, but train.architecture is {architecture}; give null for both"


def _check_deep_supervision(weights: Sequence[float], architecture: str, depth: int | None) -> str | None:
    levels = {"PlainUnet": (depth or 4) - 1, "PSPNet": 1}.get(architecture, 4)
    if len(weights) > levels:
        return f"has {len(weights)} weights, but the decoder of {architecture} has {levels} lower levels; give no more"
    return None


def _check_frozen_epochs(epochs: int, weights: str | None, architecture: str) -> str | None:
    if epochs and weights is None:
        return f"is {epochs}, but train.encoder_weights is null, and an encoder from scratch has to learn; give 0"
    if epochs and architecture == "PlainUnet":
        return f"is {epochs}, but train.architecture is PlainUnet, which has no encoder to freeze; give 0"
    return None


def _null_unless(condition: Callable[[Any], bool], reason: str) -> Callable[[Any, Any], str | None]:
    """A check that a setting is null unless another one meets a condition; `reason` tells the user that it does not."""

    def check(value: Any, other: Any) -> str | None:
        return None if value is None or condition(other) else f"is {format_value(value)}, but {reason}; give null"

    return check


def _check_class_weights(weights: str | Mapping[str, float], task: str, classes: Sequence[str]) -> str | None:
    outputs = _outputs(task, classes)
    if isinstance(weights, str):
        return None
    if unknown := [name for name in weights if name not in outputs]:
        return f"{format_value(unknown[0])} is not an output of the network; its outputs are {', '.join(outputs)}"
    if not any((dict.fromkeys(outputs, 1.0) | dict(weights)).values()):
        return "gives no output a weight above 0; give one to some"
    return None


def _outputs(task: str, classes: Sequence[str]) -> list[str]:
    return list(INSTANCE_OUTPUTS if task == "instances" else classes)


def _check_layers(layers: str | Sequence[str], n_examples: int) -> str | None:
    if layers != "auto" and not n_examples:
        return (
            f"is {format_value(layers)}, but explain.n_examples is 0, so no layer is shown; give a number there, or "
            "auto here"
        )
    return None


def _check_tile_px(tile_px: int | str, halo_px: int | str) -> str | None:
    if isinstance(tile_px, int) and isinstance(halo_px, int) and tile_px <= 2 * halo_px:
        return f"{tile_px} is not larger than 2 × predict.halo_px, {2 * halo_px}; give more, or auto"
    return None


def _check_engine(engine: str, device: str, precision: str) -> str | None:
    if engine == "openvino" and device == "gpu":
        return "openvino computes on the CPU, but predict.device is gpu; give tensorflow, or another device"
    if engine == "openvino" and precision == "float16":
        return "openvino has no float16 on the CPU, but predict.precision is float16; give bfloat16 or auto there"
    return None


def _check_object_diameter(diameter_px: float | str | None, rescale: bool) -> str | None:
    if isinstance(diameter_px, float) and not rescale:
        return (
            f"is {diameter_px:g}, but predict.rescale is false, so no image is rescaled; give true there, or null here"
        )
    return None


def _check_min_seam_f1(min_f1: float | None, windows: int) -> str | None:
    if min_f1 is not None and not windows:
        return (
            f"is {min_f1:g}, but predict.seam_check_windows is 0, so no seam is checked; give more there, or null here"
        )
    return None


def _check_max_hole_um2(max_um2: float | None, fill_holes: bool) -> str | None:
    if max_um2 is not None and not fill_holes:
        return f"is {max_um2:g}, but segment.fill_holes is false, so no hole is filled; give true there, or null here"
    return None


def _check_iou_thresholds(thresholds: Sequence[float]) -> str | None:
    scored = {0.5, *thresholds}
    if len({round(100 * threshold) for threshold in scored}) < len(scored):
        return "two of them, or one and 0.5, are equal when rounded to hundredths; keep one, such as 0.5 or 0.55"
    return None


def _check_metric(metric: str, task: str, classes: Sequence[str]) -> str | None:
    if metric == "auto":
        return None
    outputs = _outputs(task, classes)[1:]
    known = [f"val_{name}" for name in ("loss", "iou", *(f"iou_{output}" for output in outputs))]
    if metric not in known:
        return f"{metric!r} is not a metric of the validation images; give one of {', '.join(known)}"
    return None


def _check_metric_of_sweep(metric: str, sweep: Mapping[str, Mapping[str, Any]]) -> str | None:
    sections = [part for values in sweep.values() for part in values.values() if isinstance(part, dict)]
    changing = [key for part in (sweep, *sections) for key in part if key in LOSS_SETTINGS]
    if metric == "val_loss" and changing:
        return (
            f"is val_loss, but sweep changes {changing[0]}, and values of different losses cannot be compared; give "
            "val_iou, or auto"
        )
    return None


CROSS_CHECKS: list[tuple[Callable[..., str | None], list[str]]] = [
    (_check_classes, ["classes", "task"]),
    (_check_shard_px, ["ingest.shard_px", "ingest.chunk_px"]),
    (_check_ignore_label, ["ingest_truth.ignore_label", "task", "classes"]),
    (_check_colors, ["ingest_truth.colors", "classes", "ingest_truth.outlines"]),
    (_check_fractions, ["split.train", "split.val", "split.test"]),
    (_check_group_pattern, ["split.group_pattern"]),
    (
        _null_unless(lambda rescale_by: rescale_by == "pixel_size", "augment.rescale_by is not pixel_size"),
        ["augment.target_pixel_size_um", "augment.rescale_by"],
    ),
    (
        _null_unless(lambda rescale_by: rescale_by == "object_diameter", "augment.rescale_by is not object_diameter"),
        ["augment.target_diameter_px", "augment.rescale_by"],
    ),
    (_check_rescale_by, ["augment.rescale_by", "task"]),
    (_check_preset, ["augment.preset", "augment.transforms"]),
    (_check_encoder_weights, ["train.encoder_weights", "train.architecture"]),
    (_check_backbone, ["train.backbone", "train.architecture"]),
    (_check_width_and_depth, ["train.width", "train.depth", "train.architecture"]),
    (_check_deep_supervision, ["train.deep_supervision", "train.architecture", "train.depth"]),
    (_check_frozen_epochs, ["train.frozen_epochs", "train.encoder_weights", "train.architecture"]),
    (
        _null_unless(lambda epochs: epochs > 0, "train.frozen_epochs is 0, so everything learns from the start"),
        ["train.finetune_lr_factor", "train.frozen_epochs"],
    ),
    (_check_losses, ["train.losses"]),
    (
        _null_unless(lambda losses: bool(losses.get("tversky")), "train.losses has no tversky"),
        ["train.tversky_beta", "train.losses"],
    ),
    (_check_class_weights, ["train.class_weights", "task", "classes"]),
    (
        _null_unless(lambda name: name == "adamw", "train.optimizer is adam, which has no weight decay"),
        ["train.weight_decay", "train.optimizer"],
    ),
    (_check_layers, ["explain.layers", "explain.n_examples"]),
    (_check_tile_px, ["predict.tile_px", "predict.halo_px"]),
    (_check_engine, ["predict.engine", "predict.device", "predict.precision"]),
    (_check_object_diameter, ["predict.object_diameter_px", "predict.rescale"]),
    (_check_min_seam_f1, ["evaluate.min_seam_f1", "predict.seam_check_windows"]),
    (_check_max_hole_um2, ["segment.max_hole_um2", "segment.fill_holes"]),
    (_check_iou_thresholds, ["evaluate.iou_thresholds"]),
    (_check_metric, ["train.monitor", "task", "classes"]),
    (_check_metric, ["select_model.metric", "task", "classes"]),
    (_check_metric_of_sweep, ["select_model.metric", "sweep"]),
]
"""(check, dotted names of the settings that it gets)."""
