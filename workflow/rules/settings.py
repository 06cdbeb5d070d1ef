"""The settings: what the user gave, checked and completed with the defaults of the schema."""

import math
import re
from pathlib import Path

import yaml

from workflow.rules.messages import shown
from workflow.rules.schemas import completed, dotted, read_schema, refusals, typed
from workflow.rules.sweeps import as_configured, combine, read_sweep
from workflow.scripts.lib.conventions import INSTANCE_OUTPUTS, SETTINGS, WEIGHTS
from workflow.scripts.lib.errors import InputError
from workflow.scripts.lib.variants import OF_THE_LOSS


def load_settings(config, source):
    """Check the configuration and complete it with the defaults of workflow/schemas/config.schema.yaml.

    Args:
        config: what Snakemake read, {section or setting: value}; it is not changed.
        source: name of the file that it was read from, for messages.

    Returns:
        All settings, in the order of the schema. `simulate` holds `movies` alone, each with all of its settings, those
        that all movies share included. `sweep` has a name for every value.

    Raises:
        InputError: a line for each problem.
    """
    schema = read_schema("config")
    config, problems = _tidied(typed(config, schema), schema)
    problems |= {path: text for path, text in refusals(config, schema).items() if path not in problems}
    settings = completed(_with_whole_movies(config), schema)
    sweep = {} if "sweep" in problems else settings["sweep"]
    axes, wrong = read_sweep({axis: part for axis, part in sweep.items() if f"sweep.{axis}" not in problems}, schema)
    problems |= {path: text for path, text in wrong.items() if path not in problems}
    settings["sweep"] = as_configured(axes)
    for check, paths in CROSS_CHECKS:
        faulty = [*problems, *(["train"] if wrong else [])]
        if not any(_touch(path, other) for path in paths for other in faulty):
            problems |= _found_by(check, paths, settings, axes, config.get("sweep"))
    if problems:
        raise InputError("\n".join(f"{source}: {path}: {text}" for path, text in problems.items()))
    return settings | {"simulate": {"movies": settings["simulate"]["movies"]}}


def check_files(paths):
    """Refuse files of settings that give a key twice: YAML would keep the last one without a word.

    Raises:
        InputError: a line for each.
    """
    problems = []
    for path in paths:
        seen_nodes, waiting = (
            set(),
            [(yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")],
        )
        while waiting:
            node, above = waiting.pop()
            if id(node) in seen_nodes:  # aliases lead to the same node, and may lead around
                continue
            seen_nodes.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += [(part, above) for part in node.value]
            elif isinstance(node, yaml.MappingNode):
                seen = {}
                for key, value in node.value:
                    name, line = f"{above}{key.value}", key.start_mark.line + 1
                    if name in seen and key.value != "<<":
                        problems.append(
                            f"{path}: {name}: is given in line {seen[name]} and in line {line}; give it once"
                        )
                    seen[name] = line
                    waiting.append((value, f"{name}."))
    if problems:
        raise InputError("\n".join(problems))


def check_masked(settings):
    """Refuse settings that ask for a network where the table gives masks instead.

    Raises:
        InputError: a line for each.
    """
    problems = []
    if settings["task"] != "instances":
        problems.append("task: is semantic, and the masks of the table are instances; give instances, or no masks")
    if settings["model"]:
        problems.append("model: is given, but so are masks in the table, which need none; give null, or no masks")
    if settings["evaluate"]["seam_f1_least"] is not None:
        problems.append("evaluate.seam_f1_least: is given, but masks in the table have no seams; give null")
    if problems:
        raise InputError("\n".join(problems))


def _found_by(check, paths, settings, axes, sweep):
    """{path: problem} that a check of the settings at `paths` finds; of train, in every variant of `sweep`."""
    found = {}
    swept = {path: axis for path in paths if (axis := _axis_of(path, axes))}
    for point, own in combine({axis: axes[axis] for axis in swept.values()}):
        text = check(*[_at(settings | {"train": settings["train"] | own}, path) for path in paths])
        if text and swept:
            path, axis = next(iter(swept.items()))
            text = text if path == paths[0] else f"with it, {paths[0]} {text}"
            place = list(axes[axis]).index(point[axis])
            found[dotted(["sweep", axis, place if isinstance(sweep[axis], list) else point[axis]])] = text
        elif text:
            found[paths[0]] = text
    return found


def _axis_of(path, axes):
    """The axis of a sweep that changes the setting at `path`, or None."""
    section, _, key = path.partition(".")
    owners = [axis for axis, values in axes.items() if any(key in part for part in values.values())]
    return owners[0] if section == "train" and owners else None


def _tidied(config, schema):
    """A copy with text as keys and {} for empty sections; and problems of numbers that are not finite."""
    problems = {}

    def tidy(value, path):
        if isinstance(value, dict):
            return {str(key): tidy(part, (*path, str(key))) for key, part in value.items()}
        if isinstance(value, list):
            return [tidy(part, (*path, place)) for place, part in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            problems[dotted(path)] = "is not a finite number"
            return 0
        # A section whose settings are all commented out reads as null.
        section = len(path) == 1 and schema["properties"].get(path[0], {}).get("type") == "object"
        movies = path[:2] == ("simulate", "movies") and len(path) < 4
        return {} if value is None and (section or movies) else value

    return tidy(config, ()), problems


def _with_whole_movies(config):
    """The configuration with what all simulated movies share written into each movie."""
    simulate = config.get("simulate")
    if not isinstance(simulate, dict) or not isinstance(simulate.get("movies"), dict):
        return config
    shared = {key: value for key, value in simulate.items() if key != "movies"}
    movies = {name: shared | own if isinstance(own, dict) else own for name, own in simulate["movies"].items()}
    return config | {"simulate": {"movies": movies}}


def _touch(path, other):
    """Whether one of two dotted paths is, or lies in, the other."""
    short, long = sorted((path, other), key=len)
    return long == short or long.startswith((f"{short}.", f"{short}["))


def _at(settings, path):
    for key in path.split("."):
        settings = settings[key]
    return settings


def _suit_the_task(classes, task):
    if task == "instances" and len(classes) != 2:
        return f"has {len(classes)} names, but instances know one class of object; give two names, or task: semantic"
    if task == "semantic" and "mean" in classes:
        return "has the name mean, which the table of scores has for the mean over classes; give another"
    return None


def _hold_whole_chunks(shard_px, chunk_px):
    if shard_px % chunk_px:
        low = max(shard_px // chunk_px, 1) * chunk_px
        return f"{shard_px} is not a multiple of ingest.chunk_px, {chunk_px}; give {low} or {low + chunk_px}"
    return None


def _marks_no_class(ignore, task, classes):
    if ignore is None:
        return None
    known = classes if task == "semantic" else ["background"]
    if ignore in range(len(known)):
        return f"is {ignore}, which stands for {known[ignore]}; give a value that annotations use for nothing else"
    return None


def _add_up(train, val, test):
    if abs(train + val + test - 1) > 1e-6:
        total = f"{train + val + test:.6g}"
        return f"train {train:g}, val {val:g} and test {test:g} add up to {total}; change them to add up to 1"
    return None


def _compiles(pattern):
    try:
        re.compile(pattern or "")
    except re.error as error:
        return f"{shown(pattern)} is not a regular expression ({error}); correct it, or give null"
    return None


def _has_objects(scale, task):
    if scale == "object" and task == "semantic":
        return "is object, but task is semantic, whose truth does not tell objects apart; give pixel, none or auto"
    return None


def _is_used(preset, transforms):
    if preset != "auto" and transforms is not None:
        return f"is {preset}, but augment.transforms says what is done instead; give auto here, or null there"
    return None


def _exist(weights, architecture):
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


def _weigh_something(losses):
    return None if sum(losses.values()) > 0 else "has no weight above 0; give a loss one, such as {dice: 1.0}"


def _suits_the_architecture(backbone, architecture):
    if architecture == "PlainUnet" and backbone is not None:
        return f"is {backbone}, but train.architecture is PlainUnet, which has no backbone; give null"
    if architecture != "PlainUnet" and backbone is None:
        return f"is null, but train.architecture is {architecture}, which needs one; give one, such as resnet18"
    return None


def _shapes_the_network(width, depth, architecture):
    if architecture == "PlainUnet" or width is depth is None:
        return None
    return f"width and depth are of PlainUnet, but train.architecture is {architecture}; give null for both"


def _has_levels(weights, architecture, depth):
    levels = {"PlainUnet": (depth or 4) - 1, "PSPNet": 1}.get(architecture, 4)
    if len(weights) > levels:
        return f"has {len(weights)} weights, and the decoder of {architecture} has {levels} lower levels; give no more"
    return None


def _can_freeze(epochs, weights, architecture):
    if epochs and weights is None:
        return f"is {epochs}, but train.encoder_weights is null, and an encoder from scratch has to learn; give 0"
    if epochs and architecture == "PlainUnet":
        return f"is {epochs}, but train.architecture is PlainUnet, which has no encoder to freeze; give 0"
    return None


def _needs(wanted, absence):
    """A check that a setting is null unless what another is set to is `wanted`; `absence` says so to the user."""

    def check(value, other):
        return None if value is None or wanted(other) else f"is {shown(value)}, but {absence}; give null"

    return check


def _weigh_outputs(weights, task, classes):
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


def _are_looked_at(layers, images):
    if layers != "auto" and not images:
        return f"is {shown(layers)}, but explain.images is 0, so no layer is shown; give images there, or auto here"
    return None


def _leaves_a_core(tile_px, halo_px):
    if "auto" not in (tile_px, halo_px) and tile_px <= 2 * halo_px:
        return f"{tile_px} leaves nothing within halos of predict.halo_px, {halo_px}, on each side; give more, or auto"
    return None


def _can_compute(engine, device, precision):
    if engine == "openvino" and device == "gpu":
        return "openvino computes on the CPU, and predict.device is gpu; give tensorflow, or another device"
    if engine == "openvino" and precision == "float16":
        return "openvino has no float16 on the CPU, predict.precision; give bfloat16 or auto there"
    return None


def _resizes(object_px, rescale):
    if object_px not in (None, "auto") and not rescale:
        return f"is {object_px:g}, but predict.rescale is false, so no image is resized; give true there, or null here"
    return None


def _looks_at_seams(least, windows):
    if least is not None and not windows:
        return f"is {least:g}, but predict.seam_windows is 0, so no seam is looked at; give some there, or null here"
    return None


def _fills_holes(largest, fill):
    if largest is not None and not fill:
        return f"is {largest:g}, but segment.fill_holes is false, so no hole is filled; give true there, or null here"
    return None


def _have_columns_of_their_own(ious):
    scored = {0.5, *ious}
    if len({round(100 * iou) for iou in scored}) < len(scored):
        return "two of them, or one and 0.5, are the same in hundredths; give each once, such as 0.5 and 0.55"
    return None


def _is_recorded(metric, task, classes):
    if metric == "auto":
        return None
    outputs = _outputs(task, classes)[1:]
    known = [f"val_{name}" for name in ("loss", "iou", *(f"iou_{output}" for output in outputs))]
    if metric not in known:
        return f"{metric!r} is not recorded of the validation images; give one of {', '.join(known)}"
    return None


def _is_comparable(metric, sweep):
    sections = [part for values in sweep.values() for part in values.values() if isinstance(part, dict)]
    changing = [key for part in (sweep, *sections) for key in part if key in OF_THE_LOSS]
    if metric == "val_loss" and changing:
        text = f"is val_loss, but sweep changes {changing[0]}, and values of different losses cannot be compared"
        return f"{text}; give val_iou, or auto"
    return None


CROSS_CHECKS = [
    (_suit_the_task, ["classes", "task"]),
    (_hold_whole_chunks, ["ingest.shard_px", "ingest.chunk_px"]),
    (_marks_no_class, ["annotate.ignore", "task", "classes"]),
    (_add_up, ["split.train", "split.val", "split.test"]),
    (_compiles, ["split.group_pattern"]),
    (_needs(lambda scale: scale == "pixel", "augment.scale is not pixel"), ["augment.pixel_um", "augment.scale"]),
    (_needs(lambda scale: scale == "object", "augment.scale is not object"), ["augment.object_px", "augment.scale"]),
    (_has_objects, ["augment.scale", "task"]),
    (_is_used, ["augment.preset", "augment.transforms"]),
    (_exist, ["train.encoder_weights", "train.architecture"]),
    (_suits_the_architecture, ["train.backbone", "train.architecture"]),
    (_shapes_the_network, ["train.width", "train.depth", "train.architecture"]),
    (_has_levels, ["train.deep_supervision", "train.architecture", "train.depth"]),
    (_can_freeze, ["train.frozen_epochs", "train.encoder_weights", "train.architecture"]),
    (
        _needs(lambda epochs: epochs > 0, "train.frozen_epochs is 0, so all learns from the start"),
        ["train.unfrozen_rate", "train.frozen_epochs"],
    ),
    (_weigh_something, ["train.losses"]),
    (
        _needs(lambda losses: losses.get("tversky"), "train.losses has no tversky"),
        ["train.tversky_beta", "train.losses"],
    ),
    (_weigh_outputs, ["train.class_weights", "task", "classes"]),
    (
        _needs(lambda name: name == "adamw", "train.optimizer is adam, which has none"),
        ["train.weight_decay", "train.optimizer"],
    ),
    (_are_looked_at, ["explain.layers", "explain.images"]),
    (_leaves_a_core, ["predict.tile_px", "predict.halo_px"]),
    (_can_compute, ["predict.engine", "predict.device", "predict.precision"]),
    (_resizes, ["predict.object_px", "predict.rescale"]),
    (_looks_at_seams, ["evaluate.seam_f1_least", "predict.seam_windows"]),
    (_fills_holes, ["segment.max_hole_um2", "segment.fill_holes"]),
    (_have_columns_of_their_own, ["evaluate.ious"]),
    (_is_recorded, ["train.monitor", "task", "classes"]),
    (_is_recorded, ["select_model.metric", "task", "classes"]),
    (_is_comparable, ["select_model.metric", "sweep"]),
]
