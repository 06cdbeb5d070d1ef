"""Write the table of rules in docs/architecture.md from the steps: part of `make settings`."""

import re
from pathlib import Path

from tessera.planning.steps import STEPS, Step

PAGE = Path(__file__).resolve().parents[4] / "docs" / "architecture.md"
MARKED = re.compile(r"(<!-- rules: made by `make settings` -->\n).*?(<!-- end of rules -->\n)", re.DOTALL)
RAW_FILES = {"files": "raw files", "truth_files": "annotations", "masks_files": "masks of the table"}


def rule_table() -> str:
    """A Markdown table with a row for each rule: its name, what it is made from, and its outputs."""
    rows = [("rule", "made from", "writes"), ("---",) * 3]
    rows += [
        (f"`{step.name}`", _inputs(step), ", ".join(f"`{path}`" for path in step.outputs)) for step in STEPS.values()
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def page_with_table(text: str) -> str:
    """The text of the page with the current table between its markers."""
    return MARKED.sub(lambda marks: f"{marks[1]}\n{rule_table()}\n{marks[2]}", text)


def _inputs(step: Step) -> str:
    raw = [RAW_FILES[step.raw_files]] if step.raw_files else []
    return ", ".join([*raw, *(f"`{name}`" for name in step.upstream)]) or "settings"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text()))
