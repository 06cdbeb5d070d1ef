"""The order of file names in which people count: frame 2 before frame 10."""

import os
import re
from typing import TypeAlias

from tessera.common.types import StrPath

NaturalKey: TypeAlias = tuple[list[tuple[int, str]], list[tuple[int, str]], list[tuple[int, str]], str]


def natural_sort_key(path: StrPath) -> NaturalKey:
    """Return a key that sorts paths by their folders, their names without suffixes, and their suffixes.

    A number counts by its value. A name without a number comes before the numbered copies that programs make of it:
    img.tif, img1.tif, img2.tif, or img.ome.tif, img (2).ome.tif.
    """
    text = os.fspath(path)
    folder, name = os.path.split(text)
    parts = name.split(".")
    # A name may have dots itself, so only the last parts that look like suffixes are some.
    count = next((place for place, part in enumerate(reversed(parts[1:])) if not _is_suffix(part)), len(parts) - 1)
    stem, suffixes = ".".join(parts[: len(parts) - count]), ".".join(parts[len(parts) - count :])
    return _split_numbers(folder), _split_numbers(stem), _split_numbers(suffixes), text


def _is_suffix(part: str) -> bool:
    return part.isalnum() and part[0].isalpha()


def _split_numbers(text: str) -> list[tuple[int, str]]:
    """Return the numbers in `text` and what is between them, in a form that can be compared."""
    parts = re.split("([0-9]+)", text)
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]
