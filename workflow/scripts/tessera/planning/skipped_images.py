"""The lines that a run prints about skipped images."""

from collections.abc import Mapping
from pathlib import Path

MOST_NAMED = 5


def describe_skipped(reasons: Mapping[str, str], report: Path) -> list[str]:
    """Return the lines that a run prints at its end about skipped images.

    Args:
        reasons: {image: why it was skipped}.
        report: the report, which gives all reasons. If it does not exist, the lines give the first reasons.
    """
    if not reasons:
        return []
    named = list(reasons)[:MOST_NAMED]
    more = f" and {len(reasons) - len(named)} more" if len(reasons) > len(named) else ""
    text = f"Skipped: {', '.join(named)}{more}"
    if report.is_file():
        return [f"{text}; {report} says why"]
    return [f"{text}, because:", *(f"    {image}: {reasons[image]}" for image in named)]
