"""Measured figures: printed next to their target, and added to bench/RESULTS.md."""

import datetime
import os
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


class Figures:
    """The figures of one benchmark.

    Args:
        command: the command that measures them.
        results: file to append them to.
    """

    def __init__(self, command, results=RESULTS):
        self._command = command
        self._results = results
        self._fell_short = False

    def add(self, claim, figure, *, data, target="", holds=True):
        """Print a figure and append a row to RESULTS.md.

        Args:
            claim: what is measured.
            figure: the measured value.
            data: what it was measured on.
            target: the value to reach, or "" for none.
            holds: whether the figure meets the target.
        """
        verdict = ("holds" if holds else "FALLS SHORT") if target else ""
        print(f"{claim}: {figure}" + (f" (target {target}: {verdict})" if target else ""), flush=True)
        day = datetime.date.today().isoformat()
        cells = (day, machine(), f"`{self._command}`", data, claim, figure, target, verdict)
        with self._results.open("a") as table:
            table.write(f"| {' | '.join(map(str, cells))} |\n")
        self._fell_short |= not holds

    def plot(self, title, unit, points):
        """Draw a bar chart {label: height} above the table in RESULTS.md. It replaces a chart of that title."""
        labels = ", ".join(f'"{label}"' for label in points)
        heights = ", ".join(map(str, points.values()))
        head = f'```mermaid\nxychart-beta\n    title "{title}"\n'
        axes = f'    x-axis [{labels}]\n    y-axis "{unit}" 0 --> {1.1 * max(points.values()):.1f}\n'
        chart = f"{head}{axes}    bar [{heights}]\n```\n"
        text = self._results.read_text()
        before, earlier, after = text.partition(head)
        if earlier:
            text = before + chart + after.partition("```\n")[2]
        else:
            text = text.replace("| date |", f"{chart}\n| date |", 1)
        self._results.write_text(text)

    def finish(self):
        """End the process, with status 1 if a figure misses its target."""
        sys.exit(int(self._fell_short))


def machine():
    """Processor, number of cores that this process may use, and memory."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor[1] if processor else 'unknown'}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GiB"
