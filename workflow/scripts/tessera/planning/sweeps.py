"""Sweeps: the variants of a training, each with settings of its own, and the models that they give."""

import itertools
import json
import math
import re

from tessera.planning.messages import shown, suggestion
from tessera.planning.provenance import WITHOUT_EFFECT
from tessera.planning.schemas import completed, refusals, typed

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,49}")
LONGEST_NAME = 180
MOST_VARIANTS = 1000


def read_sweep(sweep, schema):
    """The values that a sweep goes through, each checked as the section train would be.

    Args:
        sweep: {setting of train: [values] or {name: value}}, or {any other name: {name: {setting: value}}} for settings
            that change together.
        schema: of the configuration.

    Returns:
        {axis: {name of a value: {setting: value}}}, and {dotted path: what is wrong}.
    """
    known, axes, problems = schema["properties"]["train"]["properties"], {}, {}
    for axis, values in sweep.items():
        if not values:
            problems[f"sweep.{axis}"] = "has no values; give some, or remove it"
        elif axis not in known and not _change_together(values):
            problems[f"sweep.{axis}"] = _unknown(axis, schema)
        elif not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,49}", axis):
            problems[f"sweep.{axis}"] = (
                "is not a safe name; use letters a to z, digits and _, first a letter, 50 at most"
            )
        else:
            axes[axis], wrong = _read_values(axis, values, schema)
            problems |= wrong
    return axes, problems | _repeated(axes) | _too_many(axes)


def combine(axes):
    """Yield ({axis: name of its value}, {setting: value}) for every point of the grid; without axes, one of nothing."""
    for names in itertools.product(*axes.values()):
        point = dict(zip(axes, names, strict=True))
        yield point, {key: value for axis, name in point.items() for key, value in axes[axis][name].items()}


def list_variants(axes, train):
    """{variant: {"point": {axis: name of its value}, "train": settings}} of the grid; without axes, one called "".

    A variant is named like learning_rate~0.003_backbone~resnet18, by Snakemake's Paramspace.
    """
    if not axes:
        return {"": {"point": {}, "train": train}}
    # These take a second that a plan without a sweep can do without.
    import pandas
    from snakemake.utils import Paramspace

    points, changes = zip(*combine(axes), strict=True)
    space = Paramspace(pandas.DataFrame(points), filename_params="*", single_wildcard="variant")
    parts = zip(space.instance_patterns, points, changes, strict=True)
    return {variant: {"point": point, "train": train | own} for variant, point, own in parts}


def list_models(variants, folds):
    """{model: {"variant", "fold", "point", "train"}} for every variant, of `list_variants`, in every fold.

    Models are named fold1 and so on, after the name of the variant where there is a sweep. They are sorted by name, so
    that the order in a configuration is of no matter.
    """
    models = {
        f"{variant}_{fold}" if variant else fold: {"variant": variant, "fold": fold} | parts
        for variant, parts in variants.items()
        for fold in folds
    }
    return dict(sorted(models.items()))


def as_configured(axes):
    """The sweep as a configuration has it: {axis: {name: value}}."""
    return {
        axis: {name: part[axis] if set(part) == {axis} else part for name, part in values.items()}
        for axis, values in axes.items()
    }


def _change_together(values):
    """Whether these are sections of settings by name."""
    return isinstance(values, dict) and bool(values) and all(isinstance(part, dict) for part in values.values())


def _unknown(axis, schema):
    known = schema["properties"]["train"]["properties"]
    sections = [name for name, part in schema["properties"].items() if axis in part.get("properties", {})]
    if sections:
        return f"is no setting of train but of {' and '.join(sections)}, and only trainings are swept over"
    together = "settings that change together are given by name, such as {small: {width: 16, depth: 3}}"
    return f"unknown setting of train{suggestion(axis, known) or '; known are ' + ', '.join(known) + '; ' + together}"


def _read_values(axis, values, schema):
    """{name: {setting: value}} of an axis, and {path: what is wrong}."""
    known, read, problems = schema["properties"]["train"]["properties"], {}, {}
    for name, value, path in _name_values(axis, values):
        given = {axis: value} if axis in known else value
        section = {key: completed(typed(part, known.get(key, {})), known.get(key, {})) for key, part in given.items()}
        prefix = f"train.{axis}" if axis in known else "train"
        wrong = refusals({"train": section}, schema)
        problems |= {f"{path}{where.removeprefix(prefix)}": text for where, text in wrong.items()}
        if useless := sorted(section.keys() & WITHOUT_EFFECT["train"]):
            problems[path] = f"{useless[0]} decides how a training runs, not what it gives; sweep over another setting"
        name = name or _name_of(section[axis])
        if not wrong and not SAFE.fullmatch(name):
            problems[path] = _name_advice(value, named=isinstance(values, dict))
        elif name.casefold() in map(str.casefold, read) or section in read.values():
            problems.setdefault(path, f"{shown(value)} is there twice; give each once")
        read[name] = section
    return read, problems


def _name_values(axis, values):
    """(name or None, value, dotted path) of each value."""
    if isinstance(values, dict):
        return [(name, value, f"sweep.{axis}.{name}") for name, value in values.items()]
    return [(None, value, f"sweep.{axis}[{number}]") for number, value in enumerate(values, start=1)]


def _name_of(value):
    """Text for a value that is a number, text, true, false or null."""
    return value if isinstance(value, str) else json.dumps(value)


def _name_advice(value, named):
    if named:
        return "is not a safe name; use letters a to z, digits and _ . + -, first a letter or digit, 50 at most"
    return f"{shown(value)} cannot be part of a model's name; give the values names, such as {{first: …, second: …}}"


def _repeated(axes):
    """Problems of settings that two axes change."""
    owners, problems = {}, {}
    for axis, values in axes.items():
        for key in dict.fromkeys(key for part in values.values() for key in part):
            other = owners.setdefault(key, axis)
            if other != axis:
                problems[f"sweep.{axis}"] = f"changes {key}, as sweep.{other} does; leave it to one"
    return problems


def _too_many(axes):
    """Problems of a grid that makes more models, or longer names, than a file system takes well."""
    count = math.prod(map(len, axes.values()))
    longest = sum(len(axis) + max(map(len, values), default=0) + 2 for axis, values in axes.items())
    if count > MOST_VARIANTS:
        return {"sweep": f"makes {count:,} variants, more than {MOST_VARIANTS:,}; give fewer values"}
    if longest > LONGEST_NAME:
        return {"sweep": f"makes names of {longest} characters, more than {LONGEST_NAME}; give values shorter names"}
    return {}
