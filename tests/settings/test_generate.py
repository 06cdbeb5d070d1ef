"""Files made from the settings: they are up to date, and complete."""

import re

import pytest
import yaml

from helpers.repository import REPOSITORY
from tessera.settings.generate import MARKER, generated_files
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


def test_documentation_has_a_table_for_every_section():
    text = "".join((REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("data.md", "settings.md"))
    tables = [match[2] for match in MARKER.finditer(text)]
    assert sorted(tables) == sorted(["columns", "general", *SECTIONS])
