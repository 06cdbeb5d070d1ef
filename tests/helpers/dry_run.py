"""Dry runs of Snakemake in processes that have it imported already: most of a small plan's time goes into imports."""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

# Prefixes of variables that would change what Snakemake and the networks do in a test.
FOREIGN = ("TF_", "SM_", "SNAKEMAKE")
PRELOADED = ["pytest", "snakemake.cli", "snakemake.report.html_reporter", "snakemake_executor_plugin_slurm"]

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


def dry_run(folder: Path, *arguments: str) -> str:
    """Run `snakemake --dry-run` with `arguments` in `folder`, and return what it prints.

    Raises:
        AssertionError: it failed. The message is its output.
    """
    with tempfile.NamedTemporaryFile("r") as output:
        process = _server.Process(target=_run, args=(str(folder), output.name, ["--dry-run", *arguments]))
        process.start()
        process.join()
        printed = output.read()
    assert process.exitcode == 0, printed
    return printed


def _run(folder: str, output: str, arguments: list[str]) -> None:
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

    main()
