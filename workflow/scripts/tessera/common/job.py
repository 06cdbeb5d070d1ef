"""The frame of every job: it writes the log, shows errors to users, and records the provenance at the end."""

import contextlib
import errno
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tessera.common.atomic_write import write_json
from tessera.common.errors import InputError
from tessera.common.file_lock import wait_for_lock


@contextlib.contextmanager
def _ignore_full_disk() -> Iterator[None]:
    """Lose what cannot be written to a log on a full disk, so that the other streams still get it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[TextIO]:
    log = open(path, "w", buffering=1)  # noqa: SIM115, because closing writes too
    try:
        yield log
    finally:
        with _ignore_full_disk():
            log.close()


class _Tee:
    """A text stream that writes to several streams."""

    def __init__(self, *streams: TextIO) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            with _ignore_full_disk():
                stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            with _ignore_full_disk():
                stream.flush()

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Only flush: a library that closes the stream at exit must not close the output of the job."""
        self.flush()


@contextlib.contextmanager
def _show_messages() -> Iterator[None]:
    """Print log messages of scripts and of the package to stdout, from level INFO on."""
    handler = logging.StreamHandler(sys.stdout)
    loggers = [logging.getLogger(name) for name in ("__main__", "tessera")]
    propagated = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        # Libraries such as TensorFlow add a handler to the root logger, which would print each message again.
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, propagated, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate


@contextlib.contextmanager
def running(snakemake: Any) -> Iterator[None]:
    """Run the block as the job that Snakemake describes.

    The log of the job gets a copy of all output. At the end the record `params.record` is written to
    `output.provenance`. An InputError is shown without a traceback, other exceptions with one.

    Raises:
        SystemExit: with status 1, after an exception was written to the log.
    """
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    # After Snakemake was killed, one of its jobs may still be running, on the same files.
    notice = f"{path}: the same job of an earlier run is still running; waiting until it ends"
    with (
        wait_for_lock(str(path), notice),
        _open_log(path) as log,
        contextlib.redirect_stdout(_Tee(sys.stdout, log)),
        contextlib.redirect_stderr(_Tee(sys.stderr, log)),
        _show_messages(),
    ):
        try:
            yield
            _write_record(snakemake)
        except InputError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except Exception as error:
            if full := find_full_disk(error):
                print(f"Error: {full}", file=sys.stderr)
            else:
                traceback.print_exc()
            raise SystemExit(1) from None


def find_full_disk(error: BaseException | None) -> str | None:
    """Return a sentence for the user if a full disk caused an exception, or the exception that led to it, else None."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename2 or error.filename or Path.cwd()
            return f"the disk of {where} is full ({error.strerror}); free space, and run the same command again"
        error = error.__cause__ or error.__context__
    return None


def _write_record(snakemake: Any) -> None:
    write_json(snakemake.output.provenance, snakemake.params.record)
