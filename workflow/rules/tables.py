"""The table of images: read, checked row by row, its files found, its images put into batches."""

import csv
import difflib
import fnmatch
import glob
import hashlib
import math
import os
import re
import unicodedata
from bisect import bisect_left
from functools import cache
from pathlib import Path

import yaml

from workflow.scripts.lib.errors import InputError

SCHEMA = Path(__file__).resolve().parent.parent / "schemas" / "images.schema.yaml"
NAMES = ("image", "group", "batch")
NUMBERS = ("pixel_um", "frame_s")
SHOWN_PROBLEMS = 20


def load_table(path, *, batch_size, simulated=()):
    """Read the table of images and check all of it.

    Args:
        path: the table, tab-separated text; workflow/schemas/images.schema.yaml describes its columns.
        batch_size: images per batch, for rows without a batch.
        simulated: resolved paths that need not exist yet, because the workflow makes them.

    Returns:
        A dict per row with all columns as keys, "" for empty text and None for an empty number, and besides
        `files` and `truth_files` (absolute paths: a file, a folder, or the frames that a glob matches in natural order),
        `batch` (as given or assigned) and `line` (of the row in the table, from 1).

    Raises:
        InputError: a line for each problem of the table, the first 20 of them.
    """
    path = Path(path)
    problems = []
    rows = _rows(path, _lines(path), problems)
    files = _Files(os.path.realpath(path.parent), {str(one) for one in simulated})
    for row in rows:
        _check_row(row, files, problems)
    problems += _repeated(rows, "image") + _case_variants(rows, "batch") + _torn_groups(rows)
    if not rows and not problems:
        problems.append(
            (0, "", f"has no images yet; add a line for each, {' and '.join(read_schema()['required'])} at least")
        )
    _refuse(path, problems)
    batches = assign_batches(rows, batch_size)
    return [row | {"batch": batches[row["image"]]} for row in rows]


def assign_batches(rows, batch_size):
    """Give each image a batch that depends on its own name, and on others only through the size of its batch.

    Rows without a batch start in one batch, `auto`; a batch of more than `batch_size` splits in two by the next bit of a
    hash of the image's name, into `auto-0` and `auto-1`, and so on. So a row that comes or goes changes no batch but its own.

    Args:
        rows: dicts with `image` and `batch` ("" or None where none is given).
        batch_size: images that a batch may hold, at least 1.

    Returns:
        {image: batch}.
    """
    batches = {row["image"]: row["batch"] for row in rows if row["batch"]}
    waiting = [("", [(_bits(row["image"]), row["image"]) for row in rows if not row["batch"]])]
    while waiting:
        prefix, members = waiting.pop()
        if len(members) <= batch_size or len(prefix) == 64:
            batches |= {image: f"auto-{prefix}" if prefix else "auto" for _, image in members}
        else:
            for bit in "01":
                waiting.append((prefix + bit, [one for one in members if one[0][len(prefix)] == bit]))
    return batches


@cache
def read_schema():
    """The schema of a row, workflow/schemas/images.schema.yaml."""
    return yaml.load(SCHEMA.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _bits(image):
    return f"{int.from_bytes(hashlib.blake2b(image.encode(), digest_size=8).digest()):064b}"


def _refuse(path, problems):
    """Raise the first of the problems, (line, column, text), in the order of the lines, if there are any."""
    if not problems:
        return
    texts = []
    for line, column, text in sorted(problems, key=lambda problem: problem[0])[:SHOWN_PROBLEMS]:
        texts.append(": ".join(filter(None, [str(path), f"line {line}" if line else "", column, text])))
    if len(problems) > SHOWN_PROBLEMS:
        texts.append(f"{path}: and {len(problems) - SHOWN_PROBLEMS:,} more problems")
    raise InputError("\n".join(texts))


def _lines(path):
    """The lines of the table as text."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such table in {Path.cwd()}; the setting images names it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); the setting images names the table") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line}: is not UTF-8 text; save the table as UTF-8, tab-separated") from None
    if "\0" in text:
        raise InputError(f"{path}: is not UTF-8 text; save the table as UTF-8, tab-separated")
    return re.split(r"\r\n|\n|\r", text)


def _rows(path, lines, problems):
    """Dicts of the cells of each row, and its line; a table without a good header is refused at once."""
    columns, rows = None, []
    for line, text in enumerate(lines, start=1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], delimiter="\t", strict=True))]
        except csv.Error as error:
            problems.append(
                (line, "", f"has a quote that is not closed, or text after it ({error}); remove the quotes")
            )
            continue
        if columns is None:
            columns = _columns(path, line, cells)
            continue
        if any(cells[len(columns) :]):
            problems.append(
                (line, "", f"has {len(cells)} cells, but there are {len(columns)} columns; remove what is too much")
            )
        cells += [""] * (len(columns) - len(cells))
        row = dict.fromkeys(read_schema()["properties"], "") | dict(zip(columns, cells, strict=False))
        rows.append({column: row[column] for column in read_schema()["properties"]} | {"line": line})
    if columns is None:
        _refuse(path, problems)
        known = ", ".join(read_schema()["properties"])
        raise InputError(f"{path}: is empty; its first line names the columns, of {known}, with a tab between them")
    return rows


def _columns(path, line, cells):
    known = list(read_schema()["properties"])
    while cells and not cells[-1]:
        cells.pop()
    problems = []
    for separator, name in ((",", "commas"), (";", "semicolons"), (" ", "spaces")):
        if len(cells) == 1 and len(set(re.split(f"{separator}+", cells[0])) & set(known)) > 1:
            _refuse(path, [(line, "", f"the columns are separated by {name}; save the table as tab-separated text")])
    for column in cells:
        if not column:
            problems.append((line, "", "a column has no name; give it one, or remove it"))
        elif column not in known:
            close = difflib.get_close_matches(column.casefold(), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            problems.append((line, column[:60], f"unknown column; {hint}"))
    for column in known:
        if cells.count(column) > 1:
            problems.append((line, column, "is there twice; keep one of the two"))
    for column in read_schema()["required"]:
        if column not in cells:
            problems.append((line, column, "the column is missing; every row needs it"))
    _refuse(path, problems)
    return cells


def _check_row(row, files, problems):
    """Check the cells of a row, turn numbers into floats, and find its files."""
    line, schema = row["line"], read_schema()
    row["axes"] = row["axes"].upper()
    for column, rule in schema["properties"].items():
        text = row[column]
        if column in NUMBERS:
            row[column] = None
        if not text:
            if column in schema["required"]:
                problems.append((line, column, "is empty; every row needs it"))
        elif column in NUMBERS:
            row[column] = _number(text)
            if row[column] is None or not rule["exclusiveMinimum"] < row[column] <= rule["maximum"]:
                problems.append((line, column, _number_advice(text, rule)))
        elif "enum" in rule and text not in rule["enum"]:
            close = difflib.get_close_matches(text.casefold(), rule["enum"], n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append((line, column, f"{_shown(text)} is not one of {', '.join(rule['enum'])}{hint}"))
        elif "pattern" in rule and not re.match(rule["pattern"], text):
            problems.append((line, column, _name_advice(text, column) if column in NAMES else _axes_advice(text)))
    for column, found in (("path", "files"), ("truth", "truth_files")):
        row[found] = []
        if row[column]:
            try:
                row[found] = files.find(row[column])
            except InputError as error:
                problems.append((line, column, str(error)))
    if row["split"] in ("train", "val", "test") and not row["truth"]:
        problems.append((line, "split", f"{row['split']} needs a truth; give one, or leave the split empty"))
    if row["files"] and row["files"] == row["truth_files"]:
        problems.append(
            (line, "truth", f"{_shown(row['truth'])} is the image itself; give its annotation, or leave it empty")
        )


def _number(text):
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _number_advice(text, rule):
    advice = f"give a number above {rule['exclusiveMinimum']} and at most {rule['maximum']}, or leave it empty"
    if re.fullmatch(r"\d+,\d+", text):
        advice = f"write {text.replace(',', '.')}"
    return f"{_shown(text)} is {'not a number' if _number(text) is None else 'out of range'}; {advice}"


def _name_advice(text, column):
    if column == "batch" and re.match("auto", text, re.IGNORECASE):
        return f"{_shown(text)} begins with auto, which names the batches of rows without one; give another name"
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._+-]+", "_", plain)).lstrip(".+-")[:100]
    hint = f"; {plain} would do" if plain.strip("_") else ""
    wanted = (
        "letters a to z, digits and . _ + -, beginning with a letter, a digit or _, no two dots in a row, at most 100"
    )
    return f"{_shown(text)} is not a safe name; use {wanted}{hint}"


def _axes_advice(text):
    return f"{_shown(text)} are not axes; give letters of TCZYXS, each at most once, with Y and X, such as TCYX"


def _shown(text):
    text = repr(text)
    return text if len(text) <= 60 else f"{text[:56]}...'"


def _repeated(rows, column):
    """Problems of rows whose image has the name of one before, whatever the case."""
    first, problems = {}, []
    for row in rows:
        earlier = first.setdefault(row[column].casefold(), row)
        if earlier is not row and row[column]:
            same = (
                f"{row[column]} is"
                if earlier[column] == row[column]
                else f"{row[column]} differs only in case from the image"
            )
            problems.append(
                (row["line"], column, f"{same} already in line {earlier['line']}; give each image a name of its own")
            )
    return problems


def _case_variants(rows, column):
    """Problems of names that would be one folder where file names know no case."""
    first, problems = {}, []
    for row in rows:
        earlier = first.setdefault(row[column].casefold(), row)
        if earlier[column] != row[column]:
            problems.append(
                (row["line"], column, f"{row[column]} is {earlier[column]} in line {earlier['line']}; write both alike")
            )
    return problems


def _torn_groups(rows):
    """Problems of groups that the column split puts on two sides."""
    first, problems = {}, []
    for row in rows:
        if row["group"] and row["split"] in ("train", "val", "test"):
            earlier = first.setdefault(row["group"], row)
            if earlier["split"] != row["split"]:
                text = f"{row['split']}, but group {row['group']} is {earlier['split']} in line {earlier['line']}"
                problems.append((row["line"], "split", f"{text}; a group is on one side"))
    return problems


class _Files:
    """Finds the files that cells name; folders are listed once, so that many globs in one folder stay quick."""

    def __init__(self, base, simulated):
        self._base = base
        self._simulated = simulated
        self._resolved = {}
        self._listings = {}

    def find(self, text):
        """Absolute paths of what `text` names.

        Raises:
            InputError: there is nothing.
        """
        folder, name = os.path.split(os.path.join(self._base, os.path.expanduser(text).rstrip("/") or "/"))
        if folder not in self._resolved:
            self._resolved[folder] = os.path.realpath(folder)
        path = os.path.join(self._resolved[folder], name)
        if name in ("..", "."):
            path = os.path.realpath(path)
        if path in self._simulated or os.path.isfile(path):
            return [Path(path)]
        if os.path.isdir(path):
            if not self._has_files(path):
                raise InputError(f"the folder {text} is empty; put the files there, or correct the path")
            return [Path(path)]
        if glob.has_magic(text):
            return self._matches(text, folder, name)
        raise InputError(self._absence(text, path))

    def _matches(self, text, folder, name):
        if glob.has_magic(folder.removeprefix(self._base)):
            found = glob.glob(os.path.expanduser(text), root_dir=self._base, recursive=True)
            found = [os.path.join(self._base, one) for one in found]
            paths = [os.path.realpath(one) for one in found if os.path.isfile(one)]
        else:
            folder = self._resolved[folder]
            paths = [os.path.join(folder, one) for one in _matching(self._names(folder), name)]
            paths = [one for one in paths if os.path.isfile(one)]
        if not paths:
            raise InputError(f"no file matches {text}; correct the pattern (paths are relative to {self._base})")
        return [Path(one) for one in sorted(paths, key=_natural)]

    def _has_files(self, folder):
        with os.scandir(folder) as entries:
            return any(not entry.name.startswith(".") for entry in entries)

    def _names(self, folder):
        if folder not in self._listings:
            try:
                self._listings[folder] = sorted(os.listdir(folder))
            except OSError:
                self._listings[folder] = []
        return self._listings[folder]

    def _absence(self, text, path):
        folder, name = os.path.split(path)
        if not os.path.isdir(folder):
            return f"there is no {text}, not even its folder {folder}; correct the path (relative to {self._base})"
        return f"there is no {text}; correct the path (relative to {self._base})"


def _matching(names, pattern):
    """Those of the sorted `names` that match; hidden files only where the pattern names the dot."""
    start = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    some = names[bisect_left(names, start) : bisect_left(names, start + "\U0010ffff")]
    return [name for name in fnmatch.filter(some, pattern) if not name.startswith(".") or pattern.startswith(".")]


def _natural(path):
    """A key that sorts frame 2 before frame 10."""
    parts = re.split(r"(\d+)", path)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path
