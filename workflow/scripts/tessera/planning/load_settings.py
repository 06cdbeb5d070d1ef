"""Load the settings: check what the user gave, and complete it with the defaults."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.planning.cross_checks import CROSS_CHECKS
from tessera.planning.schema_validation import Schema, complete, convert_text, dotted, find_problems, read_schema
from tessera.planning.sweeps import Axes, as_configured, combine, read_sweep

Problems = dict[str, str]
"""{dotted path of a setting: what is wrong with it}."""


def load_settings(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Check the configuration and complete it with the defaults.

    Args:
        config: the configuration as Snakemake read it, {section or setting: value}. It is not changed.
        source: name of its file, for messages.

    Returns:
        All settings, in the order of the schema. `simulate` holds only `movies`, each with all of its settings,
        including those that all movies share. `sweep` has a name for every value.

    Raises:
        InputError: a line for each problem.
    """
    schema = read_schema("config")
    given, problems = _clean(convert_text(dict(config), schema), schema)
    problems |= {path: text for path, text in find_problems(given, schema).items() if path not in problems}
    settings: dict[str, Any] = complete(_with_complete_movies(given), schema)
    sweep = {} if "sweep" in problems else settings["sweep"]
    valid = {axis: part for axis, part in sweep.items() if f"sweep.{axis}" not in problems}
    axes, sweep_problems = read_sweep(valid, schema)
    problems |= {path: text for path, text in sweep_problems.items() if path not in problems}
    settings["sweep"] = as_configured(axes)
    for check, paths in CROSS_CHECKS:
        invalid = [*problems, *(["train"] if sweep_problems else [])]
        if not any(_overlap(path, other) for path in paths for other in invalid):
            problems |= _run_check(check, paths, settings, axes, given.get("sweep"))
    if problems:
        raise InputError("\n".join(f"{source}: {path}: {text}" for path, text in problems.items()))
    return settings | {"simulate": {"movies": settings["simulate"]["movies"]}}


def check_duplicate_keys(paths: Iterable[StrPath]) -> None:
    """Refuse configuration files that give a key twice: YAML silently keeps the last one.

    Raises:
        InputError: a line for each duplicate.
    """
    problems = []
    for path in paths:
        visited = set()
        waiting = [(yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")]
        while waiting:
            node, prefix = waiting.pop()
            if id(node) in visited:  # aliases lead to the same node, and may form a cycle
                continue
            visited.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += [(part, prefix) for part in node.value]
            elif isinstance(node, yaml.MappingNode):
                lines: dict[str, int] = {}
                for key, value in node.value:
                    name, line = f"{prefix}{key.value}", key.start_mark.line + 1
                    if name in lines and key.value != "<<":
                        problems.append(
                            f"{path}: {name}: is given in line {lines[name]} and in line {line}; give it once"
                        )
                    lines[name] = line
                    waiting.append((value, f"{name}."))
    if problems:
        raise InputError("\n".join(problems))


def check_with_masks(settings: Mapping[str, Any]) -> None:
    """Refuse settings that need a network if the images table gives masks instead.

    Raises:
        InputError: a line for each problem.
    """
    problems = []
    if settings["task"] != "instances":
        problems.append("task: is semantic, but the masks in the table are instances; give instances, or no masks")
    if settings["model"]:
        problems.append("model: is given, but the table gives masks, which need no model; give null, or no masks")
    if settings["evaluate"]["min_seam_f1"] is not None:
        problems.append("evaluate.min_seam_f1: is given, but masks in the table have no seams; give null")
    if problems:
        raise InputError("\n".join(problems))


def _run_check(
    check: Callable[..., str | None], paths: list[str], settings: dict[str, Any], axes: Axes, sweep: Any
) -> Problems:
    """The problem that a check finds in the settings at `paths`; for swept settings of train, in each variant."""
    problems = {}
    swept = {path: axis for path in paths if (axis := _axis_of(path, axes))}
    for point, changed in combine({axis: axes[axis] for axis in swept.values()}):
        variant = settings | {"train": settings["train"] | changed}
        text = check(*[_value_at(variant, path) for path in paths])
        if text and swept:
            path, axis = next(iter(swept.items()))
            text = text if path == paths[0] else f"with it, {paths[0]} {text}"
            place = list(axes[axis]).index(point[axis])
            problems[dotted(["sweep", axis, place if isinstance(sweep[axis], list) else point[axis]])] = text
        elif text:
            problems[paths[0]] = text
    return problems


def _axis_of(path: str, axes: Axes) -> str | None:
    """The axis of the sweep that changes the setting at `path`."""
    section, _, key = path.partition(".")
    owners = [axis for axis, values in axes.items() if any(key in part for part in values.values())]
    return owners[0] if section == "train" and owners else None


def _clean(config: dict[str, Any], schema: Schema) -> tuple[dict[str, Any], Problems]:
    """A copy with text as keys and {} for empty sections; and the problems of numbers that are not finite."""
    problems: Problems = {}

    def clean(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {str(key): clean(part, (*path, str(key))) for key, part in value.items()}
        if isinstance(value, list):
            return [clean(part, (*path, place)) for place, part in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            problems[dotted(path)] = "is not a finite number"
            return 0
        # A section whose settings are all commented out reads as null.
        is_section = len(path) == 1 and schema["properties"].get(path[0], {}).get("type") == "object"
        is_movie = path[:2] == ("simulate", "movies") and len(path) < 4
        return {} if value is None and (is_section or is_movie) else value

    cleaned: dict[str, Any] = clean(config, ())
    return cleaned, problems


def _with_complete_movies(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the settings that all simulated movies share copied into each movie."""
    simulate = config.get("simulate")
    if not isinstance(simulate, dict) or not isinstance(simulate.get("movies"), dict):
        return config
    shared = {key: value for key, value in simulate.items() if key != "movies"}
    movies = {name: shared | own if isinstance(own, dict) else own for name, own in simulate["movies"].items()}
    return config | {"simulate": {"movies": movies}}


def _overlap(path: str, other: str) -> bool:
    """Whether one of two dotted paths equals or contains the other."""
    short, long = sorted((path, other), key=len)
    return long == short or long.startswith((f"{short}.", f"{short}["))


def _value_at(settings: dict[str, Any], path: str) -> Any:
    value: Any = settings
    for key in path.split("."):
        value = value[key]
    return value
