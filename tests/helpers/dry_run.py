"""Dry runs of Snakemake by processes that have it imported already: the imports are most of a small plan's time."""

import multiprocessing
import os
import sys
import tempfile

# Variables that would change what Snakemake and the networks do in a test.
FOREIGN = ("TF_", "SM_", "SNAKEMAKE")
PRELOADED = ["pytest", "snakemake.cli", "snakemake.report.html_reporter", "snakemake_executor_plugin_slurm"]

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)


def dry_run(folder, *arguments):
    """What `snakemake --dry-run` with `arguments` prints in `folder`.

    Raises:
        AssertionError: it failed; with its output.
    """
    with tempfile.NamedTemporaryFile("r") as output:
        process = _server.Process(target=_run, args=(str(folder), output.name, ["--dry-run", *arguments]))
        process.start()
        process.join()
        printed = output.read()
    assert process.exitcode == 0, printed
    return printed


def _run(folder, output, arguments):
    with open(output, "w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.chdir(folder)
    for variable in [variable for variable in os.environ if variable.startswith(FOREIGN)]:
        del os.environ[variable]
    # The command finds its modules in `folder`, where it lies, and not where the tests do.
    sys.path[:] = [path for path in sys.path if "site-packages" in path or path.startswith(sys.base_prefix)]
    sys.argv[:] = ["snakemake", *arguments]
    from snakemake.cli import main

    main()
