"""docs/architecture.md lists the rules and subpackages that exist."""

import re

from helpers.repository import REPOSITORY
from tessera.planning.rule_table import PAGE, page_with_table


def test_table_of_rules_is_made_from_the_steps():
    text = PAGE.read_text()
    assert page_with_table(text) == text, "run `make settings`"


def test_every_rule_has_a_row():
    rules = {path.stem for path in (REPOSITORY / "workflow" / "rules").glob("*.smk")} - {"common"}
    assert rules <= set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE))


def test_every_subpackage_has_a_row():
    package = REPOSITORY / "workflow" / "scripts" / "tessera"
    subpackages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert subpackages <= set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE))
