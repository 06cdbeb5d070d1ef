"""Notes: what is doubtful of the files of images, told in the log and kept with what is made, for the report."""

import contextlib
import contextvars
import json
import re
from pathlib import Path

NOTES = "notes.json"
NOTES_SHOWN = 100
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_gathered = contextvars.ContextVar("gathered", default=None)


def note(image, text):
    """Print what is doubtful of an image, and keep it with the product that is being made (see `gathering`)."""
    print(f"{image}: note: {text}", flush=True)
    if _gathered.get() is not None:
        _gathered.get().append(text)


@contextlib.contextmanager
def gathering():
    """The list of what `note` is told in the block that follows."""
    token = _gathered.set([])
    try:
        yield _gathered.get()
    finally:
        _gathered.reset(token)


def read_notes(folders):
    """{image: [note, ...]} of the images of the batch `folders` that have some."""
    found = {}
    for path in (Path(folder) / NOTES for folder in folders):
        for image, notes in (json.loads(path.read_text()) if path.exists() else {}).items():
            found.setdefault(image, []).extend(notes)
    return found


def group_notes(notes):
    """[(note, sorted images)] of {image: [note, ...]}, what most images have first.

    Notes that differ by their numbers alone are one, in which these are ranges such as 2–17.
    """
    groups = {}
    for image in sorted(notes):
        for text in dict.fromkeys(notes[image]):
            groups.setdefault(_NUMBER.sub("\0", text), {}).setdefault(image, text)
    told = [(_join(list(group.values())), list(group)) for group in groups.values()]
    return sorted(told, key=lambda pair: (-len(pair[1]), pair[1][0]))


def warn(notes):
    """Sentences [(text, section that says more)] about {image: [note, ...]}; none where there are no notes."""
    have = "1 image has" if len(notes) == 1 else f"{len(notes)} images have"
    return [(f"{have} notes on what was doubtful in the files.", "notes")] if notes else []


def _join(texts):
    """One of `texts`, with ranges in place of the numbers in which they differ."""
    numbers = [sorted(set(column), key=float) for column in zip(*map(_NUMBER.findall, texts), strict=True)]
    ranges = iter([column[0] if len(column) == 1 else f"{column[0]}–{column[-1]}" for column in numbers])
    return _NUMBER.sub(lambda _: next(ranges), texts[0])
