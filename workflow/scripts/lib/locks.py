"""Locks that end with the process that holds them, however it ends."""

import fcntl
from contextlib import contextmanager

from .errors import InputError

_held = []


def hold(path, refusal):
    """Lock the file `path` for as long as this process lives.

    Raises:
        InputError: `refusal`, when another process holds it.
    """
    file = open(path, "a")  # noqa: SIM115 (closing it would give the lock back)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise InputError(refusal) from None
    _held.append(file)


@contextmanager
def wait_for(path, notice):
    """Lock the file `path` during the block; while another process holds it, wait, and print `notice` once."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(notice, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
