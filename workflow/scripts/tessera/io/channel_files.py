"""Finds folders with one file for each channel or plane, which must not be read as the frames of a movie."""

import glob
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.common.errors import InputError

# Microscopes write these letters before the number of a channel or a plane, such as w1, C01, _ch00, channel000, z01
_CHANNEL_WORDS = {"w", "c", "ch", "chan", "channel", "wv", "wavelength", "wave", "filter", "color"}
_CHANNEL_WORDS |= {"cy", "alexa", "af"}
_PLANE_WORDS = {"z", "plane", "slice", "zstack", "zslice", "depth", "focus"}
_TIME_WORDS = {"d", "day", "h", "hr", "hour", "min", "minute", "s", "sec", "t", "time", "frame"}
MOST_CHANNELS = 16  # a longer series of a word for channels is one of something else
_STAINS = {
    "dapi", "hoechst", "gfp", "egfp", "rfp", "yfp", "cfp", "bfp", "mcherry", "cherry", "tritc", "fitc", "cy",
    "texasred", "txred", "alexa", "far", "red", "green", "blue", "bf", "brightfield", "tl", "trans", "phase",
    "ph", "dic", "mkate", "tdtomato", "venus", "mneongreen", "citrine", "draq5", "sir", "mask", "masks", "seg",
    "labels", "cp",
}  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Dates and times count as one number: 2024-01-31_12-30, 31.01.2024, 20240131_1230, 12h30m00s, 12-30-00, 00d04h00m
_DATES = re.compile(
    r"(?<!\d)(?:"
    r"(?:(?:19|20)\d\d([-_.])[01]\d\1[0-3]\d|[0-3]\d([-_.])[01]\d\2(?:19|20)\d\d)"
    r"(?:[-_ T]+[0-2]\d([-_.:])[0-5]\d(?:\3[0-5]\d)?)?"
    r"|(?:19|20)\d{6}[-_ T]?\d{4}(?:\d\d)?"
    r"|\d{1,3}d\d{1,2}h(?:\d{1,2}m)?|\d{1,3}h[0-5]?\d(?:min|m)?(?:[0-5]?\ds)?|\d{1,3}(?:min|m)[0-5]?\ds"
    r"|[0-2]?\d([-.:])[0-5]\d\4[0-5]\d"
    r")(?!\d)",
    re.IGNORECASE,
)
_LAST_WORD = re.compile(r"([a-z]+)[-_ =.]?$", re.IGNORECASE)


@dataclass(frozen=True)
class _Name:
    """The name of a file: `texts` around `numbers`, one text more than there are numbers."""

    texts: tuple[str, ...]
    numbers: tuple[str, ...]


def refuse_channel_files(files: Sequence[Path]) -> None:
    """Refuse files that are the channels, planes or positions of a movie rather than its frames, by their names.

    Such names have a frame number that repeats, and a word or a second number with a few values.

    Args:
        files: the files of one movie, in order.

    Raises:
        InputError: says what to do.
    """
    folder, texts = _split_folder(files)
    names = [_parse(text) for text in texts]
    found = _find_words(names) or _find_numbers(names)
    if found is None:
        return
    what, other, pattern = found
    readable = all("".join(_mixed(name)) == text for name, text in zip(names, texts, strict=True))
    example = f", such as {folder / pattern}{files[0].suffix}" if readable else ""
    pair = " and ".join(f"{texts[number]}{files[number].suffix}" for number in (0, other))
    raise InputError(
        f"{folder}: has a file for each {what}, not only for each frame: {pair} look like parts of one frame. Save all "
        f"that belongs to a frame in one TIFF file, or let the table name the files of one {what} only{example}. If "
        "each file is a frame, number the files consecutively"
    )


def _split_folder(files: Sequence[Path]) -> tuple[Path, list[str]]:
    """Return the folder that all files share, and their paths in it without suffixes."""
    parts = [file.with_suffix("").parts for file in files]
    shared = 0
    while all(len(each) > shared + 1 and each[shared] == parts[0][shared] for each in parts):
        shared += 1
    return Path(*parts[0][:shared]), ["/".join(each[shared:]) for each in parts]


def _mixed(name: _Name) -> list[str]:
    """Return the texts and numbers of a name in their order."""
    return [part for pair in zip(name.texts, (*name.numbers, ""), strict=True) for part in pair]


def _parse(name: str) -> _Name:
    name = _UUID.sub("", name)
    name = _DATES.sub(lambda match: re.sub(r"\D", "", match[0]), name)
    parts = re.split(r"(\d+)", name)
    return _Name(tuple(parts[::2]), tuple(parts[1::2]))


def _find_words(names: Sequence[_Name]) -> tuple[str, int, str] | None:
    """Find words that distinguish files with the same numbers.

    Returns:
        (what the words distinguish, index of a file that belongs to the frame of the first, glob of similar names).
    """
    kinds = Counter(name.texts for name in names)
    if len(kinds) < 2:
        return None
    stains = [_stains(texts) for texts in kinds]
    known = len(set(stains)) > 1 and sum(map(bool, stains)) >= len(kinds) - 1
    first = names[0]
    same = [place for place, name in enumerate(names) if name.numbers == first.numbers and name.texts != first.texts]
    other = same[0] if same else next(place for place, name in enumerate(names) if name.texts != first.texts)
    pattern = _glob(first, [name for name in names if name.texts == first.texts])
    if known:
        return "channel", other, pattern
    numbers = Counter(name.numbers for name in names)
    repeated = sum(count > 1 for count in numbers.values())
    if same and min(kinds.values()) > 1 and 2 * repeated > len(numbers) and any(first.numbers):
        return "channel", other, pattern
    return None


def _stains(texts: Sequence[str]) -> frozenset[str]:
    """Return the known names of channels among the words of a name."""
    words = re.split(r"[^a-z]+", " ".join(texts).lower())
    return frozenset(word for word in words if word in _STAINS)


def _find_numbers(names: Sequence[_Name]) -> tuple[str, int, str] | None:
    """Find numbers that count channels, planes or positions within each frame; see `_find_words`."""
    if len({name.texts for name in names}) > 1:
        return None
    columns = list(zip(*(name.numbers for name in names), strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    unique = [place for place in varying if len(set(columns[place])) == len(names)]
    for place in varying:
        what = _counted(names[0].texts[place])
        if len(varying) == 1:
            certain = what == "plane" or len(names) <= MOST_CHANNELS
        else:
            certain = place not in unique and (what == "channel" or not unique)
        if what in ("channel", "plane") and certain:
            return what, _partner(names, place), _glob_of_column(names, place)
    if unique or len(varying) < 2 or not _is_grid(columns, varying):
        return None
    if all(_counted(names[0].texts[place]) == "time" for place in varying):
        return None
    place = min(varying, key=lambda place: (len(set(columns[place])), -place))
    return "channel, plane or position", _partner(names, place), _glob_of_column(names, place)


def _counted(text: str) -> str | None:
    """Return what the number after `text` counts, "channel", "plane" or "time", if the text says so."""
    match = _LAST_WORD.search(text)
    word = match[1].lower() if match else ""
    kinds = (("channel", _CHANNEL_WORDS), ("plane", _PLANE_WORDS), ("time", _TIME_WORDS))
    return next((kind for kind, words in kinds if word in words), None)


def _is_grid(columns: Sequence[tuple[str, ...]], varying: Sequence[int]) -> bool:
    """Return whether the numbers are (nearly) all combinations of the values of their columns."""
    combinations = math.prod(len(set(columns[place])) for place in varying)
    return 4 * len(set(zip(*columns, strict=True))) >= 3 * combinations


def _partner(names: Sequence[_Name], place: int) -> int:
    """Return the index of a file that differs from the first in the number at `place`, if possible only there."""
    first = names[0].numbers
    others = [number for number, name in enumerate(names) if name.numbers[place] != first[place]]
    return min(others, key=lambda other: sum(a != b for a, b in zip(names[other].numbers, first, strict=True)))


def _glob_of_column(names: Sequence[_Name], place: int) -> str:
    return _glob(names[0], [name for name in names if name.numbers[place] == names[0].numbers[place]])


def _glob(first: _Name, alike: Sequence[_Name]) -> str:
    """Return a glob that matches the names `alike`, which have the same texts as the first."""
    pattern = glob.escape(first.texts[0])
    for place, (number, text) in enumerate(zip(first.numbers, first.texts[1:], strict=True)):
        varies = len({name.numbers[place] for name in alike}) > 1 and _counted(first.texts[place]) != "channel"
        pattern += ("*" if varies else number) + glob.escape(text)
    return pattern
