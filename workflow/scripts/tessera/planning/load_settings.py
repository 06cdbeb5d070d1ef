"""The settings: what the user gave, checked and completed with the defaults of the schema."""

import math
from pathlib import Path

import yaml

from tessera.common.errors import InputError
from tessera.planning.cross_checks import CROSS_CHECKS
from tessera.planning.schemas import completed, dotted, read_schema, refusals, typed
from tessera.planning.sweeps import as_configured, combine, read_sweep


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
        seen_nodes = set()
        waiting = [(yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")]
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
    if settings["evaluate"]["min_seam_f1"] is not None:
        problems.append("evaluate.min_seam_f1: is given, but masks in the table have no seams; give null")
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
