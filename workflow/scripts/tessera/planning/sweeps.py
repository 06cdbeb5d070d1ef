"""Sweeps of hyperparameters: the variants of a training and the models that result from them."""

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from tessera.planning.messages import format_value, suggestion
from tessera.planning.schema_validation import Schema, complete, convert_text, find_problems, runtime_settings
from tessera.settings import renamed

Axes: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""{axis: {name of a value: {setting of train: value}}}."""

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,49}")
MAX_NAME_LENGTH = 180
MAX_VARIANTS = 1000


def read_sweep(sweep: Mapping[str, Any], schema: Schema) -> tuple[Axes, dict[str, str]]:
    """The values of a sweep, each checked like the section train.

    Args:
        sweep: {setting of train: [values] or {name: value}}, or {any other name: {name: {setting: value}}} for settings
            that change together.
        schema: of the configuration.

    Returns:
        The axes, and {dotted path: what is wrong}.
    """
    known, axes, problems = schema["properties"]["train"]["properties"], {}, {}
    for axis, values in sweep.items():
        if not values:
            problems[f"sweep.{axis}"] = "has no values; give some, or remove it"
        elif axis not in known and not _change_together(values):
            problems[f"sweep.{axis}"] = _unknown_setting(axis, schema)
        elif not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,49}", axis):
            problems[f"sweep.{axis}"] = (
                "is not a safe name; use letters a to z, digits and _, first a letter, at most 50 characters"
            )
        else:
            axes[axis], axis_problems = _read_values(axis, values, schema)
            problems |= axis_problems
    return axes, problems | _repeated_settings(axes) | _too_many(axes)


def combine(axes: Axes) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Yield ({axis: name of its value}, {setting: value}) for each point of the grid; without axes, one empty point."""
    for names in itertools.product(*axes.values()):
        point = dict(zip(axes, names, strict=True))
        yield point, {key: value for axis, name in point.items() for key, value in axes[axis][name].items()}


def list_variants(axes: Axes, train: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{variant: {"point": {axis: name of its value}, "train": settings}} of the grid; without axes, one named "".

    Variants are named by Snakemake's Paramspace, such as learning_rate~0.003_backbone~resnet18.
    """
    if not axes:
        return {"": {"point": {}, "train": train}}
    # These imports take a second, which a plan without a sweep saves.
    import pandas
    from snakemake.utils import Paramspace

    points, changes = zip(*combine(axes), strict=True)
    space = Paramspace(pandas.DataFrame(points), filename_params="*", single_wildcard="variant")
    parts = zip(space.instance_patterns, points, changes, strict=True)
    return {variant: {"point": point, "train": train | changed} for variant, point, changed in parts}


def list_models(variants: Mapping[str, dict[str, Any]], folds: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{model: {"variant", "fold", "point", "train"}} for every variant of `list_variants` in every fold.

    Models are named fold1 and so on, with the variant in front if there is a sweep. They are sorted by name, so the
    order in the configuration does not matter.
    """
    models = {
        f"{variant}_{fold}" if variant else fold: {"variant": variant, "fold": fold} | parts
        for variant, parts in variants.items()
        for fold in folds
    }
    return dict(sorted(models.items()))


def as_configured(axes: Axes) -> dict[str, dict[str, Any]]:
    """The sweep as a configuration has it: {axis: {name: value}}."""
    return {
        axis: {name: part[axis] if set(part) == {axis} else part for name, part in values.items()}
        for axis, values in axes.items()
    }


def _change_together(values: Any) -> bool:
    """Whether the values are sections of settings by name."""
    return isinstance(values, dict) and bool(values) and all(isinstance(part, dict) for part in values.values())


def _unknown_setting(axis: str, schema: Schema) -> str:
    known = schema["properties"]["train"]["properties"]
    if new := renamed.SETTINGS.get(f"train.{axis}"):
        return f"was renamed to {new.removeprefix('train.')}"
    sections = [name for name, part in schema["properties"].items() if axis in part.get("properties", {})]
    if sections:
        return f"is a setting of {' and '.join(sections)}; only settings of train can be swept"
    together = "give settings that change together by name, such as {small: {width: 16, depth: 3}}"
    return f"unknown setting of train{suggestion(axis, known) or '; known are ' + ', '.join(known) + '; ' + together}"


def _read_values(axis: str, values: Any, schema: Schema) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """{name: {setting: value}} of an axis, and {path: what is wrong}."""
    known = schema["properties"]["train"]["properties"]
    problems: dict[str, str] = {}
    read: dict[str, dict[str, Any]] = {}
    for given_name, value, path in _name_values(axis, values):
        given = {axis: value} if axis in known else value
        section = {
            key: complete(convert_text(part, known.get(key, {})), known.get(key, {})) for key, part in given.items()
        }
        prefix = f"train.{axis}" if axis in known else "train"
        invalid = find_problems({"train": section}, schema)
        problems |= {f"{path}{where.removeprefix(prefix)}": text for where, text in invalid.items()}
        if without_effect := sorted(section.keys() & runtime_settings("train")):
            problems[path] = f"{without_effect[0]} decides how a training runs, not its result; sweep another setting"
        name = given_name or _name_of(section[axis])
        if not invalid and not SAFE_NAME.fullmatch(name):
            problems[path] = _name_advice(value, named=isinstance(values, dict))
        elif name.casefold() in map(str.casefold, read) or section in read.values():
            problems.setdefault(path, f"{format_value(value)} is duplicated")
        read[name] = section
    return read, problems


def _name_values(axis: str, values: Any) -> list[tuple[str | None, Any, str]]:
    """(name or None, value, dotted path) of each value."""
    if isinstance(values, dict):
        return [(name, value, f"sweep.{axis}.{name}") for name, value in values.items()]
    return [(None, value, f"sweep.{axis}[{number}]") for number, value in enumerate(values, start=1)]


def _name_of(value: Any) -> str:
    """Text for a value that is a number, text, true, false or null."""
    return value if isinstance(value, str) else json.dumps(value)


def _name_advice(value: Any, named: bool) -> str:
    if named:
        return (
            "is not a safe name; use letters a to z, digits and _ . + -, first a letter or digit, at most 50 characters"
        )
    return f"{format_value(value)} cannot be part of a model's name; name the values, such as {{first: …, second: …}}"


def _repeated_settings(axes: Axes) -> dict[str, str]:
    """Problems of settings that two axes change."""
    owners: dict[str, str] = {}
    problems = {}
    for axis, values in axes.items():
        for key in dict.fromkeys(key for part in values.values() for key in part):
            other = owners.setdefault(key, axis)
            if other != axis:
                problems[f"sweep.{axis}"] = f"changes {key}, as sweep.{other} does; change it in one of them only"
    return problems


def _too_many(axes: Axes) -> dict[str, str]:
    """Problems of a grid with too many models or too long names for a file system."""
    count = math.prod(map(len, axes.values()))
    longest = sum(len(axis) + max(map(len, values), default=0) + 2 for axis, values in axes.items())
    if count > MAX_VARIANTS:
        return {"sweep": f"makes {count:,} variants, more than {MAX_VARIANTS:,}; give fewer values"}
    if longest > MAX_NAME_LENGTH:
        return {"sweep": f"makes names of {longest} characters, more than {MAX_NAME_LENGTH}; give values shorter names"}
    return {}
