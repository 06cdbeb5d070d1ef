"""Digests: short texts that stand for values and for raw files, and change with them."""

import hashlib
import json
import os
import stat
import time
from functools import cache
from pathlib import Path
from typing import Any

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.planning.disk_memory import DiskMemory

SMALL_FILE_BYTES = 1_000_000
SMALL_STORE_BYTES = 100_000_000  # read in a second
ZARR_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
SETTLED_NS = 2_000_000_000  # since its last change; a file may still change within what its file system calls one time
REMEMBERED_FILES = DiskMemory()  # {path: [size, times and inode, digest of the content]}: each file is read once
_ENCODER = json.JSONEncoder(sort_keys=True, default=str)  # `json.dumps` would make one for every digest


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits that stand for `parts`: anything that JSON can hold, and paths as text."""
    return hashlib.blake2b(_ENCODER.encode(parts).encode(), digest_size=8).hexdigest()


@cache
def digest_path(path: StrPath) -> str:
    """Digest of a raw file, or of all files in a folder.

    Small files count by their content, large ones by size and modification time, as in Snakemake itself. The many small
    chunks of a large Zarr folder count like large files.

    Raises:
        InputError: it cannot be read.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return _digest_folder(Path(path))
        return _content(path, status) if status.st_size <= SMALL_FILE_BYTES else _dated(status)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _digest_folder(folder: Path) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _is_litter(file.name))
    is_large = False
    if _is_zarr(folder):
        # Labels in an image are raw files of their own.
        files = [file for file in files if file.relative_to(folder).parts[0] != "labels"]
        is_large = sum(file.stat().st_size for file in files) > SMALL_STORE_BYTES
    return digest(
        [(str(file.relative_to(folder)), _dated(file.stat()) if is_large else digest_path(file)) for file in files]
    )


def _content(path: StrPath, status: os.stat_result) -> str:
    """Digest of the content of a file, read again only if the file changed."""
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    name = os.fspath(path) if os.path.isabs(path) else os.path.abspath(path)
    remembered = REMEMBERED_FILES.get(name, [None, ""])
    content = str(remembered[1])
    if remembered[0] != state:
        content = hashlib.blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS:
            REMEMBERED_FILES[name] = [state, content]
    return content


def _dated(status: os.stat_result) -> str:
    """Digest of size and time of change of a file; archives and some file systems keep whole seconds."""
    return digest(status.st_size, int(status.st_mtime))


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ZARR_METADATA)


def _is_litter(name: str) -> bool:
    """Whether an operating system left this file in a folder; no reader opens it."""
    return (name.startswith(".") and name not in ZARR_METADATA) or name in ("Thumbs.db", "desktop.ini")
