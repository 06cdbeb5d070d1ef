"""Digests: short texts that stand for values and for raw files, and change when these do."""

import atexit
import contextlib
import hashlib
import json
import os
import time
from functools import cache
from pathlib import Path

from tessera.common.atomic_write import write_json
from tessera.common.errors import InputError

SMALL_FILE_BYTES = 1_000_000
SMALL_STORE_BYTES = 100_000_000  # read in a second
ZARR_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
SETTLED_NS = 2_000_000_000  # since its last change; a file may still change within what its file system calls one time
_remembered = {}  # {path: [size, times and inode, digest of the content]}


def digest(*parts):
    """Sixteen hexadecimal digits that stand for `parts` (anything that JSON can hold, paths as text)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@cache
def digest_path(path):
    """Digest of a raw file, or of all files in a folder.

    Small files count by their content, large ones by size and time of change, as Snakemake itself has it; so do the
    chunks of a large Zarr folder, which are small and many.

    Raises:
        InputError: it cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and not _is_litter(file.name))
            count = digest_path
            if _is_zarr(path):
                # Labels in an image are raw files of their own.
                files = [file for file in files if file.relative_to(path).parts[0] != "labels"]
                count = _dated if sum(file.stat().st_size for file in files) > SMALL_STORE_BYTES else digest_path
            return digest([(str(file.relative_to(path)), count(file)) for file in files])
        return _content(path) if path.stat().st_size <= SMALL_FILE_BYTES else _dated(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); see to its permissions") from error


def remember_in(path, *, keep):
    """Take from the file `path` what is known of small files, so that each is read once, not in every run.

    Where `keep`, what is learned is added to it when the process ends.
    """
    path = Path(path)
    with contextlib.suppress(OSError, ValueError):  # there is none yet, or it was cut off: all is read again
        _remembered.update(json.loads(path.read_text()))
    if keep:
        atexit.register(_write, path, dict(_remembered))


def _write(path, before):
    if _remembered != before:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, _remembered)


def _content(path):
    """Digest of what is in a file, or was when it last changed."""
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    name = os.path.abspath(path)
    known, found = _remembered.get(name, (None, None))
    if known != state:
        found = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS:
            _remembered[name] = [state, found]
    return found


def _dated(path):
    """Digest of size and time of change of a file; archives and some file systems keep whole seconds."""
    status = path.stat()
    return digest(status.st_size, int(status.st_mtime))


def _is_zarr(folder):
    return any((folder / name).is_file() for name in ZARR_METADATA)


def _is_litter(name):
    """Whether a file is one that systems leave in folders, and no reader looks at."""
    return (name.startswith(".") and name not in ZARR_METADATA) or name in ("Thumbs.db", "desktop.ini")
