"""Write the files that are made from the settings: `make settings` or `python -m tessera.settings.generate`.

These are the JSON schemas in `workflow/schemas`, which editors use and the plan checks settings against,
`config/config.yaml` with a comment for each setting, and the tables between the markers in `docs/data.md` and
`docs/settings.md`.
"""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from tessera.settings.json_schema import Schema, images_schema, settings_schema

REPOSITORY = Path(__file__).resolve().parents[4]
WIDTH = 120
COMMENT_COLUMN = 36
MOST_CHOICES = 10
KINDS = {
    "array": "list", "boolean": "`true`, `false`", "integer": "integer", "null": "`null`", "number": "number",
    "object": "section", "string": "text",
}  # fmt: skip
AFTER_SECTIONS = "## Watching the training\n"
MARKER = re.compile(r"(<!-- settings: (\w+) -->\n)(.*?)(<!-- end of settings -->\n)", re.DOTALL)
SCHEMA_HEAD = "# Made by `make settings` from workflow/scripts/tessera/settings; edit those classes instead.\n"
CONFIG_HEAD = """\
# All settings of Tessera with their defaults, one section per rule. A section or setting that you leave out has the
# value shown here. docs/settings.md explains when to change what. Made by `make settings`.
"""


def generated_files() -> dict[Path, str]:
    """{path: text} of all files that are made from the settings."""
    data, settings = (REPOSITORY / "docs" / name for name in ("data.md", "settings.md"))
    schemas = {"config": settings_schema(), "images": images_schema()}
    texts = {
        REPOSITORY / "workflow" / "schemas" / f"{name}.schema.yaml": schema_text(schema)
        for name, schema in schemas.items()
    }
    texts[REPOSITORY / "config" / "config.yaml"] = config_text(schemas["config"])
    pages = {data: data.read_text(encoding="utf-8")}
    pages[settings] = add_missing_sections(settings.read_text(encoding="utf-8"), schemas["config"])
    return texts | {path: page_text(text, schemas["config"], schemas["images"]) for path, text in pages.items()}


def add_missing_sections(text: str, schema: Schema) -> str:
    """The page of settings with a heading and an empty table for each section that it lacks, after the others."""
    written = {match[2] for match in MARKER.finditer(text)}
    sections = [
        f"## {name}\n\n{part['description']}\n\n<!-- settings: {name} -->\n<!-- end of settings -->\n\n"
        for name, part in schema["properties"].items()
        if "properties" in part and name not in written
    ]
    return text.replace(AFTER_SECTIONS, "".join(sections) + AFTER_SECTIONS, 1)


def schema_text(schema: Schema) -> str:
    """A schema as YAML."""
    return SCHEMA_HEAD + yaml.safe_dump(schema, sort_keys=False, allow_unicode=True, width=WIDTH)


def config_text(schema: Schema) -> str:
    """config.yaml: every setting with its default and a short comment."""
    lines = CONFIG_HEAD.splitlines()
    previous_is_section = True
    for name, part in schema["properties"].items():
        is_section = "properties" in part
        if is_section or previous_is_section:
            lines.append("")
        if is_section:
            lines.append(f"{name}:")
            shown = {"movies": part["properties"]["movies"]} if name == "simulate" else part["properties"]
            for key, setting in shown.items():
                lines += _config_lines(f"  {key}", setting)
        else:
            lines += _config_lines(name, part)
        previous_is_section = is_section
    return "\n".join(lines) + "\n"


def page_text(text: str, schema: Schema, images: Schema) -> str:
    """A page of the documentation with new tables between its markers.

    A marker names a section of the settings, `general` or `columns`.
    """

    def renew(match: re.Match[str]) -> str:
        head, name, _, end = match.groups()
        if name == "columns":
            return f"{head}\n{_columns_table(images)}\n{end}"
        if name == "general":
            settings = {key: part for key, part in schema["properties"].items() if "properties" not in part}
            settings.pop("sweep")
        else:
            settings = schema["properties"][name]["properties"]
        return f"{head}\n{_settings_table(settings)}\n{end}"

    return MARKER.sub(renew, text)


def _config_lines(key: str, setting: Schema) -> list[str]:
    """The line of a setting in config.yaml, with its comment beside or above it."""
    assignment = f"{key}: {_as_yaml(setting['default'])}"
    comment = setting["description"].replace("`", "").split(". ")[0].removesuffix(".")
    if choices := _choices(setting):
        comment += f": {' | '.join(choices)}"
    indent = " " * (len(key) - len(key.lstrip()))
    if len(assignment) + 2 > COMMENT_COLUMN:
        above = textwrap.wrap(comment, WIDTH - len(indent) - 2, break_on_hyphens=False)
        return [*(f"{indent}# {line}" for line in above), assignment]
    first, *others = textwrap.wrap(comment, WIDTH - COMMENT_COLUMN - 2, break_on_hyphens=False)
    more = [f"{'':{COMMENT_COLUMN}}# {line}" for line in others]
    return [f"{assignment:<{COMMENT_COLUMN}}# {first}", *more]


def _choices(setting: Schema) -> list[str]:
    """What a setting may be, where that is a short list of words."""
    if "enum" in setting:
        return [_as_yaml(value) for value in setting["enum"]] if len(setting["enum"]) <= MOST_CHOICES else []
    choices = []
    for option in setting.get("anyOf", []):
        if "const" in option:
            choices.append(option["const"])
        elif "enum" in option:
            choices += option["enum"]
        elif option["type"] == "null":
            choices.append("null")
        else:
            choices.append(
                {"integer": "number", "array": "list", "object": "{output: weight}"}.get(option["type"], option["type"])
            )
    return choices


def _as_yaml(value: Any) -> str:
    """A default as it is written in YAML, on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_as_yaml(part)}" for key, part in value.items()) + "}"
    return '"off"' if value == "off" else json.dumps(value).strip('"')


def _settings_table(settings: dict[str, Schema]) -> str:
    rows = ["| setting | default | values | what it does |", "|---|---|---|---|"]
    for name, setting in settings.items():
        default = setting["default"]
        shown = "" if name in ("movies", "transforms") and not default else f"`{_as_yaml(default)}`"
        rows.append(f"| `{name}` | {shown} | {_values(setting)} | {_cell(setting['description'])} |")
    return "\n".join(rows) + "\n"


def _columns_table(schema: Schema) -> str:
    rows = ["| column | values | what it holds |", "|---|---|---|"]
    for name, column in schema["properties"].items():
        kind = "text" if column["type"] == "string" and "enum" not in column else _values(column)
        required = " **Required.**" if name in schema["required"] else ""
        rows.append(f"| `{name}` | {kind} | {_cell(column['description'])}{required} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _values(setting: Schema) -> str:
    """The values that a setting may have, for people."""
    if "enum" in setting:
        if len(setting["enum"]) > MOST_CHOICES:
            return "a name"
        return ", ".join(f"`{_as_yaml(value)}`" for value in setting["enum"])
    if "const" in setting:
        return f"`{setting['const']}`"
    if "anyOf" in setting:
        return "; ".join(_values(option | {"unit": setting.get("unit", "")}) for option in setting["anyOf"])
    kinds = setting["type"] if isinstance(setting["type"], list) else [setting["type"]]
    numeric = {"integer", "number"} & set(kinds)
    texts = [_range(setting)] if numeric else []
    texts += [KINDS[kind] for kind in kinds if kind not in numeric]
    return "; ".join(texts)


def _range(setting: Schema) -> str:
    """The numbers that a setting may have, for people."""
    low, high = _limit(setting, "minimum"), _limit(setting, "maximum")
    above, below = _limit(setting, "exclusiveMinimum"), _limit(setting, "exclusiveMaximum")
    if low and high:
        text = f"{low} to {high}"
    elif low:
        text = f"{low}, below {below}" if below else f"at least {low}"
    elif above:
        text = f"above {above}" + (f", up to {high}" if high else f", below {below}" if below else "")
    else:
        text = f"at most {high}" if high else f"below {below}" if below else "any number"
    unit = setting.get("unit") or ""
    steps = f", multiples of {setting['multipleOf']}" if "multipleOf" in setting else ""
    return f"{text}{' ' + unit if unit else ''}{steps}"


def _limit(setting: Schema, name: str) -> str:
    """A limit as text; "" if the setting does not have it."""
    return f"{setting[name]:,}" if name in setting else ""


if __name__ == "__main__":
    for path, text in generated_files().items():
        path.write_text(text, encoding="utf-8")
