"""Content of the report: one typed object with a section for each section of the page.

`build_content` reads the outputs of the rules. The templates in tessera/report/templates render the result. To add a
section, add its type and its builder to a module `*_report.py`, an attribute here, an entry in
`ReportContent.navigation`, and a template in tessera/report/templates/sections, which report.html.j2 includes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet

from tessera.common.batch_outputs import read_skipped
from tessera.common.user_warnings import group_warnings, read_warnings, summarize_warnings
from tessera.report.explanation_report import ExplanationSection, read_explanation
from tessera.report.image_files import SHEET_PX, embed_image, embed_overlay
from tessera.report.model_report import (
    ModelSummary,
    list_domain_shifts,
    model_warnings,
    summarize_model,
)
from tessera.report.report_tables import (
    EngineSummary,
    ScoreSection,
    choose_images,
    columns_of,
    explain_empty_run,
    join_tables,
    list_rows,
    read_table,
    summarize_engines,
    summarize_scores,
)
from tessera.report.run_report import RunSection, summarize_run
from tessera.report.seam_report import SeamSection, seam_warnings, summarize_seams
from tessera.report.split_report import NO_SPLIT, SplitSection, split_warnings, summarize_split
from tessera.report.sweep_report import ModelComparison, compare_models
from tessera.report.tracking_report import MovieSection, summarize_movies
from tessera.settings.sections import ReportSettings


@dataclass(frozen=True)
class ReportInputs:
    """Outputs of other rules that the report reads.

    Attributes:
        metrics: tables of metrics (TSV) of the batches.
        pictures: folders of pictures of the batches.
        objects: tables of objects (Parquet) of the batches.
        images, truth, labels: folders of the batches, read for skipped images and warnings.
        tracks: folders of the batches, with a folder for each movie; empty for the semantic task.
        models: folders of the models.
        sheets: contact sheets of the training patches of the folds.
        split, leakage: tables of rule split; None if nothing was trained.
        selected: file of rule select_model; None if labels were imported.
        explanation: folder of rule explain; None if labels were imported.
        benchmarks: folder of Snakemake's benchmarks; it may be missing.
    """

    metrics: Sequence[Path]
    pictures: Sequence[Path]
    objects: Sequence[Path]
    images: Sequence[Path]
    truth: Sequence[Path]
    labels: Sequence[Path]
    tracks: Sequence[Path]
    models: Sequence[Path]
    sheets: Sequence[Path]
    split: Path | None
    leakage: Path | None
    selected: Path | None
    explanation: Path | None
    benchmarks: Path = Path("benchmarks")


@dataclass(frozen=True)
class PictureSection:
    """Images with outlines.

    Attributes:
        pictures: the row of each image in the table of metrics, with the keys of
            `tessera.report.image_files.embed_overlay`.
        places: {image: its place among them, from 1}.
    """

    pictures: list[dict[str, Any]]
    places: dict[str, int]

    @property
    def any_hatched(self) -> bool:
        """Whether a picture has pixels that nobody annotated."""
        return any(picture["hatched"] for picture in self.pictures)


@dataclass(frozen=True)
class ReportContent:
    """Content of the report.

    Attributes:
        title: title of the page.
        date: when it was made.
        task: "instances" or "semantic".
        classes: names of the classes, background first.
        existing_model: whether an existing model was applied, so that nothing was trained.
        imported_labels: whether labels were imported, so that no network was used.
        warnings: [(text, id of the section with details)].
        n_objects: number of measured objects.
        empty_run: headline and reason if there is no image at all, else None.
        scores: scores of each subset, and the columns of `rows`.
        rows: rows of the table of images, the worst first.
        pictures: images with outlines.
        movies: tracked movies; None if there are none.
        seams: the seam check; None if labels were imported.
        seam_pictures: the pictures of `seams.differences`, keys of `embed_overlay`, or None.
        engines: how images were predicted.
        max_iou_change: largest change of an IoU for which a precision below float32 is used.
        models: the models.
        members: names of the models that predict.
        comparison: comparison of the models; None for a single model.
        sheets: [(fold, contact sheet of its training patches as a data URI)].
        explanation: explanation of the selected model; None if labels were imported.
        domain_shifts: [(image, its differences from the training images)].
        split: the split; None if nothing was trained.
        image_warnings: [(warning, images)] about image files, the most frequent first.
        skipped: {skipped image: reason}.
        run: run times, versions, provenance hashes and settings.
    """

    title: str
    date: str
    task: str
    classes: Sequence[str]
    existing_model: bool
    imported_labels: bool
    warnings: list[tuple[str, str]]
    n_objects: int
    empty_run: tuple[str, str] | None
    scores: ScoreSection
    rows: list[dict[str, Any]]
    pictures: PictureSection
    movies: MovieSection | None
    seams: SeamSection | None
    seam_pictures: list[dict[str, Any] | None]
    engines: list[EngineSummary]
    max_iou_change: float | None
    models: list[ModelSummary]
    members: list[str]
    comparison: ModelComparison | None
    sheets: list[tuple[str, str]]
    explanation: ExplanationSection | None
    domain_shifts: list[tuple[str, list[str]]]
    split: SplitSection | None
    image_warnings: list[tuple[str, list[str]]]
    skipped: dict[str, str]
    run: RunSection

    @property
    def navigation(self) -> list[tuple[str, str]]:
        """[(id, label)] of the sections that the page has."""
        sections = [
            ("summary", "Summary", True),
            ("pictures", "Pictures", True),
            ("scores", "Scores", True),
            ("images", "Images", True),
            ("movies", "Tracking", self.movies),
            ("seams", "Seams", self.seams),
            ("prediction", "Prediction", self.engines),
            ("training", "Model" if self.existing_model else "Training", self.models),
            ("explanation", "Explanation", self.explanation),
            ("domain-shift", "Domain shift", self.domain_shifts),
            ("split", "Split", self.split),
            ("image-warnings", "Warnings", self.image_warnings),
            ("skipped", "Skipped", self.skipped),
            ("run", "Run", True),
        ]
        return [(id_, label) for id_, label, present in sections if present]


def build_content(
    inputs: ReportInputs,
    *,
    settings: ReportSettings,
    config: Mapping[str, Any],
    groups: Mapping[str, str],
    points: Mapping[str, Mapping[str, str]],
    provenance: str,
) -> tuple[ReportContent, pd.DataFrame]:
    """Content of the report, and the table of all images.

    Args:
        inputs: outputs of other rules.
        settings: settings of the report.
        config: the whole configuration.
        groups: {image: its group}; images without a group are not in it.
        points: see `tessera.report.sweep_report.compare_models`.
        provenance: provenance hash of the report.
    """
    config = json.loads(json.dumps(config))  # without the types of Snakemake, which YAML cannot write
    task, classes, ious = config["task"], config["classes"], config["evaluate"]["iou_thresholds"]
    existing, imported = bool(config.get("model")), inputs.selected is None
    table = join_tables(map(read_table, inputs.metrics), groups, columns_of(task, classes))
    split, leaks = (read_table(path) if path else NO_SPLIT for path in (inputs.split, inputs.leakage))
    scores = summarize_scores(table, task, classes, ious)
    folders = {folder.name: folder for batch in inputs.pictures for folder in Path(batch).iterdir()}
    seams = None if imported else summarize_seams(table, task, folders)
    selected = json.loads(Path(inputs.selected).read_text()) if inputs.selected else {"members": []}
    tuning = selected.get("tuning") or {}
    models = [
        summarize_model(folder, existing=existing, tuned=tuning.get(Path(folder).name)) for folder in inputs.models
    ]
    domain_shifts = list_domain_shifts(table)
    skipped = read_skipped([*inputs.images, *inputs.truth, *inputs.labels])
    file_warnings = read_warnings([*inputs.images, *inputs.truth, *inputs.labels])
    movies = summarize_movies(inputs.tracks, table, settings.max_images)
    test_is_scored, trained = bool(scores.subsets["test"].n_scored), not (existing or imported)
    hashes = [("Report", provenance)]
    for model in models:
        named = ("Training", model.provenance), ("Training data", model.training_data)
        hashes += [(f"{what} of {model.name}", value) for what, value in named if value]
    content = ReportContent(
        title=settings.title,
        date=datetime.now().strftime("%d %B %Y, %H:%M"),
        task=task,
        classes=classes,
        existing_model=existing,
        imported_labels=imported,
        warnings=[
            *split_warnings(split, leaks, test_is_scored=test_is_scored, trained=trained),
            *_skipped_warnings(skipped),
            *(seam_warnings(seams) if seams else []),
            *model_warnings(table, models, domain_shifts, existing=existing),
            *summarize_warnings(file_warnings),
        ],
        n_objects=sum(pyarrow.parquet.read_metadata(path).num_rows for path in inputs.objects),
        empty_run=explain_empty_run(table, skipped, read_skipped(inputs.images)),
        scores=scores,
        rows=list_rows(table),
        pictures=_embed_pictures(table, folders, scores.layout.headline, settings.max_images),
        movies=movies if movies.movies else None,
        seams=seams,
        seam_pictures=[embed_overlay(each.folder) if each.folder else None for each in seams.differences]
        if seams
        else [],
        engines=summarize_engines(table),
        max_iou_change=config.get("predict", {}).get("max_precision_iou_change"),
        models=models,
        members=selected["members"],
        comparison=compare_models(models, selected, points),
        sheets=[(Path(path).stem, embed_image(Path(path), SHEET_PX)) for path in inputs.sheets],
        explanation=read_explanation(inputs.explanation) if inputs.explanation else None,
        domain_shifts=domain_shifts,
        split=summarize_split(split, leaks, config["split"]["leakage_similarity"]) if trained else None,
        image_warnings=group_warnings(file_warnings),
        skipped=skipped,
        run=summarize_run(inputs.benchmarks, [model.versions for model in models], hashes, config),
    )
    return content, table


def _skipped_warnings(skipped: Mapping[str, str]) -> list[tuple[str, str]]:
    if not skipped:
        return []
    text = "1 image was skipped." if len(skipped) == 1 else f"{len(skipped)} images were skipped."
    return [(text, "skipped")]


def _embed_pictures(table: pd.DataFrame, folders: Mapping[str, Path], headline: str, limit: int) -> PictureSection:
    rows = {row["image"]: row for row in list_rows(table)}
    chosen = choose_images(table, headline, limit)
    pictures = [embed_overlay(folders[image]) | rows[image] for image in chosen]
    return PictureSection(pictures, {image: place for place, image in enumerate(chosen, start=1)})
