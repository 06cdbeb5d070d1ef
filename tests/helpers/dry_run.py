"""Snakemake in processes that have it imported already: most of a small plan's time goes into imports."""

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Prefixes of variables that would change what Snakemake and the networks do in a test.
FOREIGN = ("TF_", "SM_", "SNAKEMAKE")
PRELOADED = ["pytest", "snakemake.cli", "snakemake.report.html_reporter", "snakemake_executor_plugin_slurm"]

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


def run_forked(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `snakemake` with `arguments` in `folder`, and return the finished process. `stdout` has all of its output."""
    with tempfile.NamedTemporaryFile("r") as output:
        process = _server.Process(target=_run, args=(str(folder), output.name, arguments))
        process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read())


def dry_run(folder: Path, *arguments: str) -> str:
    """Run `snakemake --dry-run` with `arguments` in `folder`, and return what it prints.

    Raises:
        AssertionError: it failed. The message is its output.
    """
    done = run_forked(folder, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


def _run(folder: str, output: str, arguments: tuple[str, ...]) -> None:
    """Run Snakemake in this process, with its output in the file `output`."""
    with open(output, "w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    for variable in [variable for variable in os.environ if variable.startswith(FOREIGN)]:
        del os.environ[variable]
    # Python must find the package in `folder`, as it does for users, and not in the repository of the tests.
    sys.path[:] = [path for path in sys.path if "site-packages" in path or path.startswith(sys.base_prefix)]
    sys.argv[:] = ["snakemake", *arguments]
    from snakemake.cli import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()  # which the processes of multiprocessing do not do
        sys.stdout.flush()
