"""Check settings against the JSON schemas in workflow/schemas, in the words of a user, and complete them.

The schemas are made from `tessera.settings` by `make settings`. The plan reads the files instead of importing the
classes: Snakemake plans again in every job, and pydantic takes longer to import than the whole check.
"""

import contextlib
import copy
import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from jsonschema import Draft202012Validator, ValidationError

from tessera.planning.messages import format_value, suggestion
from tessera.settings import renamed

Schema: TypeAlias = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[3] / "schemas"
KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a section of settings",
    "string": "text",
}


@cache
def read_schema(name: str) -> Schema:
    """The schema in workflow/schemas/{name}.schema.yaml."""
    text = (FOLDER / f"{name}.schema.yaml").read_text(encoding="utf-8")
    schema: Schema = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return schema


def runtime_settings(section: str) -> frozenset[str]:
    """Settings of a section that decide how a job runs, not what it makes."""
    settings = read_schema("config")["properties"][section]["properties"]
    return frozenset(name for name, part in settings.items() if part.get("runtime"))


def convert_text(value: Any, schema: Schema) -> Any:
    """`value` with numbers, booleans and null in place of text, if the schema allows no text there.

    Snakemake's `--config 'segment={min_area_px: 50}'` gives nested values as text, and YAML reads 1e-3 as text.
    """
    if isinstance(value, dict):
        parts, others = _part(schema, "properties"), _part(schema, "additionalProperties")
        return {key: convert_text(part, parts.get(key, others)) for key, part in value.items()}
    if isinstance(value, list):
        return [convert_text(part, _part(schema, "items")) for part in value]
    kinds = _kinds(schema)
    if isinstance(value, str) and value == "null" and "null" in kinds:
        return None
    if isinstance(value, str) and "boolean" in kinds:
        return {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(value, str) and {"number", "integer"} & set(kinds):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def complete(value: Any, schema: Schema) -> Any:
    """`value` with the defaults of the schema, in its order; numbers get the type that the schema gives.

    So 1 and 1.0 for the same setting are equal, and so is their provenance. Invalid values stay as they are.
    """
    if isinstance(value, dict):
        parts, others = _part(schema, "properties"), _part(schema, "additionalProperties")
        whole = {}
        for key, part in parts.items():
            if key in value:
                whole[key] = complete(value[key], part)
            elif "default" in part:
                whole[key] = complete(copy.deepcopy(part["default"]), part)
            elif part.get("type") == "object":
                whole[key] = complete({}, part)
        return whole | {key: complete(part, others) for key, part in value.items() if key not in parts}
    if isinstance(value, list):
        return [complete(part, _part(schema, "items")) for part in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        kinds = _kinds(schema)
        if "number" in kinds:
            return float(value)
        if "integer" in kinds and math.isfinite(value) and value == int(value):
            return int(value)
    return value


def find_problems(value: Any, schema: Schema) -> dict[str, str]:
    """{dotted path: what is wrong and what would be right} for everything in `value` that the schema refuses.

    Lists are counted from 1: `augment.transforms[2].p`.
    """
    problems: dict[str, str] = {}
    for error in Draft202012Validator(schema).iter_errors(value):
        for path, text in _explain(error, schema):
            problems.setdefault(path, text)
    return problems


def dotted(path: Iterable[str | int]) -> str:
    """`augment.transforms[2].p` for the keys and numbers in `path`."""
    return "".join(f"[{key + 1}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def unknown_setting(section: str, key: str, schema: Schema, *, known: Sequence[str] | None = None) -> str:
    """What to say about a setting that the section does not have.

    Args:
        section: name of the section, "" for the top level.
        key: the setting, or a section at the top level.
        schema: of the configuration.
        known: names of the settings there, if the section is not in the schema.
    """
    if new := _new_name(section, key):
        return f"was renamed to {new}"
    sections = [name for name, part in schema["properties"].items() if key in part.get("properties", {})]
    if sections:
        return f"is not a setting of this section; it belongs in {' or '.join(sections)}"
    known = list(schema["properties"][section]["properties"]) if known is None else known
    return f"unknown setting{suggestion(key, known) or '; known are ' + ', '.join(known)}"


def _new_name(section: str, key: str) -> str | None:
    if not section:
        return renamed.SECTIONS.get(key)
    return renamed.SETTINGS.get(f"{section}.{key}")


def _part(schema: Schema, keyword: str) -> Schema:
    """What a schema, or one of its alternatives, says under a keyword; {} where it says nothing."""
    parts = [part[keyword] for part in (schema, *schema.get("anyOf", [])) if keyword in part]
    return parts[0] if parts and isinstance(parts[0], dict) else {}


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    own = [kinds] if isinstance(kinds, str) else kinds
    return [*own, *(kind for part in schema.get("anyOf", []) for kind in _kinds(part) if "enum" not in part)]


def _explain(error: ValidationError, schema: Schema) -> list[tuple[str, str]]:
    """[(path, text)] for an error of jsonschema."""
    path = list(error.absolute_path)
    value: Any = error.instance
    rule: Any = error.validator_value  # of the keyword that is violated
    here: Any = error.schema  # the part of the schema with this keyword
    match error.validator:
        case "additionalProperties":
            known = list(here["properties"])
            # Settings of a single movie have the names of those of all movies.
            section = str(path[0]) if path else ""
            return [
                (dotted([*path, key]), unknown_setting(section, key, schema, known=known))
                for key in value
                if key not in known
            ]
        case "required":
            return [(dotted([*path, key]), "is missing; every entry needs it") for key in rule if key not in value]
        case "type" | "enum" if "enum" in here:
            text = _wrong_choice(value, here["enum"], dotted(path))
        case "type":
            text = _wrong_type(value, _kinds(here))
        case "multipleOf":
            low = max(int(value // rule * rule), here["minimum"])
            text = f"{value} is not a multiple of {rule}; give {low} or {low + rule}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            text = f"{format_value(value)} is out of range; give {_range(here)}"
        case "uniqueItems":
            duplicate = next(item for place, item in enumerate(value) if item in value[:place])
            text = f"{format_value(duplicate)} is duplicated"
        case "minItems" | "minLength":
            text = f"{format_value(value)} is too short; give at least {rule}"
        case "maxItems" | "maxLength":
            text = f"has a length of {len(value)}; give at most {rule}"
        case "anyOf":
            text = _no_alternative(error, rule, schema)
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            path, text = [*path, value], f"is not a safe name; use {here['description']}"
        case _:
            text = f"{format_value(value)} is not valid: {here.get('description', error.message)}"
    return [(dotted(path), text)]


def _no_alternative(error: ValidationError, options: list[Schema], schema: Schema) -> str:
    """The problem with the alternative that is no fixed word, and the words that are allowed as well."""
    words = [word for option in options for word in option.get("enum", [option["const"]] if "const" in option else [])]
    words += ["null"] if {"type": "null"} in options else []
    place = next(
        number
        for number, option in enumerate(options)
        if not {"enum", "const"} & option.keys() and option.get("type") != "null"
    )
    wrong = next(part for part in error.context or () if part.schema_path[0] == place)
    [(_, text)] = _explain(wrong, schema)
    return f"{text}, or {' or '.join(words)}"


def _wrong_choice(value: Any, choices: list[Any], path: str) -> str:
    if new := renamed.VALUES.get(path, {}).get(value if isinstance(value, str) else format_value(value)):
        return f"{format_value(value)} was renamed to {new}"
    # YAML reads off and no as false.
    names = [name for name in choices if isinstance(name, str)]
    hint = "; put it in quotes" if isinstance(value, bool) else suggestion(value, names)
    return f"{format_value(value)} is not one of {', '.join(name or 'null' for name in choices)}{hint}"


def _wrong_type(value: Any, kinds: list[str]) -> str:
    wanted = " or ".join(KINDS[kind] for kind in kinds)
    if isinstance(value, str) and "number" in kinds and re.fullmatch(r"-?\d+,\d+", value):
        return f"{format_value(value)} is not {wanted}; write {value.replace(',', '.')}"
    if value is None:
        return f"is empty; it must be {wanted}"
    if "string" in kinds and not isinstance(value, (list, dict)):
        return f"{format_value(value)} is not text; put it in quotes"
    return f"{format_value(value)} is not {wanted}"


def _range(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    low = f"at least {schema['minimum']}" if "minimum" in schema else f"more than {schema['exclusiveMinimum']}"
    high = f"at most {schema['maximum']}" if "maximum" in schema else f"less than {schema['exclusiveMaximum']}"
    return f"{low} and {high}"
