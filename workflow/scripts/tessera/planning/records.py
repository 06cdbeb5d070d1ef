"""Records: the files that say what results were made from."""

import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

INCOMPLETE = Path(".snakemake/incomplete")


def read_record(path: str) -> dict[str, Any] | None:
    """A record; None if it does not exist or is damaged, for example because the disk was full."""
    try:
        record = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("hash"), (dict, str)) else None


def read_incomplete() -> frozenset[str]:
    """The outputs of jobs that were interrupted, which Snakemake runs again.

    For each, Snakemake keeps a file in INCOMPLETE. Its name is the path of the output in base64, cut into folders that
    begin with @ if it is long.
    """
    paths = set()
    for file in INCOMPLETE.rglob("*"):
        if file.is_file():
            encoded = "".join(part.removeprefix("@") for part in file.relative_to(INCOMPLETE).parts)
            try:
                paths.add(urlsafe_b64decode(encoded).decode())
            except ValueError:
                continue  # another file of Snakemake
    return frozenset(paths)
