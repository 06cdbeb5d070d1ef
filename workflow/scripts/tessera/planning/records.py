"""Records: the files that say what results were made from."""

import json
from pathlib import Path
from typing import Any


def read_record(path: str) -> dict[str, Any] | None:
    """A record; None if it does not exist or is damaged, for example because the disk was full."""
    try:
        record = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("hash"), (dict, str)) else None
