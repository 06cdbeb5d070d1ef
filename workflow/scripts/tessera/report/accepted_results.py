"""The section of the report that lists accepted results: those that `snakemake --touch` marked as up to date.

It is put into the finished page, because `snakemake --touch` runs no job: it has to update a report that exists.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

START, END = "<!-- accepted results -->", "<!-- end of accepted results -->"


def insert_accepted_results(page: Path, results: Sequence[Mapping[str, str]]) -> None:
    """Replace the list of accepted results in the report.

    Args:
        page: the report. A page without a place for the list stays as it is.
        results: dicts with `results` (what was accepted), `date`, and `differences` (empty if only results before
            them differ), see `tessera.planning.acceptance.list_accepted`.
    """
    html = page.read_text(encoding="utf-8")
    section = _render(results) if results else ""
    changed = re.sub(f"{START}.*?{END}", lambda _: f"{START}{section}{END}", html, flags=re.DOTALL)
    if changed != html:
        page.write_text(changed, encoding="utf-8")


def _render(results: Sequence[Mapping[str, str]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(row['results'])}</td><td>{escape(row['date'])}</td>"
        f"<td>{escape(row['differences'] or 'made from other accepted results')}</td></tr>\n"
        for row in results
    )
    return (
        '\n<section id="accepted-results">\n<h2>Accepted results</h2>\n'
        "<p>These results were accepted with <code>snakemake --touch</code>. They were not made with the code, "
        "settings and inputs that this project has now. Their records in <code>results/provenance</code> keep what "
        "they were made from.</p>\n"
        "<table>\n<thead><tr><th>Results</th><th>Accepted on</th><th>What differed</th></tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n</section>\n"
    )
