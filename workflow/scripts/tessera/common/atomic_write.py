"""Files and folders that appear complete or not at all, even if the job that writes them is killed.

Used at plan time, so this module needs the standard library only.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tessera.common.types import StrPath


@contextlib.contextmanager
def atomic_file(path: StrPath) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file that the block writes there is renamed to `path` at its end."""
    partial = partial_path(path)
    yield partial
    partial.replace(path)


def write_json(path: StrPath, content: Any) -> None:
    """Write `content` as JSON with sorted keys, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True))


@contextlib.contextmanager
def atomic_folder(output: StrPath) -> Iterator[Path]:
    """Yield an empty temporary folder beside `output`; it replaces `output` at the end of the block."""
    workplace = partial_path(output)
    shutil.rmtree(workplace, ignore_errors=True)
    workplace.mkdir(parents=True)
    yield workplace
    replace_folder(workplace, output)


def partial_path(path: StrPath) -> Path:
    """Return the hidden path beside `path` where its content is written before it is renamed."""
    path = Path(path)
    return path.with_name(f".{path.name}.part")


def replace_folder(folder: Path, output: StrPath) -> None:
    """Rename `folder` to `output` and remove the previous `output`."""
    shutil.rmtree(output, ignore_errors=True)
    folder.rename(output)
