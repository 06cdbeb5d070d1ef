"""How a peer is asked, in a process of its own, and how it answers."""

import json
import os
import re
import sys
from pathlib import Path

CORES = len(os.sched_getaffinity(0))


def answer(run):
    """Call `run` with the arguments that the command line gives as JSON, once for each of its `settings`.

    `run` returns a dict of figures. Prints a list of these as JSON, each with the highest memory of the process so far,
    `peak_mb` (MiB).
    """
    arguments = json.loads(sys.argv[1])
    figures = []
    for settings in arguments.pop("settings"):
        figures.append(run(**arguments, **settings))
        figures[-1]["peak_mb"] = _peak_mb()
    print("\n" + json.dumps(figures), flush=True)


def _peak_mb():
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
