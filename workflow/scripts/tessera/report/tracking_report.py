"""Tracking in the report: a summary of each tracked movie."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tessera.evaluation.tracking_metrics import TRACK_COUNTS, TRACK_SCORES
from tessera.report.image_files import embed_image
from tessera.report.lineage_plots import FIGURES, cycle_lengths, displacements
from tessera.report.track_animation import NAME as ANIMATION
from tessera.tracking.lineage import read_lineage

UNCERTAIN_BELOW = 0.9  # confidence of divisions that are worth checking


@dataclass(frozen=True)
class MovieSummary:
    """A tracked movie.

    Attributes:
        image: name of the movie.
        n_tracks: number of tracks.
        n_divisions: number of divisions.
        n_uncertain: number of divisions with a confidence below UNCERTAIN_BELOW.
        n_gaps: number of gaps that were closed.
        n_filled: number of masks that were interpolated in gaps.
        n_repairs: number of objects that were split or merged.
        cycle_frames: median number of frames from birth to division; None if no complete cell cycle was seen.
        cycle_s: the same in seconds; None if the frame interval is not known.
        displacement: median displacement per frame; None if no cell was linked.
        unit: unit of the displacement.
        figures: {name of FIGURES: data URI}.
        animation: path of the animation relative to the report, or None.
        scores: {name of TRACK_SCORES: score}; {} without ground truth of tracks.
        lacks_true_tracks: whether there is ground truth, but without tracks.
    """

    image: str
    n_tracks: int
    n_divisions: int
    n_uncertain: int
    n_gaps: int
    n_filled: int
    n_repairs: int
    cycle_frames: float | None
    cycle_s: float | None
    displacement: float | None
    unit: str
    figures: dict[str, str]
    animation: str | None
    scores: dict[str, float]
    lacks_true_tracks: bool


@dataclass(frozen=True)
class MovieSection:
    """The tracked movies.

    Attributes:
        movies: summaries of movies.
        n_left_out: number of further movies.
    """

    movies: list[MovieSummary]
    n_left_out: int

    @property
    def without_true_tracks(self) -> list[str]:
        """Names of the movies whose ground truth has no tracks."""
        return [movie.image for movie in self.movies if movie.lacks_true_tracks]


def summarize_movies(folders: Iterable[Path], table: pd.DataFrame, limit: int) -> MovieSection:
    """Summaries of the tracked movies, sorted by name.

    Args:
        folders: folders of the batches of tracks.
        table: table of metrics, a row for each image.
        limit: largest number of movies to summarize.
    """
    movies = sorted(
        (path.parent for folder in folders for path in Path(folder).glob("*/lineage")), key=lambda path: path.name
    )
    scores = table.set_index("image").reindex(columns=[*TRACK_SCORES, TRACK_COUNTS[0], "frames_scored"])
    return MovieSection([_summarize_movie(movie, scores) for movie in movies[:limit]], max(len(movies) - limit, 0))


def _summarize_movie(folder: Path, scores: pd.DataFrame) -> MovieSummary:
    lineage = read_lineage(folder / "lineage")
    cycles, moves = cycle_lengths(lineage), displacements(lineage)
    row: dict[str, float] = {}
    if folder.name in scores.index:
        values = scores.loc[[folder.name]].iloc[0].dropna().astype(float)
        row = dict(zip(map(str, values.index), values.tolist(), strict=True))
    # Movies with true tracks have counts of divisions, even if there was nothing to score.
    has_true_tracks = row.pop(TRACK_COUNTS[0], None) is not None
    is_scored = row.pop("frames_scored", 0) > 0
    cycle = float(np.median(cycles)) if len(cycles) else None
    return MovieSummary(
        image=folder.name,
        n_tracks=len(lineage.tracks),
        n_divisions=len(lineage.divisions),
        n_uncertain=int((lineage.divisions["confidence"] < UNCERTAIN_BELOW).sum()),
        n_gaps=len(lineage.gaps),
        n_filled=int((lineage.nodes["kind"] == "filled").sum()),
        n_repairs=len(lineage.repairs),
        cycle_frames=cycle,
        cycle_s=cycle * lineage.frame_interval_s if cycle and lineage.frame_interval_s else None,
        displacement=float(np.median(moves)) if len(moves) else None,
        unit=lineage.unit,
        figures={name: embed_image(folder / f"{name}.png") for name in FIGURES},
        animation=f"tracks/{folder.parent.name}/{folder.name}/{ANIMATION}" if (folder / ANIMATION).exists() else None,
        scores=row,
        lacks_true_tracks=is_scored and not has_true_tracks,
    )
