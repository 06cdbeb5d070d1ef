"""The images table: read it, check all of it, and assign its images to batches."""

import csv
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tessera.common.errors import InputError
from tessera.common.image_formats import describe_missing_reader
from tessera.common.types import StrPath
from tessera.planning.file_finder import FileFinder
from tessera.planning.messages import format_value, suggestion
from tessera.planning.schema_validation import Schema, read_schema
from tessera.settings import renamed

Row: TypeAlias = dict[str, Any]
Problem: TypeAlias = tuple[int, str, str]
"""Line of the table (0: none), column ("": none), and what is wrong."""

MAX_PROBLEMS_SHOWN = 20
SEPARATORS = {",": "commas", ";": "semicolons", " ": "spaces"}


def load_table(path: StrPath, *, batch_size: int, simulated: Iterable[str] = ()) -> list[Row]:
    """Read the images table and check all of it.

    Args:
        path: of the table, tab-separated text. `tessera.settings.images_table` describes its columns.
        batch_size: largest number of images per batch, for rows without a batch.
        simulated: resolved paths that need not exist yet, because the workflow creates them.

    Returns:
        A dict for each row with every column: "" for empty text, None for an empty number, `roi` (else
        [y0, y1, x0, x1]) or `frames`. `batch` is filled in. In addition, `files`, `truth_files` and `masks_files` are
        lists of absolute paths (one file, one folder, or the frames that a glob matches, in natural order; [] if the
        cell is empty), and `line` is the line of the row in the table, from 1.

    Raises:
        InputError: a line for each of the first 20 problems, and the number of the others.
    """
    table = Path(path)
    rows, problems = _read_rows(table)
    finder = FileFinder(table.parent, simulated)
    for row in rows:
        problems += [(row["line"], column, text) for column, text in _check_row(row, finder)]
    problems += (
        _repeated_images(rows)
        + _names_differing_in_case(rows, "batch")
        + _names_differing_in_case(rows, "group")
        + _groups_in_two_sets(rows)
        + _missing_masks(rows)
    )
    if not rows and not problems:
        problems.append((0, "", "has no images yet; add a line for each, with at least its name and path"))
    _raise_problems(table, problems)
    batches = assign_batches(rows, batch_size)
    for row in rows:
        row["batch"] = batches[row["image"]]
    return rows


def assign_batches(rows: Iterable[Mapping[str, Any]], batch_size: int) -> dict[str, str]:
    """Assign each image to a batch, almost independently of the other images.

    Rows without a batch start as one batch, `auto`. A batch of more than `batch_size` images is split by the next bit
    of a hash of the image names, into `auto-0` and `auto-1`, and so on. So adding or removing a row changes only its
    own batch.

    Args:
        rows: dicts with `image` and `batch`, "" or None if none is given.
        batch_size: largest number of images per batch, at least 1.

    Returns:
        {image: batch}.
    """
    rows = list(rows)
    batches = {row["image"]: row["batch"] for row in rows if row["batch"]}
    waiting = [("", [(_bits(row["image"]), row["image"]) for row in rows if not row["batch"]])]
    while waiting:
        prefix, members = waiting.pop()
        if len(members) <= batch_size:
            batches |= {image: f"auto-{prefix}" if prefix else "auto" for _, image in members}
        else:
            for bit in "01":
                waiting.append((prefix + bit, [member for member in members if member[0][len(prefix)] == bit]))
    return batches


def _bits(image: str) -> str:
    """128 bits of a hash of the name, as text."""
    return f"{int.from_bytes(hashlib.blake2b(image.encode(), digest_size=16).digest()):0128b}"


def _raise_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Raise the problems in the order of their lines, if there are any."""
    problems = sorted(problems, key=lambda problem: problem[0])
    texts = []
    for line, column, text in problems[:MAX_PROBLEMS_SHOWN]:
        texts.append(": ".join(filter(None, [str(path), f"line {line}" if line else "", column, text])))
    if len(problems) > MAX_PROBLEMS_SHOWN:
        texts.append(f"{path}: and {len(problems) - MAX_PROBLEMS_SHOWN:,} more problems")
    if texts:
        raise InputError("\n".join(texts))


def _read_lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise InputError(
            f"{path}: cannot be read{where} ({error.strerror}); set images to the path of the images table"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line}: is not UTF-8; save the table as tab-separated text in UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path}: is not text; save the table as tab-separated text in UTF-8")
    return re.split(r"\r\n|\n|\r", text)


def _read_rows(path: Path) -> tuple[list[Row], list[Problem]]:
    """The rows as dicts of text, with their lines; and problems.

    Raises:
        InputError: the header is missing or wrong, so the rows cannot be read.
    """
    known = read_schema("images")["properties"]
    empty: Row = dict.fromkeys(known, "")
    columns: list[str] | None = None
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, text in enumerate(_read_lines(path), start=1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            cells = text.split("\t") if '"' not in text else next(csv.reader([text], delimiter="\t", strict=True))
        except csv.Error:
            problems.append((line, "", "a cell begins with a quote that is not closed at its end; remove the quote"))
            continue
        cells = [cell.strip() for cell in cells]
        if columns is None:
            columns = _read_header(path, line, cells)
            continue
        if any(cells[len(columns) :]):
            text = f"has {len(cells)} cells, but there are {len(columns)} columns; remove the extra cells"
            problems.append((line, "", text))
        rows.append(empty | dict(zip(columns, cells, strict=False)) | {"line": line})
    if columns is None:
        text = f"has no header; the first line must name the columns ({', '.join(known)}) with a tab between them"
        _raise_problems(path, problems or [(0, "", text)])
    return rows, problems


def _read_header(path: Path, line: int, cells: Sequence[str]) -> list[str]:
    """The names of the columns."""
    schema = read_schema("images")
    known = schema["properties"]
    columns = list(cells)[: max((place for place, cell in enumerate(cells, start=1) if cell), default=0)]
    for separator, name in SEPARATORS.items():
        if len(columns) == 1 and len(known.keys() & {part.strip() for part in columns[0].split(separator)}) > 1:
            _raise_problems(
                path, [(line, "", f"the columns are separated by {name}; save the table as tab-separated text")]
            )
    problems: list[Problem] = []
    for column in dict.fromkeys(columns):
        if not column:
            problems.append((line, "", "a column has no name; give it one, or remove it"))
        elif column in renamed.COLUMNS:
            problems.append((line, column, f"was renamed to {renamed.COLUMNS[column]}"))
        elif column not in known:
            hint = suggestion(column, known) or f"; known are {', '.join(known)}"
            problems.append((line, format_value(column)[1:-1], f"unknown column{hint}"))
        elif columns.count(column) > 1:
            problems.append((line, column, f"is given {columns.count(column)} times; keep one"))
    missing = [column for column in schema["required"] if column not in columns]
    problems += [(line, column, "this column is missing; every row needs it") for column in missing]
    _raise_problems(path, problems)
    return columns


def _check_row(row: Row, finder: FileFinder) -> Iterator[tuple[str, str]]:
    """Convert numbers to floats, find the files, and yield (column, problem)."""
    schema = read_schema("images")
    row["axes"] = row["axes"].upper()
    for column in ("roi", "frames"):
        row[column] = "".join(row[column].split())
    for column, rule in schema["properties"].items():
        text = row[column]
        if not text:
            if rule["type"] == "number":
                row[column] = None
            if column in schema["required"]:
                yield column, "is empty; every row needs it"
        elif rule["type"] == "number":
            row[column] = _number(text)
            if row[column] is None or not rule["exclusiveMinimum"] < row[column] <= rule["maximum"]:
                yield column, _number_advice(text, rule)
        elif "enum" in rule and text not in rule["enum"]:
            hint = suggestion(text, rule["enum"], cutoff=0.4)
            yield column, f"{format_value(text)} is not one of {', '.join(rule['enum'])}{hint}"
        elif "pattern" in rule and not re.search(rule["pattern"], text):
            yield column, ADVICE[column](text) if column in ADVICE else _name_advice(text, column)
    row["roi"] = _box(row["roi"]) if row["roi"] else None
    row["frames"] = row["frames"] or None
    if row["roi"] and not (row["roi"][0] < row["roi"][1] and row["roi"][2] < row["roi"][3]):
        yield "roi", "contains no pixel; give y0:y1,x0:x1 with y0 below y1 and x0 below x1"
    if "::" in row["path"]:
        path, dataset = row["path"].split("::", 1)
        if row["scene"]:
            yield "path", f"names the dataset {dataset}, and scene is {row['scene']}; give one of them"
        row["path"], row["scene"] = path, dataset
    for column, files in (("path", "files"), ("truth", "truth_files"), ("masks", "masks_files")):
        row[files] = []
        if row[column]:
            try:
                row[files] = finder.find(row[column])
            except InputError as error:
                yield column, str(error)
            if missing := describe_missing_reader(row[files][0] if row[files] else "", annotation=column != "path"):
                yield column, f"{row[column]} {missing}"
    if row["split"] in ("train", "val") and not row["truth"]:
        yield "split", f"{row['split']} needs an annotation in truth; give it, or leave the split empty"
    for column, what in (("truth", "annotation"), ("masks", "masks")):
        if row["files"] and row["files"] == row[f"{column}_files"]:
            yield column, f"{row[column]} is the image itself; give its {what}, or leave it empty"


def _number(text: str) -> float | None:
    """The finite number that a text stands for."""
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None


def _number_advice(text: str, rule: Schema) -> str:
    if re.fullmatch(r"\d+,\d+", text):
        return f"{format_value(text)} is not a number; write {text.replace(',', '.')}"
    fault = "is not a number" if _number(text) is None else "is out of range"
    wanted = f"more than {rule['exclusiveMinimum']} and at most {rule['maximum']}"
    return f"{format_value(text)} {fault}; give {wanted}, or nothing"


def _axes_advice(text: str) -> str:
    return (
        f"{format_value(text)} are not axes; give letters of TCZYXS, each once, with Y and X, such as TCYX; or nothing"
    )


def _roi_advice(text: str) -> str:
    return f"{format_value(text)} is not a region; give y0:y1,x0:x1 in pixels, such as 0:512,1024:2048, or nothing"


def _frames_advice(text: str) -> str:
    return (
        f"{format_value(text)} are not frames; give numbers from 0, such as 0,5,9, or first:end:step, such as 0:100:10"
    )


def _box(text: str) -> list[int] | None:
    """[y0, y1, x0, x1] of a text like y0:y1,x0:x1, else None."""
    numbers = re.split("[:,]", text)
    return [int(number) for number in numbers] if len(numbers) == 4 and all(map(str.isdecimal, numbers)) else None


def _name_advice(text: str, column: str) -> str:
    if column == "batch" and text.lower().startswith("auto"):
        return f"{format_value(text)} begins with auto, like the batches of rows without one; give another name"
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9._+-]+", "_", plain)).lstrip(".+-")[:100]
    wanted = "letters a to z, digits and . _ + -, first a letter, digit or _, no two dots in a row, at most 100"
    return f"{format_value(text)} is not a safe name; use {wanted}{f': {plain}' if plain.strip('_') else ''}"


ADVICE = {"axes": _axes_advice, "roi": _roi_advice, "frames": _frames_advice}


def _repeated_images(rows: Iterable[Row]) -> list[Problem]:
    """Problems of repeated image names. Names that only differ in case are the same file on some computers."""
    first: dict[str, Row] = {}
    problems: list[Problem] = []
    for row in rows:
        other = first.setdefault(row["image"].casefold(), row)
        if other is not row and row["image"]:
            text = f"{row['image']} is already in line {other['line']}"
            if other["image"] != row["image"]:
                text += f" as {other['image']}, and case does not count"
            problems.append((row["line"], "image", f"{text}; give each image its own name"))
    return problems


def _names_differing_in_case(rows: Iterable[Row], column: str) -> list[Problem]:
    """Problems of batches or groups whose names only differ in case."""
    first: dict[str, Row] = {}
    problems: list[Problem] = []
    for row in rows:
        name = row[column] or ""
        other = first.setdefault(name.casefold(), row)
        if (other[column] or "") != name:
            text = f"{name} is {other[column]} in line {other['line']}, and case does not count; write both alike"
            problems.append((row["line"], column, text))
    return problems


def _groups_in_two_sets(rows: Iterable[Row]) -> list[Problem]:
    """Problems of groups that the table assigns to two sets."""
    first: dict[str, Row] = {}
    problems: list[Problem] = []
    for row in rows:
        if row["group"] and row["truth"] and row["split"] in ("train", "val", "test"):
            other = first.setdefault(row["group"], row)
            if other["split"] != row["split"]:
                text = f"{row['split']}, but group {row['group']} is {other['split']} in line {other['line']}"
                problems.append((row["line"], "split", f"{text}; a group must be in one set"))
    return problems


def _missing_masks(rows: Sequence[Row]) -> list[Problem]:
    """Problems of images without masks if others have some."""
    given = next((row for row in rows if row["masks"]), None)
    if given is None:
        return []
    text = f"is empty, but line {given['line']} has masks; give masks for all images, or for none"
    return [(row["line"], "masks", text) for row in rows if not row["masks"]]
