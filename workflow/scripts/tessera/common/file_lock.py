"""Locks of the working directory that end with the process that holds them, however it ends."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tessera.common.errors import InputError

FOLDER = Path(".snakemake/tessera")
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_held: list[TextIO] = []


def hold_lock(name: str, refusal: str) -> None:
    """Take the lock `name` of the working directory for as long as this process lives.

    Raises:
        InputError: with the message `refusal`, if another process holds the lock.
    """
    file = _open(name)
    if not _take(file):
        file.close()
        raise InputError(refusal)
    _held.append(file)


@contextmanager
def wait_for_lock(name: str, notice: str) -> Iterator[None]:
    """Hold the lock `name` of the working directory within the block.

    While another process holds the lock, print `notice` once and wait.
    """
    with _open(name) as file:
        if not _take(file):
            print(notice, flush=True)  # before the job configures logging
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(name: str) -> TextIO:
    path = FOLDER / f"{name.replace('/', '+')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a")


def _take(file: TextIO) -> bool:
    """Return whether the lock was taken. A file system without locks prints a warning, and counts as taken."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print("This file system does not support locks; make sure that no two runs write the same results", flush=True)
    return True
