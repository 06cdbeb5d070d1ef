"""Files made from the settings: they are up to date, and complete."""

import re

import pytest
import yaml

from helpers.repository import REPOSITORY
from tessera.settings.generate import MARKER, _range, add_missing_sections, generated_files
from tessera.settings.sections import SECTIONS, Settings

FILES = generated_files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_generated_file_is_up_to_date(path):
    assert path.read_text(encoding="utf-8") == FILES[path], "run `make settings`"


def test_generated_config_equals_the_defaults_of_the_classes():
    config = yaml.safe_load(FILES[REPOSITORY / "config" / "config.yaml"])
    defaults = Settings().model_dump()
    assert config.pop("simulate") == {"movies": defaults.pop("simulate")["movies"]}
    assert config == defaults


def test_comments_of_the_config_are_aligned_and_fit():
    lines = FILES[REPOSITORY / "config" / "config.yaml"].splitlines()
    beside = {match.start() for line in lines if (match := re.search(r"(?<=\S) +(?=# )|^ {10,}(?=# )", line))}
    assert {line.index("# ") for line in lines if re.search(r"\S +# ", line)} == {36}
    assert beside
    assert max(map(len, lines)) <= 120


def test_new_section_of_the_settings_gets_a_heading_and_a_table():
    schema = {"properties": {"count": {"description": "Counts cells.", "properties": {}}}}
    text = add_missing_sections("# Settings\n\n## Watching the training\n", schema)
    expected = "# Settings\n\n## count\n\nCounts cells.\n\n<!-- settings: count -->\n<!-- end of settings -->\n\n"
    assert text == f"{expected}## Watching the training\n"
    assert add_missing_sections(text, schema) == text


def test_documentation_has_a_table_for_every_section():
    text = "".join((REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("data.md", "settings.md"))
    tables = [match[2] for match in MARKER.finditer(text)]
    assert sorted(tables) == sorted(["columns", "general", *SECTIONS])


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"minimum": 0, "maximum": 1}, "0 to 1"),
        ({"minimum": 2}, "at least 2"),
        ({"minimum": 0, "exclusiveMaximum": 1}, "0, below 1"),
        ({"exclusiveMinimum": 0}, "above 0"),
        ({"exclusiveMinimum": 0, "maximum": 1000}, "above 0, up to 1,000"),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, "above 0, below 1"),
        ({"maximum": 8}, "at most 8"),
        ({"exclusiveMaximum": 8}, "below 8"),
        ({}, "any number"),
    ],
)
def test_each_kind_of_limits_has_a_text(limits, text):
    assert _range(limits) == text
    assert _range(limits | {"unit": "px", "multipleOf": 32}) == f"{text} px, multiples of 32"
