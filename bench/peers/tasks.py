"""Protocol of the scripts of this folder: arguments as JSON on the command line, figures as JSON on stdout."""

import json
import os
import re
import sys
from pathlib import Path

CORES = len(os.sched_getaffinity(0))


def answer(run):
    """Call `run` with the JSON arguments of the command line, once for each of its `settings`.

    `run` returns a dict of figures. `answer` prints a list of them as JSON, each with `peak_mb`, the peak memory of the
    process so far in MiB.
    """
    arguments = json.loads(sys.argv[1])
    figures = []
    for settings in arguments.pop("settings"):
        figures.append(run(**arguments, **settings))
        figures[-1]["peak_mb"] = _peak_mb()
    print("\n" + json.dumps(figures), flush=True)


def _peak_mb():
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
