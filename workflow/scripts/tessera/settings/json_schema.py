"""JSON schemas of the settings and of the images table, in a plain form that editors and people can read.

Pydantic's own schema is correct, but full of references and alternatives. This module resolves the references, merges
alternatives that differ in type only (`type: [number, "null"]`), and drops the titles.
"""

from typing import Any

from tessera.settings.images_table import ImageRow
from tessera.settings.sections import Section, Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def settings_schema() -> Schema:
    """The JSON schema of the configuration."""
    return {"$schema": DIALECT, "title": "Settings of Tessera"} | _schema_of(Settings)


def images_schema() -> Schema:
    """The JSON schema of one row of the images table, without defaults, since cells may be empty."""
    schema = _schema_of(ImageRow)
    for column in schema["properties"].values():
        column.pop("default", None)
        if isinstance(column["type"], list):
            [column["type"]] = [kind for kind in column["type"] if kind != "null"]
        if "enum" in column:
            column["enum"] = [value for value in column["enum"] if value is not None]
    return {"$schema": DIALECT, "title": "One row of the images table"} | schema


def _schema_of(model: type[Section]) -> Schema:
    schema = model.model_json_schema()
    return _simplify(schema, schema.get("$defs", {}))


def _simplify(node: Schema, definitions: Schema) -> Schema:
    """A copy of a node of pydantic's schema in the plain form, and with its keywords in a fixed order."""
    node = {key: value for key, value in node.items() if key not in ("title", "$defs")}
    if "$ref" in node:
        definition = definitions[node.pop("$ref").rpartition("/")[2]]
        node = _simplify(definition, definitions) | node
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    if "const" in node:
        node.pop("type", None)
    if "anyOf" in node:
        options = [_simplify(option, definitions) for option in node.pop("anyOf")]
        node = _merge(options) | node
    if "patternProperties" in node:
        [(pattern, node["additionalProperties"])] = node.pop("patternProperties").items()
        node["propertyNames"] |= {"type": "string", "pattern": pattern}
    if "enum" in node.get("propertyNames", {}):
        values = node.pop("additionalProperties")
        node["properties"] = {
            name: values | {"description": f"Weight of the {name} loss."} for name in node.pop("propertyNames")["enum"]
        }
        node["additionalProperties"] = False
    for keyword in ("items", "additionalProperties"):
        if isinstance(node.get(keyword), dict):
            node[keyword] = _simplify(node[keyword], definitions)
    if "properties" in node:
        node["properties"] = {name: _simplify(part, definitions) for name, part in node["properties"].items()}
    first = [key for key in ("type", "description", "default", "unit", "runtime", "anyOf") if key in node]
    last = [key for key in ("properties", "items", "additionalProperties") if key in node]
    middle = [key for key in node if key not in (*first, *last)]
    return {key: node[key] for key in (*first, *middle, *last)}


def _merge(options: list[Schema]) -> Schema:
    """One schema for alternatives: one that lists several types where possible, else one with `anyOf`."""
    types = [option.get("type") for option in options]
    keywords = [key for option in options for key in option if key != "type"]
    choices = [option for option in options if "enum" in option or "const" in option]
    nullable = [option for option in options if option.get("type") != "null"]
    if len(nullable) == 1 and "enum" in nullable[0]:
        return nullable[0] | {"type": [nullable[0]["type"], "null"], "enum": [None, *nullable[0]["enum"]]}
    if choices or None in types or len(set(keywords)) < len(keywords):
        return {"anyOf": options}
    merged = {key: value for option in options for key, value in option.items() if value is not True and value != {}}
    return merged | {"type": sorted(types, key=lambda kind: kind == "null")}
