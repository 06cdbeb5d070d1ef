"""Checks of settings that depend on each other."""

import re
from pathlib import Path

from tessera.common.constants import INSTANCE_OUTPUTS, SETTINGS, WEIGHTS
from tessera.planning.messages import shown
from tessera.training.model_selection import LOSS_SETTINGS


def _check_classes(classes, task):
    if task == "instances" and len(classes) != 2:
        return f"has {len(classes)} names, but instances know one class of object; give two names, or task: semantic"
    if task == "semantic" and "mean" in classes:
        return "has the name mean, which the table of scores has for the mean over classes; give another"
    return None


def _check_shard_px(shard_px, chunk_px):
    if shard_px % chunk_px:
        low = max(shard_px // chunk_px, 1) * chunk_px
        return f"{shard_px} is not a multiple of ingest.chunk_px, {chunk_px}; give {low} or {low + chunk_px}"
    return None


def _check_ignore(ignore, task, classes):
    if ignore is None:
        return None
    known = classes if task == "semantic" else ["background"]
    if ignore in range(len(known)):
        return f"is {ignore}, which stands for {known[ignore]}; give a value that annotations use for nothing else"
    return None


def _check_shares(train, val, test):
    if abs(train + val + test - 1) > 1e-6:
        total = f"{train + val + test:.6g}"
        return f"train {train:g}, val {val:g} and test {test:g} add up to {total}; change them to add up to 1"
    return None


def _check_group_pattern(pattern):
    try:
        re.compile(pattern or "")
    except re.error as error:
        return f"{shown(pattern)} is not a regular expression ({error}); correct it, or give null"
    return None


def _check_scale(scale, task):
    if scale == "object_diameter" and task == "semantic":
        return "is object_diameter, but task is semantic, whose truth does not tell objects apart; give pixel_size, none or auto"
    return None


def _check_preset(preset, transforms):
    if preset != "auto" and transforms is not None:
        return f"is {preset}, but augment.transforms says what is done instead; give auto here, or null there"
    return None


def _check_encoder_weights(weights, architecture):
    if weights is None:
        return None
    folder = Path(weights)
    if weights != "imagenet" and folder.is_dir():
        if not all((folder / name).is_file() for name in (SETTINGS, WEIGHTS)):
            return f"{weights} has no {SETTINGS} and {WEIGHTS}; give the folder of an earlier model, or null"
        if folder.resolve().is_relative_to(Path("results/models").resolve()):
            return f"{weights} is replaced when its own training runs again; give a copy of it that lies elsewhere"
        return None
    if weights != "imagenet" and not folder.is_file():
        return (
            f"there is no file or folder {weights} in {Path.cwd()}; give null, imagenet, the path of a weights file or "
            "of an earlier model's folder"
        )
    if architecture == "PlainUnet":
        return f"is {weights}, but PlainUnet has no backbone to take it; give null, or an earlier model of PlainUnet"
    return None


def _check_losses(losses):
    return None if sum(losses.values()) > 0 else "has no weight above 0; give a loss one, such as {dice: 1.0}"


def _check_backbone(backbone, architecture):
    if architecture == "PlainUnet" and backbone is not None:
        return f"is {backbone}, but train.architecture is PlainUnet, which has no backbone; give null"
    if architecture != "PlainUnet" and backbone is None:
        return f"is null, but train.architecture is {architecture}, which needs one; give one, such as resnet18"
    return None


def _check_width_and_depth(width, depth, architecture):
    if architecture == "PlainUnet" or width is depth is None:
        return None
    return f"width and depth are of PlainUnet, but train.architecture is {architecture}; give null for both"


def _check_deep_supervision(weights, architecture, depth):
    levels = {"PlainUnet": (depth or 4) - 1, "PSPNet": 1}.get(architecture, 4)
    if len(weights) > levels:
        return f"has {len(weights)} weights, and the decoder of {architecture} has {levels} lower levels; give no more"
    return None


def _check_frozen_epochs(epochs, weights, architecture):
    if epochs and weights is None:
        return f"is {epochs}, but train.encoder_weights is null, and an encoder from scratch has to learn; give 0"
    if epochs and architecture == "PlainUnet":
        return f"is {epochs}, but train.architecture is PlainUnet, which has no encoder to freeze; give 0"
    return None


def _null_unless(wanted, absence):
    """A check that a setting is null unless what another is set to is `wanted`; `absence` says so to the user."""

    def check(value, other):
        return None if value is None or wanted(other) else f"is {shown(value)}, but {absence}; give null"

    return check


def _check_class_weights(weights, task, classes):
    outputs = _outputs(task, classes)
    if isinstance(weights, str):
        return None
    if unknown := [name for name in weights if name not in outputs]:
        return f"{shown(unknown[0])} is no output of the network; they are {', '.join(outputs)}"
    if not any((dict.fromkeys(outputs, 1) | weights).values()):
        return "leaves no output a weight above 0; give one to some"
    return None


def _outputs(task, classes):
    return INSTANCE_OUTPUTS if task == "instances" else classes


def _check_layers(layers, images):
    if layers != "auto" and not images:
        return f"is {shown(layers)}, but explain.n_examples is 0, so no layer is shown; give images there, or auto here"
    return None


def _check_tile_px(tile_px, halo_px):
    if "auto" not in (tile_px, halo_px) and tile_px <= 2 * halo_px:
        return f"{tile_px} leaves nothing within halos of predict.halo_px, {halo_px}, on each side; give more, or auto"
    return None


def _check_engine(engine, device, precision):
    if engine == "openvino" and device == "gpu":
        return "openvino computes on the CPU, and predict.device is gpu; give tensorflow, or another device"
    if engine == "openvino" and precision == "float16":
        return "openvino has no float16 on the CPU, predict.precision; give bfloat16 or auto there"
    return None


def _check_diameter(diameter_px, rescale):
    if diameter_px not in (None, "auto") and not rescale:
        return (
            f"is {diameter_px:g}, but predict.rescale is false, so no image is resized; give true there, or null here"
        )
    return None


def _check_min_seam_f1(least, windows):
    if least is not None and not windows:
        return (
            f"is {least:g}, but predict.seam_check_windows is 0, so no seam is looked at; give some there, or null here"
        )
    return None


def _check_max_hole_um2(largest, fill):
    if largest is not None and not fill:
        return f"is {largest:g}, but segment.fill_holes is false, so no hole is filled; give true there, or null here"
    return None


def _check_ious(ious):
    scored = {0.5, *ious}
    if len({round(100 * iou) for iou in scored}) < len(scored):
        return "two of them, or one and 0.5, are the same in hundredths; give each once, such as 0.5 and 0.55"
    return None


def _check_metric(metric, task, classes):
    if metric == "auto":
        return None
    outputs = _outputs(task, classes)[1:]
    known = [f"val_{name}" for name in ("loss", "iou", *(f"iou_{output}" for output in outputs))]
    if metric not in known:
        return f"{metric!r} is not recorded of the validation images; give one of {', '.join(known)}"
    return None


def _check_metric_of_sweep(metric, sweep):
    sections = [part for values in sweep.values() for part in values.values() if isinstance(part, dict)]
    changing = [key for part in (sweep, *sections) for key in part if key in LOSS_SETTINGS]
    if metric == "val_loss" and changing:
        text = f"is val_loss, but sweep changes {changing[0]}, and values of different losses cannot be compared"
        return f"{text}; give val_iou, or auto"
    return None


# (check, settings): given their values, it says what is wrong with the first of them, or gives None.
CROSS_CHECKS = [
    (_check_classes, ["classes", "task"]),
    (_check_shard_px, ["ingest.shard_px", "ingest.chunk_px"]),
    (_check_ignore, ["ingest_truth.ignore_label", "task", "classes"]),
    (_check_shares, ["split.train", "split.val", "split.test"]),
    (_check_group_pattern, ["split.group_pattern"]),
    (
        _null_unless(lambda scale: scale == "pixel_size", "augment.rescale_by is not pixel_size"),
        ["augment.target_pixel_size_um", "augment.rescale_by"],
    ),
    (
        _null_unless(lambda scale: scale == "object_diameter", "augment.rescale_by is not object_diameter"),
        ["augment.target_diameter_px", "augment.rescale_by"],
    ),
    (_check_scale, ["augment.rescale_by", "task"]),
    (_check_preset, ["augment.preset", "augment.transforms"]),
    (_check_encoder_weights, ["train.encoder_weights", "train.architecture"]),
    (_check_backbone, ["train.backbone", "train.architecture"]),
    (_check_width_and_depth, ["train.width", "train.depth", "train.architecture"]),
    (_check_deep_supervision, ["train.deep_supervision", "train.architecture", "train.depth"]),
    (_check_frozen_epochs, ["train.frozen_epochs", "train.encoder_weights", "train.architecture"]),
    (
        _null_unless(lambda epochs: epochs > 0, "train.frozen_epochs is 0, so all learns from the start"),
        ["train.finetune_lr_factor", "train.frozen_epochs"],
    ),
    (_check_losses, ["train.losses"]),
    (
        _null_unless(lambda losses: losses.get("tversky"), "train.losses has no tversky"),
        ["train.tversky_beta", "train.losses"],
    ),
    (_check_class_weights, ["train.class_weights", "task", "classes"]),
    (
        _null_unless(lambda name: name == "adamw", "train.optimizer is adam, which has none"),
        ["train.weight_decay", "train.optimizer"],
    ),
    (_check_layers, ["explain.layers", "explain.n_examples"]),
    (_check_tile_px, ["predict.tile_px", "predict.halo_px"]),
    (_check_engine, ["predict.engine", "predict.device", "predict.precision"]),
    (_check_diameter, ["predict.object_diameter_px", "predict.rescale"]),
    (_check_min_seam_f1, ["evaluate.min_seam_f1", "predict.seam_check_windows"]),
    (_check_max_hole_um2, ["segment.max_hole_um2", "segment.fill_holes"]),
    (_check_ious, ["evaluate.iou_thresholds"]),
    (_check_metric, ["train.monitor", "task", "classes"]),
    (_check_metric, ["select_model.metric", "task", "classes"]),
    (_check_metric_of_sweep, ["select_model.metric", "sweep"]),
]
