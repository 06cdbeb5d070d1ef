"""The table of images: read, checked in whole, its images put into batches."""

import csv
import hashlib
import math
import re
import unicodedata
from pathlib import Path

from tessera.common.errors import InputError
from tessera.planning.file_finder import FileFinder
from tessera.planning.messages import format_value, suggestion
from tessera.planning.schema_validation import read_schema
from tessera.settings import renamed

SHOWN_PROBLEMS = 20
SEPARATORS = {",": "commas", ";": "semicolons", " ": "spaces"}


def load_table(path, *, batch_size, simulated=()):
    """Read the table of images and check all of it.

    Args:
        path: the table, tab-separated text; workflow/schemas/images.schema.yaml describes its columns.
        batch_size: images per batch, for rows without a batch.
        simulated: resolved paths that need not exist yet, because the workflow makes them.

    Returns:
        A dict for each row with every column of the schema, "" for empty text and None for an empty number, `roi` (else
        [y0, y1, x0, x1]) or `frames`; `batch` is filled in. Besides, `files`, `truth_files` and `masks_files` (absolute
        paths: one file, one folder, or the frames that a glob matches, in natural order; no truth or masks, no paths)
        and `line`, the row's in the table, from 1.

    Raises:
        InputError: a line for each problem, up to 20, and how many more there are.
    """
    path = Path(path)
    rows, problems = _read_rows(path)
    finder = FileFinder(path.parent, simulated)
    for row in rows:
        problems += [(row["line"], column, text) for column, text in _check_row(row, finder)]
    problems += (
        _same_images(rows) + _alike(rows, "batch") + _alike(rows, "group") + _torn_groups(rows) + _missing_masks(rows)
    )
    if not rows and not problems:
        problems.append((0, "", "has no images yet; add a line for each, with its name and its path at least"))
    _refuse(path, problems)
    batches = assign_batches(rows, batch_size)
    return [row | {"batch": batches[row["image"]]} for row in rows]


def assign_batches(rows, batch_size):
    """Give each image a batch that hardly depends on the other images.

    Rows without a batch start as one, `auto`. A batch of more than `batch_size` splits in two by the next bit of a hash
    of the images' names, `auto-0` and `auto-1`, and so on; so a row that comes or goes changes no batch but its own.

    Args:
        rows: dicts with `image` and `batch`, "" or None where none is given.
        batch_size: images that a batch may hold, at least 1.

    Returns:
        {image: batch}.
    """
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


def _bits(image):
    return f"{int.from_bytes(hashlib.blake2b(image.encode(), digest_size=16).digest()):0128b}"


def _refuse(path, problems):
    """Raise the problems, (line, column, text), in the order of their lines, if there are any."""
    texts = []
    for line, column, text in sorted(problems, key=lambda problem: problem[0])[:SHOWN_PROBLEMS]:
        texts.append(": ".join(filter(None, [str(path), f"line {line}" if line else "", column, text])))
    if len(problems) > SHOWN_PROBLEMS:
        texts.append(f"{path}: and {len(problems) - SHOWN_PROBLEMS:,} more problems")
    if texts:
        raise InputError("\n".join(texts))


def _read_lines(path):
    try:
        content = path.read_bytes()
    except OSError as error:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise InputError(
            f"{path}: cannot be read{where} ({error.strerror}); the setting images has to name the table of images"
        ) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line}: is not UTF-8; save the table as tab-separated text in UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path}: is not text; save the table as tab-separated text in UTF-8")
    return re.split(r"\r\n|\n|\r", text)


def _read_rows(path):
    """The rows as dicts of text, with their lines; and problems, (line, column, text).

    Raises:
        InputError: the header is missing or wrong, so that the rows mean nothing.
    """
    known = read_schema("images")["properties"]
    columns, rows, problems = None, [], []
    for line, text in enumerate(_read_lines(path), start=1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], delimiter="\t", strict=True))]
        except csv.Error:
            problems.append((line, "", "a cell begins with a quote that is not closed at its end; remove the quotes"))
            continue
        if columns is None:
            columns = _read_header(path, line, cells)
            continue
        if any(cells[len(columns) :]):
            text = f"has {len(cells)} cells, but there are {len(columns)} columns; remove what is too much"
            problems.append((line, "", text))
        rows.append(dict.fromkeys(known, "") | dict(zip(columns, cells, strict=False)) | {"line": line})
    if columns is None:
        text = f"has no header; its first line has to name the columns, of {', '.join(known)}, with a tab between them"
        _refuse(path, problems or [(0, "", text)])
    return rows, problems


def _read_header(path, line, cells):
    """The names of the columns."""
    schema = read_schema("images")
    known = schema["properties"]
    columns = cells[: max((place for place, cell in enumerate(cells, start=1) if cell), default=0)]
    for separator, name in SEPARATORS.items():
        if len(columns) == 1 and len(known.keys() & {part.strip() for part in columns[0].split(separator)}) > 1:
            _refuse(path, [(line, "", f"the columns are separated by {name}; save the table as tab-separated text")])
    problems = []
    for column in dict.fromkeys(columns):
        if not column:
            problems.append((line, "", "a column has no name; give it one, or remove it"))
        elif column in renamed.COLUMNS:
            problems.append((line, column, f"was renamed to {renamed.COLUMNS[column]}"))
        elif column not in known:
            hint = suggestion(column, known) or f"; known are {', '.join(known)}"
            problems.append((line, format_value(column)[1:-1], f"unknown column{hint}"))
        elif columns.count(column) > 1:
            problems.append((line, column, f"is there {columns.count(column)} times; keep one"))
    lost = [column for column in schema["required"] if column not in columns]
    problems += [(line, column, "this column is missing, and every row needs it") for column in lost]
    _refuse(path, problems)
    return columns


def _check_row(row, finder):
    """Turn numbers into floats, find the files, and yield (column, problem)."""
    schema = read_schema("images")
    row["axes"] = row["axes"].upper()
    row |= {column: re.sub(r"\s", "", row[column]) for column in ("roi", "frames")}
    for column, rule in schema["properties"].items():
        text = row[column]
        if rule["type"] == "number":
            row[column] = _number(text)
        if not text:
            if column in schema["required"]:
                yield column, "is empty, and every row needs it"
        elif rule["type"] == "number":
            if row[column] is None or not rule["exclusiveMinimum"] < row[column] <= rule["maximum"]:
                yield column, _number_advice(text, rule)
        elif "enum" in rule and text not in rule["enum"]:
            hint = suggestion(text, rule["enum"], cutoff=0.4)
            yield column, f"{format_value(text)} is not one of {', '.join(rule['enum'])}{hint}"
        elif "pattern" in rule and not re.search(rule["pattern"], text):
            yield column, ADVICE[column](text) if column in ADVICE else _name_advice(text, column)
    row |= {"roi": _box(row["roi"]), "frames": row["frames"] or None}
    if row["roi"] and not (row["roi"][0] < row["roi"][1] and row["roi"][2] < row["roi"][3]):
        yield "roi", "holds no pixel; give y0:y1,x0:x1 with y0 below y1 and x0 below x1"
    for column, files in (("path", "files"), ("truth", "truth_files"), ("masks", "masks_files")):
        row[files] = []
        try:
            row[files] = finder.find(row[column]) if row[column] else []
        except InputError as error:
            yield column, str(error)
    if row["split"] in ("train", "val") and not row["truth"]:
        yield "split", f"{row['split']} needs a truth; give it, or leave the split empty"
    for column, what in (("truth", "annotation"), ("masks", "masks")):
        if row["files"] and row["files"] == row[f"{column}_files"]:
            yield column, f"{row[column]} is the image itself; give its {what}, or leave it empty"


def _number(text):
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None


def _number_advice(text, rule):
    if re.fullmatch(r"\d+,\d+", text):
        return f"{format_value(text)} is not a number; write {text.replace(',', '.')}"
    fault = "is not a number" if _number(text) is None else "is out of range"
    wanted = f"more than {rule['exclusiveMinimum']} and at most {rule['maximum']}"
    return f"{format_value(text)} {fault}; give {wanted}, or nothing"


def _axes_advice(text):
    return (
        f"{format_value(text)} are not axes; give letters of TCZYXS, each once, with Y and X, such as TCYX; or nothing"
    )


def _roi_advice(text):
    return f"{format_value(text)} is no region; give y0:y1,x0:x1 in pixels, such as 0:512,1024:2048, or nothing"


def _frames_advice(text):
    return (
        f"{format_value(text)} are no frames; give numbers from 0, such as 0,5,9, or first:end:step, such as 0:100:10"
    )


def _box(text):
    """[y0, y1, x0, x1] of what looks like y0:y1,x0:x1, else None."""
    numbers = re.split("[:,]", text)
    return [int(number) for number in numbers] if len(numbers) == 4 and all(map(str.isdecimal, numbers)) else None


def _name_advice(text, column):
    if column == "batch" and text.lower().startswith("auto"):
        return f"{format_value(text)} begins with auto, as the batches of rows without one do; give another name"
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9._+-]+", "_", plain)).lstrip(".+-")[:100]
    wanted = "letters a to z, digits and . _ + -, first a letter, digit or _, no two dots in a row, 100 at most"
    return f"{format_value(text)} is not a safe name; use {wanted}{f': {plain}' if plain.strip('_') else ''}"


ADVICE = {"axes": _axes_advice, "roi": _roi_advice, "frames": _frames_advice}


def _same_images(rows):
    """Problems of images whose name another has; names that differ in case alone are one file on some computers."""
    first, problems = {}, []
    for row in rows:
        other = first.setdefault(row["image"].casefold(), row)
        if other is not row and row["image"]:
            text = f"{row['image']} is already in line {other['line']}"
            if other["image"] != row["image"]:
                text += f" as {other['image']}, and case does not count"
            problems.append((row["line"], "image", f"{text}; give each image its own name"))
    return problems


def _alike(rows, column):
    """Problems of batches, or groups, whose names differ in case alone."""
    first, problems = {}, []
    for row in rows:
        name = row[column] or ""
        other = first.setdefault(name.casefold(), row)
        if (other[column] or "") != name:
            text = f"{name} is {other[column]} in line {other['line']}, and case does not count; write both alike"
            problems.append((row["line"], column, text))
    return problems


def _torn_groups(rows):
    """Problems of groups that the table puts on two sides."""
    first, problems = {}, []
    for row in rows:
        if row["group"] and row["truth"] and row["split"] in ("train", "val", "test"):
            other = first.setdefault(row["group"], row)
            if other["split"] != row["split"]:
                text = f"{row['split']}, but group {row['group']} is {other['split']} in line {other['line']}"
                problems.append((row["line"], "split", f"{text}; a group is in one set"))
    return problems


def _missing_masks(rows):
    """Problems of images without masks where others have some."""
    given = next((row for row in rows if row["masks"]), None)
    text = given and f"is empty, but line {given['line']} has masks; give all images some, or none"
    return [(row["line"], "masks", text) for row in rows if given and not row["masks"]]
