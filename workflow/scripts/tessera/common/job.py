"""What every job of the workflow does around its work: it logs, and leaves its provenance when it is done."""

import contextlib
import logging
import sys
import traceback
from pathlib import Path

from tessera.common.atomic_write import write_json
from tessera.common.errors import InputError
from tessera.common.file_lock import wait_for_lock


class _Tee:
    """A text stream that writes to several."""

    def __init__(self, *streams):
        self._streams = streams

    def write(self, text):
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self):
        for stream in self._streams:
            stream.flush()

    def isatty(self):
        return False

    def close(self):
        """Only flush: a library that closes what it took for its own at exit must not close the job's output."""
        self.flush()


@contextlib.contextmanager
def _show_messages():
    """Print the log messages of scripts and of the package to the standard output, from the level INFO on."""
    handler = logging.StreamHandler(sys.stdout)
    loggers = [logging.getLogger(name) for name in ("__main__", "tessera")]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@contextlib.contextmanager
def running(snakemake):
    """Run the block as the job that Snakemake describes: its log gets a copy of all output, `output.provenance` its provenance.

    An InputError ends the process with its message alone; any other exception keeps its traceback.

    Raises:
        SystemExit: with status 1, after any exception was written to the log.
    """
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    # When Snakemake was killed, a job of its may still be at work, on the same files.
    notice = f"{path}: an earlier run of this job is still at work; waiting until it ends"
    with (
        wait_for_lock(str(path), notice),
        open(path, "w", buffering=1) as log,
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
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from None


def _write_record(snakemake):
    write_json(snakemake.output.provenance, snakemake.params.record)
