"""Write the report: scores, images, training, split, run times and settings on one page.

Reads the small outputs of every rule; writes results/report.html, which needs no other file, and results/metrics.tsv, a
row for each image.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tessera.common.job import running
from tessera.common.user_warnings import WARNINGS_SHOWN
from tessera.report.accepted_results import insert_accepted_results
from tessera.report.html_report import render_html
from tessera.report.overlay_images import LABEL_COLORS, TRUTH_COLORS
from tessera.report.report_content import ReportInputs, build_content
from tessera.report.wording import count_nouns
from tessera.settings.sections import ReportSettings

logger = logging.getLogger(__name__)


def report(
    inputs: ReportInputs,
    *,
    page: Path,
    table: Path,
    settings: ReportSettings,
    config: Mapping[str, Any],
    groups: Mapping[str, str],
    points: Mapping[str, Mapping[str, str]],
    provenance: str,
) -> None:
    """Write the page and the table of all images.

    Args:
        inputs: outputs of other rules.
        page: the page to write.
        table: the table of metrics to write.
        settings: settings of the report.
        config: the whole configuration.
        groups: {image: its group}; images without a group are not in it.
        points: {variant: {axis of the sweep: its value}}; empty without a sweep.
        provenance: provenance hash of the report.
    """
    content, rows = build_content(
        inputs, settings=settings, config=config, groups=groups, points=points, provenance=provenance
    )
    rows.to_csv(table, sep="\t", index=False, float_format="%.8g")
    options = {"truth_colors": TRUTH_COLORS, "label_colors": LABEL_COLORS, "max_image_warnings": WARNINGS_SHOWN}
    html = render_html("report.html.j2", report=content, **options)
    Path(page).write_text(html, encoding="utf-8")
    counts = f"{count_nouns(len(rows), 'image')}, {count_nouns(len(content.pictures.pictures), 'picture')}"
    logger.info(f"{page}: {': '.join(content.empty_run) if content.empty_run else counts}")


if __name__ == "__main__":
    with running(snakemake):
        files = snakemake.input
        lists = ("metrics", "pictures", "objects", "images", "truth", "labels", "tracks", "models", "sheets")
        report(
            ReportInputs(
                **{name: [Path(path) for path in files[name]] for name in lists},
                **{name: Path(files[name]) if files[name] else None for name in ("split", "leakage", "selected")},
                explanation=Path(files.explanation) if files.explanation else None,
            ),
            page=Path(snakemake.output.report),
            table=Path(snakemake.output.metrics),
            settings=ReportSettings.model_validate(snakemake.params.settings),
            config=snakemake.config,
            groups=snakemake.params.groups,
            points=snakemake.params.points,
            provenance=snakemake.params.provenance,
        )
        insert_accepted_results(Path(snakemake.output.report), snakemake.params.accepted)
