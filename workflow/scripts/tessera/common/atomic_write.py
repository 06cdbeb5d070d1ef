"""Files and folders that are in place whole or not at all, whenever the job that writes them is killed.

Used when Snakemake plans, so it needs the standard library only.
"""

import contextlib
import json
import shutil
from pathlib import Path


@contextlib.contextmanager
def atomic_file(path):
    """A path beside `path` to write to; the file takes its place when the block ends."""
    partial = partial_path(path)
    yield partial
    partial.replace(path)


def write_json(path, content):
    """Write `content` as JSON, with its keys sorted."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, sort_keys=True))


@contextlib.contextmanager
def atomic_folder(output):
    """An empty folder beside `output` to write to; it takes its place when the block ends."""
    workplace = partial_path(output)
    shutil.rmtree(workplace, ignore_errors=True)
    workplace.mkdir(parents=True)
    yield workplace
    replace_folder(workplace, output)


def partial_path(path):
    """Where what will be at `path` is made: hidden, and beside it, so that it can be renamed."""
    path = Path(path)
    return path.with_name(f".{path.name}.part")


def replace_folder(folder, output):
    """Rename `folder` to `output`, in place of what is there."""
    shutil.rmtree(output, ignore_errors=True)
    folder.rename(output)
