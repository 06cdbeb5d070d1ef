"""Annotations in JSON files: which format they have, and reading numbers from them."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tessera.common.errors import InputError
from tessera.io.lazy_image import as_input_error

FORMATS = "labelme, COCO or GeoJSON (QuPath)"


def load_json(path: Path) -> Any:
    """Return the content of a JSON file. The last file is kept, since many images may share it.

    Raises:
        InputError: it is not JSON.
    """
    with as_input_error(path):
        state = path.stat()
        return _load(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _load(path: Path, changed: int, size: int) -> Any:
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); export it again") from None


def json_format(path: Path) -> str:
    """Return "labelme", "coco" or "geojson".

    Raises:
        InputError: the file is none of them.
    """
    content = load_json(path)
    first = content[0] if isinstance(content, list) and content else content
    if content == [] or (isinstance(first, dict) and ("features" in first or "geometry" in first)):
        return "geojson"
    if isinstance(content, dict) and isinstance(content.get("shapes"), list):
        return "labelme"
    if isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content:
        return "coco"
    keys = ", ".join(sorted(map(str, content))[:8]) if isinstance(content, dict) else type(content).__name__
    raise InputError(f"{path}: is a JSON file ({keys}), but no annotation of the formats {FORMATS}; export it as one")


def entries(path: Path, container: Any, key: str) -> list[dict[str, Any]]:
    """Return the list of dicts that `container` has at `key`.

    Raises:
        InputError: there is something else.
    """
    found = container.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{path}: {key} is not a list of objects, so the file is damaged; export it again")
    return found
