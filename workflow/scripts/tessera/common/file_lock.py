"""Locks that end with the process that holds them, however it ends."""

import errno
import fcntl
from contextlib import contextmanager
from pathlib import Path

from tessera.common.errors import InputError

FOLDER = Path(".snakemake/tessera")
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_held = []


def hold_lock(name, refusal):
    """Take the lock `name` of the working directory for as long as this process lives.

    Raises:
        InputError: `refusal`, when another process holds it.
    """
    file = _open(name)
    if not _take(file):
        file.close()
        raise InputError(refusal)
    _held.append(file)


@contextmanager
def wait_for_lock(name, notice):
    """Take the lock `name` of the working directory; while another process holds it, wait, and print `notice` once."""
    with _open(name) as file:
        if not _take(file):
            print(notice, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(name):
    path = FOLDER / f"{name.replace('/', '+')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a")


def _take(file):
    """Whether the lock is taken; where a file system has none, it says so, and counts it as taken."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print("This file system has no locks; take care that no two runs write the same results", flush=True)
    return True
