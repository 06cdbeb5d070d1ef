"""The settings: what the user gave, checked against the schema and completed with its defaults."""

import copy
import difflib
import math
import re
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from workflow.scripts.lib.errors import InputError

SCHEMA = Path(__file__).resolve().parent.parent / "schemas" / "config.schema.yaml"
KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a section of settings",
    "string": "text",
}


def load_settings(config, source):
    """Check the configuration and complete it with defaults.

    Args:
        config: what Snakemake read, {section or setting: value}; it is not changed.
        source: name of the file it was read from, for messages.

    Returns:
        All settings, in the order of the schema. `simulate.movies` has whole settings for each movie, those shared by all
        movies included.

    Raises:
        InputError: a line for each problem of the configuration.
    """
    config = _without_empty_sections(config)
    problems = _schema_problems(config)
    settings = _completed(config, read_schema())
    wrong = {path for path, _ in problems}
    problems += [(path, text) for path, text in _cross_problems(settings, wrong) if path not in wrong]
    if problems:
        raise InputError(
            "\n".join(f"{source}: {path}: {text}" if path else f"{source}: {text}" for path, text in problems)
        )
    return settings


@cache
def read_schema():
    """The schema of the settings, workflow/schemas/config.schema.yaml."""
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _without_empty_sections(config):
    """A copy; a section whose settings are all commented out reads as null, and means that all have their defaults."""
    config = copy.deepcopy(dict(config or {}))
    for name, schema in read_schema()["properties"].items():
        if schema["type"] == "object" and name in config and config[name] is None:
            config[name] = {}
    simulate = config.get("simulate")
    if isinstance(simulate, dict):
        if simulate.get("movies", {}) is None:
            simulate["movies"] = {}
        if isinstance(simulate.get("movies"), dict):
            simulate["movies"] = {name: {} if own is None else own for name, own in simulate["movies"].items()}
    return config


def _completed(value, schema):
    """`value` with defaults for what is left out, in the order of the schema; numbers get the type of the schema."""
    if isinstance(value, dict) and "properties" in schema:
        value = _with_shared_settings(value) if "movies" in schema["properties"] else value
        completed = {}
        for key, part in schema["properties"].items():
            if key in value:
                completed[key] = _completed(value[key], part)
            elif part["type"] == "object" and "default" not in part:
                completed[key] = _completed({}, part)
            elif "default" in part:
                completed[key] = _completed(copy.deepcopy(part["default"]), part)
        others = {key: copy.deepcopy(other) for key, other in value.items() if key not in completed}
        completed |= others
        return {"movies": completed["movies"]} if "movies" in completed else completed
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        return {key: _completed(part, schema["additionalProperties"]) for key, part in value.items()}
    if isinstance(value, list) and "items" in schema:
        return [_completed(part, schema["items"]) for part in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value) if "number" in schema["type"] else int(value) if value == int(value) else value
    return value


def _with_shared_settings(simulate):
    movies = simulate.get("movies", {})
    if not isinstance(movies, dict):
        return simulate
    shared = {key: value for key, value in simulate.items() if key != "movies"}
    return {"movies": {name: {**shared, **own} if isinstance(own, dict) else own for name, own in movies.items()}}


def _schema_problems(config):
    """(path, text) of everything that the schema refuses."""
    problems = []
    for error in Draft202012Validator(read_schema()).iter_errors(config):
        problems += _told(error)
    problems += [(path, "is not a finite number") for path in _not_finite(config)]
    return problems


def _told(error):
    """[(path, text)] for an error of jsonschema, in words of a user."""
    path, value, rule = _dotted(error.absolute_path), error.instance, error.validator_value
    match error.validator:
        case "additionalProperties":
            known = error.schema["properties"]
            return [(_dotted([*error.absolute_path, key]), _unknown(key, known)) for key in value if key not in known]
        case "required":
            return [(path, f"has no {key}; add {key}: ...") for key in rule if key not in value]
        case "type":
            return [(path, _wrong_type(value, rule))]
        case "enum":
            return [(path, f"{_shown(value)} is not one of {', '.join(rule)}{_suggestion(value, rule)}")]
        case "multipleOf":
            low = max(value // rule * rule, error.schema["minimum"])
            return [(path, f"{value} is not a multiple of {rule}; give {_either(low, low + rule)}")]
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            return [(path, f"{_shown(value)} is out of range; give {_range(error.schema)}")]
        case "uniqueItems":
            twice = next(one for number, one in enumerate(value) if one in value[:number])
            return [(path, f"{_shown(twice)} is there twice; name each once")]
        case "minItems" | "minLength":
            return [(path, f"{_shown(value)} is too short; give at least {rule}")]
        case "maxItems" | "maxLength":
            return [(path, f"has a length of {len(value)}; give at most {rule}")]
        case "pattern" if error.absolute_schema_path[-2] == "propertyNames":
            return [
                (_dotted([*error.absolute_path, value]), "is not a safe name; use letters a to z, digits and . _ + -")
            ]
        case _:
            return [(path, f"{_shown(value)} is not right: {error.schema.get('description', error.message)}")]


def _dotted(path):
    """`augment.transforms[2].p` of the keys and numbers in `path`; lists are counted from 1."""
    text = ""
    for key in path:
        text += f"[{key + 1}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def _unknown(key, known):
    elsewhere = [name for name, part in read_schema()["properties"].items() if key in part.get("properties", {})]
    if elsewhere and key not in known:
        return f"is not a setting of this section; it belongs in {' or '.join(elsewhere)}"
    return f"unknown setting{_suggestion(key, known) or '; known are ' + ', '.join(known)}"


def _suggestion(value, known):
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(str(value).casefold(), folded, n=1)
    return f"; did you mean {folded[close[0]]}?" if close else ""


def _wrong_type(value, kinds):
    kinds = [kinds] if isinstance(kinds, str) else kinds
    wanted = " or ".join(KINDS[kind] for kind in kinds)
    if isinstance(value, str) and {"number", "integer"} & set(kinds):
        try:
            return f"{_shown(value)} is text, not {wanted}; write {float(value.replace(',', '.')):.15g}"
        except ValueError:
            pass  # it is no number in any notation, so none can be suggested
    if "string" in kinds and not isinstance(value, (list, dict)):
        return f"{_shown(value)} is not text; put it in quotes"
    return f"{_shown(value)} is not {wanted}"


def _shown(value):
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)
    )
    return text if len(text) <= 60 else f"{text[:57]}..."


def _range(schema):
    low = f"{schema['minimum']}" if "minimum" in schema else f"more than {schema['exclusiveMinimum']}"
    return f"{low} to {'below ' if 'exclusiveMaximum' in schema else ''}{schema.get('maximum', schema.get('exclusiveMaximum'))}"


def _either(low, high):
    return f"{int(low)} or {int(high)}"


def _not_finite(value, path=()):
    if isinstance(value, dict):
        return [found for key, part in value.items() for found in _not_finite(part, (*path, key))]
    if isinstance(value, list):
        return [found for number, part in enumerate(value) for found in _not_finite(part, (*path, number))]
    return [_dotted(path)] if isinstance(value, float) and not math.isfinite(value) else []


def _cross_problems(settings, wrong):
    """(path, text) of settings that do not go together; a check is left out where one of its settings is `wrong`."""
    for check, paths in CROSS_CHECKS.items():
        if any(
            bad == path or bad.startswith((f"{path}.", f"{path}[")) or path.startswith(f"{bad}.") or not bad
            for bad in wrong
            for path in paths
        ):
            continue
        text = check(*[_at(settings, path) for path in paths])
        if text:
            yield paths[0], text


def _at(settings, path):
    for key in path.split("."):
        settings = settings[key]
    return settings


def _classes_suit_the_task(classes, task):
    if task == "instances" and len(classes) != 2:
        return f"{len(classes)} names, but instances know one class of object; give two names, or task: semantic"
    return None


def _whole_chunks(shard_px, chunk_px):
    if shard_px % chunk_px:
        low = max(shard_px // chunk_px, 1) * chunk_px
        return f"{shard_px} is not a multiple of ingest.chunk_px ({chunk_px}); give {_either(low, low + chunk_px)}"
    return None


def _shares_add_up(train, val, test):
    if abs(train + val + test - 1) > 1e-6:
        return f"{train:g} and val {val:g} and test {test:g} add up to {train + val + test:g}; let them add up to 1"
    return None


def _pattern_compiles(pattern):
    try:
        re.compile(pattern or "")
    except re.error as error:
        return f"{_shown(pattern)} is not a regular expression: {error}"
    return None


def _weights_exist(weights):
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        return f"no file {weights} in {Path.cwd()}; give null, imagenet or the path of a weights file"
    return None


def _some_loss(losses):
    return None if sum(losses.values()) > 0 else "all weights are 0; give one of them a weight above 0"


def _tiles_go_on(overlap_px, tile_px):
    if overlap_px > tile_px // 2:
        return f"{overlap_px} is more than half of predict.tile_px ({tile_px}); give 0 to {tile_px // 2}"
    return None


CROSS_CHECKS = {
    _classes_suit_the_task: ["classes", "task"],
    _whole_chunks: ["ingest.shard_px", "ingest.chunk_px"],
    _shares_add_up: ["split.train", "split.val", "split.test"],
    _pattern_compiles: ["split.group_pattern"],
    _weights_exist: ["train.encoder_weights"],
    _some_loss: ["train.losses"],
    _tiles_go_on: ["predict.overlap_px", "predict.tile_px"],
}
