"""Figures that back a claim: printed beside their target, and added to bench/RESULTS.md."""

import datetime
import os
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


class Figures:
    """The figures of one benchmark.

    Args:
        command: what a user types to have them measured again.
        results: file to add them to.
    """

    def __init__(self, command, results=RESULTS):
        self._command = command
        self._results = results
        self._fell_short = False

    def add(self, claim, figure, *, data, target="", holds=True):
        """Print a figure and add its line to RESULTS.md; `holds` says whether it meets `target`."""
        verdict = ("holds" if holds else "FALLS SHORT") if target else ""
        print(f"{claim}: {figure}" + (f" (target {target}: {verdict})" if target else ""), flush=True)
        day = datetime.date.today().isoformat()
        cells = (day, machine(), f"`{self._command}`", data, claim, figure, target, verdict)
        with self._results.open("a") as table:
            table.write(f"| {' | '.join(map(str, cells))} |\n")
        self._fell_short |= not holds

    def plot(self, title, unit, points):
        """Draw bars {label: height} above the table in RESULTS.md, in place of those of the same title."""
        labels = ", ".join(f'"{label}"' for label in points)
        heights = ", ".join(map(str, points.values()))
        head = f'```mermaid\nxychart-beta\n    title "{title}"\n'
        axes = f'    x-axis [{labels}]\n    y-axis "{unit}" 0 --> {1.1 * max(points.values()):.1f}\n'
        drawn = f"{head}{axes}    bar [{heights}]\n```\n"
        text = self._results.read_text()
        before, found, after = text.partition(head)
        if found:
            text = before + drawn + after.partition("```\n")[2]
        else:
            text = text.replace("| date |", f"{drawn}\n| date |", 1)
        self._results.write_text(text)

    def finish(self):
        """End the process, with status 1 where a figure fell short of its target."""
        sys.exit(int(self._fell_short))


def machine():
    """Processor, cores that this process may use, and memory."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor[1] if processor else 'unknown'}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GiB"
