"""CONTRIBUTING.md names files that exist, and answers enough questions."""

import re

import pytest

from helpers.repository import REPOSITORY

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()
ROOTS = (REPOSITORY, REPOSITORY / "workflow" / "scripts")
UNTRACKED = ("logs/",)  # made by runs
FILES = ("Snakefile", "Makefile")


def named_paths():
    """Return the paths of files and folders that CONTRIBUTING.md names in backticks or links."""
    names = {*re.findall(r"`([^`\s]+)`", TEXT), *re.findall(r"\]\(([^)\s]+)\)", TEXT)}
    paths = {name for name in names if "/" in name or name in FILES or re.search(r"\.(md|py|smk|yaml|in)$", name)}
    return sorted(path for path in paths if not re.search(r"[<$*]|\.\.", path) and not path.startswith(UNTRACKED))


@pytest.mark.parametrize("path", named_paths())
def test_named_path_exists(path):
    assert any((root / path).exists() for root in ROOTS)


def test_paths_are_collected():
    assert {"tessera/training/losses.py", "docs/architecture.md", "Snakefile", "tests/helpers/"} <= set(named_paths())


def test_change_requests_start_at_a_path():
    table = TEXT.split("## Where do I change")[1].split("\n## ")[0]
    starts = [
        line.split("|")[2] for line in table.splitlines() if line.startswith("| ") and "the next section" not in line
    ]
    assert len(starts[1:]) >= 14
    assert all("`" in start for start in starts[1:])


def test_at_most_eight_files_are_written_by_hand_for_a_rule():
    steps = re.findall(r"^(\d+)\. `", TEXT.split("## To add a rule")[1].split("\n## ")[0], flags=re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert 1 <= len(steps) <= 8


@pytest.mark.parametrize("script", sorted(path.name for path in (REPOSITORY / "workflow" / "scripts").glob("*.py")))
def test_script_has_less_than_150_lines(script):
    assert len((REPOSITORY / "workflow" / "scripts" / script).read_text().splitlines()) < 150
