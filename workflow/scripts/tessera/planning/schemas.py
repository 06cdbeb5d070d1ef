"""The schemas in workflow/schemas: reading them, completing values with their defaults, and saying what they refuse."""

import contextlib
import copy
import math
import re
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from tessera.planning.messages import shown, suggestion

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
def read_schema(name):
    """The schema in workflow/schemas/{name}.schema.yaml."""
    text = (FOLDER / f"{name}.schema.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def typed(value, schema):
    """`value` with numbers, truth values and null where text stands for them and the schema wants no text.

    Snakemake's `--config 'segment={min_area_px: 50}'` gives what is nested as text, and YAML takes 1e-3 for text.
    """
    if isinstance(value, dict):
        parts, others = schema.get("properties", {}), _others(schema)
        return {key: typed(part, parts.get(key, others)) for key, part in value.items()}
    if isinstance(value, list):
        return [typed(part, schema.get("items", {})) for part in value]
    kinds = _kinds(schema)
    if isinstance(value, str) and value == "null" and "null" in kinds:
        return None
    if isinstance(value, str) and "boolean" in kinds:
        return {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(value, str) and {"number", "integer"} & set(kinds):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def completed(value, schema):
    """`value` with the schema's defaults for what is left out, in the schema's order; numbers get the schema's type.

    So 1 and 1.0 for the same setting are the same, and provenance with them. What the schema refuses is kept as it is.
    """
    if isinstance(value, dict):
        parts, others, whole = schema.get("properties", {}), _others(schema), {}
        for key, part in parts.items():
            if key in value:
                whole[key] = completed(value[key], part)
            elif "default" in part:
                whole[key] = completed(copy.deepcopy(part["default"]), part)
            elif part.get("type") == "object":
                whole[key] = completed({}, part)
        return whole | {key: completed(part, others) for key, part in value.items() if key not in parts}
    if isinstance(value, list):
        return [completed(part, schema.get("items", {})) for part in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        kinds = _kinds(schema)
        if "number" in kinds:
            return float(value)
        if "integer" in kinds and math.isfinite(value) and value == int(value):
            return int(value)
    return value


def refusals(value, schema):
    """{dotted path: what is wrong and what would be right} for everything in `value` that the schema refuses.

    Lists are counted from 1: `augment.transforms[2].p`.
    """
    found = {}
    for error in Draft202012Validator(schema).iter_errors(value):
        for path, text in _explain(error, schema):
            found.setdefault(path, text)
    return found


def dotted(path):
    """`augment.transforms[2].p` for the keys and numbers in `path`."""
    return "".join(f"[{key + 1}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _kinds(schema):
    kinds = schema.get("type", [])
    own = [kinds] if isinstance(kinds, str) else kinds
    return [*own, *(kind for part in schema.get("anyOf", []) for kind in _kinds(part))]


def _others(schema):
    """The schema of keys that have none of their own."""
    others = schema.get("additionalProperties")
    return others if isinstance(others, dict) else {}


def _explain(error, schema):
    """[(path, text)] for an error of jsonschema, in a user's words."""
    path, value, rule, here = error.absolute_path, error.instance, error.validator_value, error.schema
    match error.validator:
        case "additionalProperties":
            known = here["properties"]
            return [(dotted([*path, key]), _unknown(key, known, schema)) for key in value if key not in known]
        case "required":
            return [(dotted([*path, key]), "is missing; every entry needs it") for key in rule if key not in value]
        case "type" | "enum" if "enum" in here:
            names = [name for name in here["enum"] if isinstance(name, str)]
            # YAML reads off and no as false.
            close = "; put it in quotes" if isinstance(value, bool) else suggestion(value, names)
            text = f"{shown(value)} is not one of {', '.join(name or 'null' for name in here['enum'])}{close}"
        case "type":
            text = _wrong_type(value, _kinds(here))
        case "multipleOf":
            low = max(int(value // rule * rule), here["minimum"])
            text = f"{value} is not a multiple of {rule}; give {low} or {low + rule}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            text = f"{shown(value)} is out of range; give {_range(here)}"
        case "uniqueItems":
            twice = next(item for place, item in enumerate(value) if item in value[:place])
            text = f"{shown(twice)} is there twice; give each once"
        case "minItems" | "minLength":
            text = f"{shown(value)} is too short; give at least {rule}"
        case "maxItems" | "maxLength":
            text = f"has a length of {len(value)}; give at most {rule}"
        case "anyOf" if rule[0].get("const") == "auto":
            # What a number would have to be; anything else is told of both.
            wrong = next(part for part in error.context if part.schema_path[0] == 1)
            [(_, text)] = _explain(wrong, schema)
            text = f"{text}, or auto"
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            path, text = [*path, value], f"is not a safe name; {here['description']}"
        case _:
            text = f"{shown(value)} is not right: {here.get('description', error.message)}"
    return [(dotted(path), text)]


def _unknown(key, known, schema):
    sections = [name for name, part in schema["properties"].items() if key in part.get("properties", {})]
    if sections:
        return f"is no setting of this section; it belongs in {' or '.join(sections)}"
    return f"unknown setting{suggestion(key, known) or '; known are ' + ', '.join(known)}"


def _wrong_type(value, kinds):
    wanted = " or ".join(KINDS[kind] for kind in kinds)
    if isinstance(value, str) and "number" in kinds and re.fullmatch(r"-?\d+,\d+", value):
        return f"{shown(value)} is not {wanted}; write {value.replace(',', '.')}"
    if value is None:
        return f"is empty; it must be {wanted}"
    if "string" in kinds and not isinstance(value, (list, dict)):
        return f"{shown(value)} is not text; put it in quotes"
    return f"{shown(value)} is not {wanted}"


def _range(schema):
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    low = f"at least {schema['minimum']}" if "minimum" in schema else f"more than {schema['exclusiveMinimum']}"
    high = f"at most {schema['maximum']}" if "maximum" in schema else f"less than {schema['exclusiveMaximum']}"
    return f"{low} and {high}"
