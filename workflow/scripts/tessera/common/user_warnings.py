"""Warnings about image files that are accepted anyway: printed, stored beside the outputs, and listed in the report."""

import contextlib
import contextvars
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tessera.common.types import StrPath

WARNINGS = "warnings.json"
WARNINGS_SHOWN = 100
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
logger = logging.getLogger(__name__)
_collected: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("collected", default=None)


def warn_user(image: str, text: str) -> None:
    """Print a warning about an image, and keep it with the output that is being written (see `collect_warnings`)."""
    logger.warning("%s: warning: %s", image, text)
    collected = _collected.get()
    if collected is not None:
        collected.append(text)


@contextlib.contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Yield a list that receives the text of every `warn_user` call within the block."""
    collected: list[str] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


def read_warnings(folders: Iterable[StrPath]) -> dict[str, list[str]]:
    """Return {image: [warning, ...]} of the images in the batch `folders` that have warnings."""
    warnings: dict[str, list[str]] = {}
    for path in (Path(folder) / WARNINGS for folder in folders):
        for image, texts in (json.loads(path.read_text()) if path.exists() else {}).items():
            warnings.setdefault(image, []).extend(texts)
    return warnings


def group_warnings(warnings: Mapping[str, Sequence[str]]) -> list[tuple[str, list[str]]]:
    """Group equal warnings of several images.

    Warnings that differ only in their numbers form one group; its text has ranges such as 2–17 in their place.

    Args:
        warnings: {image: [warning, ...]}.

    Returns:
        [(warning, sorted images)], the most frequent warning first.
    """
    groups: dict[str, dict[str, str]] = {}
    for image in sorted(warnings):
        for text in dict.fromkeys(warnings[image]):
            groups.setdefault(_NUMBER.sub("\0", text), {}).setdefault(image, text)
    merged = [(_merge_numbers(list(group.values())), list(group)) for group in groups.values()]
    return sorted(merged, key=lambda pair: (-len(pair[1]), pair[1][0]))


def summarize_warnings(warnings: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the report's headline [(sentence, section of the report)] about `warnings`, or [] if there are none."""
    count = "1 image has" if len(warnings) == 1 else f"{len(warnings)} images have"
    return [(f"{count} warnings about their files.", "image-warnings")] if warnings else []


def _merge_numbers(texts: list[str]) -> str:
    """Return the first text with a range in place of each number in which `texts` differ."""
    numbers = [sorted(set(column), key=float) for column in zip(*map(_NUMBER.findall, texts), strict=True)]
    ranges = iter([column[0] if len(column) == 1 else f"{column[0]}–{column[-1]}" for column in numbers])
    return _NUMBER.sub(lambda _: next(ranges), texts[0])
