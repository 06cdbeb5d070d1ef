"""Scores in the report: the table of images, scores of each subset of the split, and the images to show.

`columns_of` decides which columns of results/metrics.tsv the report shows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from tessera.data.split import PREDICT
from tessera.data.split import SUBSETS as SPLIT_SUBSETS
from tessera.evaluation.segmentation_metrics import Metrics, add_counts, choose_metrics, count_overlaps, percent

SUBSETS = (*reversed(SPLIT_SUBSETS), PREDICT)  # in the order of the report: test first
N_BINS = 20
_CLASS_SCORES = {"iou": "IoU", "dice": "Dice", "precision": "Precision", "recall": "Recall"}
_TEXT_COLUMNS = ("image", "batch", "group", "image_a", "image_b", "fold", "domain_shift", "provenance")


class Column(NamedTuple):
    """A column of the table of images.

    Attributes:
        key: its name in results/metrics.tsv.
        label: its heading.
        kind: how its values are formatted.
    """

    key: str
    label: str
    kind: Literal["text", "number", "score"]


class TableColumns(NamedTuple):
    """The columns of the table of images.

    Attributes:
        columns: all columns, from left to right.
        headline: key of the score that ranks images.
        headline_label: that score in words.
    """

    columns: list[Column]
    headline: str
    headline_label: str


@dataclass(frozen=True)
class SubsetScores:
    """Scores of all images of a subset of the split together, from their summed counts.

    Attributes:
        n_images: number of its images.
        n_scored: number of images with ground truth.
        n_frames: number of frames with ground truth.
        scores: counts and scores of `tessera.evaluation.segmentation_metrics`; {} without ground truth.
    """

    n_images: int
    n_scored: int = 0
    n_frames: int = 0
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreSection:
    """Scores of the run.

    Attributes:
        layout: columns of the table of images.
        subsets: {subset: its scores} in the order of the report.
        best: the subset whose score is the headline of the report: test if it has ground truth; or None.
        histograms: {subset: number of images in each of N_BINS bins of the headline score, from 0 to 1}.
        ap_curves: {subset: [(IoU, average precision)]}; {} for the semantic task and for a single IoU.
        ious: IoU thresholds, ascending.
    """

    layout: TableColumns
    subsets: dict[str, SubsetScores]
    best: str | None
    histograms: dict[str, list[int]]
    ap_curves: dict[str, list[tuple[float, float]]]
    ious: list[float]


class EngineSummary(NamedTuple):
    """How some images were predicted.

    Attributes:
        engine: inference engine, device and precision.
        n_images: number of images.
        iou_change: largest change of an IoU by a precision below float32; None if none was used.
        halo_px: largest halo.
        overlap_cost: mean number of pixels computed per pixel kept.
        n_rescaled: number of images that were rescaled.
    """

    engine: str
    n_images: int
    iou_change: float | None
    halo_px: float
    overlap_cost: float
    n_rescaled: int


def read_table(path: Path) -> pd.DataFrame:
    """A tab-separated table, in which an image may be called NA."""
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXT_COLUMNS, str))


def columns_of(task: str, classes: Sequence[str]) -> TableColumns:
    """The columns of the table of images of a task.

    Args:
        task: "instances" or "semantic".
        classes: names of the classes, background first.
    """
    columns = [Column("image", "Image", "text"), Column("split", "Subset", "text"), Column("group", "Group", "text")]
    columns.append(Column("frames", "Frames", "number"))
    if task == "instances":
        headline, label = "ap_50", "AP at IoU 0.5"
        columns += [Column("objects_truth", "True objects", "number"), Column("objects_found", "Detected", "number")]
        scores = {headline: "AP 0.5", "ap_mean": "AP mean", "panoptic_quality": "PQ", "seg": "SEG"}
        counts = {"splits": "Splits", "merges": "Merges"}
    else:
        headline, label = "iou_mean", "Mean foreground IoU"
        scores = {headline: "Mean IoU"}
        scores |= {f"{kind}_{name}": f"{word} {name}" for kind, word in _CLASS_SCORES.items() for name in classes[1:]}
        counts = {}
    scores["pixel_accuracy"] = "Pixel accuracy"
    columns += [Column(key, text, "score") for key, text in scores.items()]
    columns += [Column(key, text, "number") for key, text in counts.items()]
    return TableColumns(columns, headline, label)


def join_tables(tables: Iterable[pd.DataFrame], groups: Mapping[str, str], layout: TableColumns) -> pd.DataFrame:
    """One table of all images, the worst first, with every column that the report shows.

    Args:
        tables: tables of metrics of the batches.
        groups: {image: its group}.
        layout: columns of the report.
    """
    table = pd.concat(tables, ignore_index=True)
    wanted = [column.key for column in layout.columns if column.key != "group"] + ["frames_scored"]
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *wanted])))
    table.insert(1, "group", table["image"].map(groups))
    return table.sort_values([layout.headline, "image"], na_position="last", ignore_index=True).convert_dtypes()


def summarize_scores(table: pd.DataFrame, task: str, classes: Sequence[str], ious: Sequence[float]) -> ScoreSection:
    """Scores of each subset.

    Args:
        table: table of `join_tables`.
        task: "instances" or "semantic".
        classes: names of the classes, background first.
        ious: IoU thresholds.
    """
    layout = columns_of(task, classes)
    subsets = pool_scores(table, choose_metrics(task, classes, ious))
    scored = [subset for subset in SUBSETS if subsets[subset].n_scored]
    histograms = {subset: histogram(table.loc[table["split"] == subset, layout.headline]) for subset in scored}
    ap_curves = {}
    if task == "instances" and len(ious) > 1:
        ap_curves = {
            subset: [(iou, subsets[subset].scores[f"ap_{percent(iou)}"]) for iou in sorted(ious)] for subset in scored
        }
    columns = [column for column in layout.columns if column.key != "group" or table["group"].notna().any()]
    return ScoreSection(
        layout=layout._replace(columns=columns),
        subsets=subsets,
        best=scored[0] if scored else None,
        histograms=histograms,
        ap_curves=ap_curves,
        ious=sorted(ious),
    )


def pool_scores(table: pd.DataFrame, metrics: Metrics) -> dict[str, SubsetScores]:
    """{subset: scores of all its images together, from their summed counts}."""
    count_names = list(metrics.count(count_overlaps([])))
    pooled = {}
    for subset in SUBSETS:
        rows = table[table["split"] == subset]
        scored = rows[rows["frames_scored"] > 0]
        scores: dict[str, Any] = {}
        if len(scored):
            counts = add_counts(scored[count_names].to_dict("records"))
            scores = counts | metrics.score(counts)
        pooled[subset] = SubsetScores(len(rows), len(scored), int(scored["frames_scored"].sum()), scores)
    return pooled


def list_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary for each row, with None for missing values."""
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


def choose_images(table: pd.DataFrame, headline: str, limit: int) -> list[str]:
    """Names of at most `limit` images to show, equally many of each subset if possible: test first, the worst first."""
    ranked = table.sort_values([headline, "image"], na_position="last")
    ranked = ranked.assign(
        rank=ranked.groupby("split").cumcount(),
        subset=ranked["split"].map({subset: place for place, subset in enumerate(SUBSETS)}),
    )
    chosen = ranked.sort_values(["rank", "subset"]).head(limit)
    return chosen.sort_values(["subset", "rank"])["image"].tolist()


def histogram(scores: pd.Series, bins: int = N_BINS) -> list[int]:
    """Number of scores (images,), from 0 to 1, in each of some equal bins."""
    places = (scores.dropna() * bins).astype(int).clip(0, bins - 1)
    return places.value_counts().reindex(range(bins), fill_value=0).tolist()


def summarize_engines(table: pd.DataFrame) -> list[EngineSummary]:
    """A summary for each engine, device and precision that predicted images of the table."""
    columns = ["image", "engine", "precision_iou_change", "halo_px", "overlap_cost", "scale"]
    return [
        EngineSummary(
            engine=str(engine),
            n_images=len(rows),
            iou_change=max(rows["precision_iou_change"].dropna(), default=None),
            halo_px=rows["halo_px"].max(),
            overlap_cost=rows["overlap_cost"].mean(),
            n_rescaled=int((rows["scale"] != 1).sum()),
        )
        for engine, rows in table.reindex(columns=columns).groupby("engine")
    ]


def explain_empty_run(
    table: pd.DataFrame, skipped: Mapping[str, str], unreadable: Iterable[str]
) -> tuple[str, str] | None:
    """A headline and a reason for a run without any image; None if there are images, or none was skipped.

    Args:
        table: table of metrics.
        skipped: {image: reason} of the skipped images.
        unreadable: the skipped images that could not be read.
    """
    if len(table) or not skipped:
        return None
    headline = "No image could be read" if set(skipped) <= set(unreadable) else "No image could be used"
    others = len(skipped) - 1
    more = f" (and {others} more {'image' if others == 1 else 'images'})" if others else ""
    return headline, next(iter(skipped.values())) + more
