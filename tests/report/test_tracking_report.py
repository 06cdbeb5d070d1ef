"""Summaries of tracked movies, computed by hand."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tessera.report.lineage_plots import FIGURES
from tessera.report.tracking_report import summarize_movies
from tessera.tracking.lineage import TABLES, Lineage, list_tracks, make_table, with_types, write_lineage


@pytest.fixture
def tracks(tmp_path):
    """Tracks of the movie "film": one cell in four frames, 1, 2 and 4 pixels apart, missed in none."""
    folder = tmp_path / "tracks" / "film"
    nodes = [
        {"track": 1, "t": t, "label": 1, "z": 0, "y": 9, "x": x, "pixels": 4, "kind": "filled" if t == 2 else "found"}
        for t, x in enumerate((0, 1, 3, 7))
    ]
    nodes = with_types(pd.DataFrame(nodes), "nodes")
    empty = {name: make_table(name, []) for name in TABLES if name not in ("nodes", "tracks")}
    write_lineage(Lineage(nodes, list_tracks(nodes, {}), **empty, frames=4, tracked=[0, 1, 2, 3]), folder / "lineage")
    for name in FIGURES:
        Image.new("RGB", (20, 10)).save(folder / f"{name}.png")
    return tmp_path / "tracks"


def test_a_movie_is_summarized(tracks):
    section = summarize_movies([tracks], pd.DataFrame({"image": ["film"]}), 5)
    (movie,) = section.movies
    assert (movie.image, movie.n_tracks, movie.n_divisions, movie.n_gaps, movie.n_filled) == ("film", 1, 0, 0, 1)
    assert (movie.displacement, movie.cycle_frames, movie.animation) == (2, None, None)
    assert all(figure.startswith("data:image/png") for figure in movie.figures.values())


@pytest.mark.parametrize(
    ("columns", "scores", "lacks"),
    [
        ({"frames_scored": 4}, {}, True),
        ({"frames_scored": 0}, {}, False),
        ({"frames_scored": 4, "divisions_truth": 0, "tra": 0.75, "lnk": np.nan}, {"tra": 0.75}, False),
    ],
)
def test_scores_are_those_of_the_table_and_ground_truth_without_tracks_is_noticed(tracks, columns, scores, lacks):
    (movie,) = summarize_movies([tracks], pd.DataFrame([{"image": "film"} | columns]), 5).movies
    assert movie.scores == scores
    assert movie.lacks_true_tracks == lacks


def test_further_movies_are_counted(tracks):
    section = summarize_movies([tracks], pd.DataFrame({"image": ["film"]}), 0)
    assert (section.movies, section.n_left_out) == ([], 1)
