"""Metrics of tracks against ground truth, computed with the libraries of the field.

TRA, DET and LNK are those of the Cell Tracking Challenge (Matula et al. 2015), CHOTA is that of Kaiser et al. 2024, BIO
and complete tracks are those of Ulman et al. 2017; all are computed by py-ctcmetrics. BIO tolerates divisions that are
one frame off. Target effectiveness and the F1 of divisions, in their frame and with a tolerance of one frame, are
computed by traccuracy.

To add a column to results/metrics.tsv, add its name to TRACK_SCORES or TRACK_COUNTS and its value to `score_tracks`.
"""

import contextlib
import io
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import tifffile
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.run_length import count_shared_pixels
from tessera.io.ome_zarr_store import open_array, read_block, read_metadata
from tessera.io.region_of_interest import clip_to_roi
from tessera.tracking.lineage import read_lineage

TRACK_SCORES = ("tra", "det", "lnk", "chota", "bio", "te", "complete_tracks", "division_f1", "division_f1_shifted")
TRACK_COUNTS = ("divisions_truth", "divisions_found", "divisions_right", "divisions_right_shifted")
_CTC_MEASURES = ["CHOTA", "DET", "TRA", "LNK", "CT", "TF", "BC", "CCA"]
_CTC_NAMES = {"tra": "TRA", "det": "DET", "lnk": "LNK", "chota": "CHOTA", "bio": "BIO(1)", "complete_tracks": "CT"}

Frames = Iterable[tuple[NDArray[Any], NDArray[Any]]]
TrackRows = Sequence[Sequence[int]]  # [track, first, last, parent] of each track without gaps, as in man_track.txt


def score_movie(folder: Path, truth: Path | None, *, roi: tuple[int, int, int, int] | None = None) -> dict[str, Any]:
    """Scores of the tracks of a movie, those of `score_tracks`; {} if the ground truth has no tracks.

    Ground truth of single frames tells where cells are, but not which is which. It is left to
    `tessera.evaluation.segmentation_metrics`.

    Args:
        folder: folder of the movie's tracks, with a Cell Tracking Challenge folder in it; it may be missing.
        truth: store of the ground truth, or None.
        roi: region of interest (y0, y1, x0, x1), or None for the whole plane. Frames that were not tracked do not count
            either.

    Raises:
        InputError: tracks and ground truth differ in their number of frames.
    """
    challenge = folder / "challenge"
    if truth is None or not challenge.is_dir():
        return {}
    tracks = read_metadata(truth).extra.get("lineage")
    if tracks is None:
        return {}
    lineage = read_lineage(folder / "lineage")
    reference, masks = open_array(truth), sorted(challenge.glob("mask*.tif"))
    if lineage.frames != reference.shape[0]:
        raise InputError(
            f"{folder}: has {lineage.frames} frames, {truth} has {reference.shape[0]}; remove the older folder"
        )
    height, width = reference.shape[-2:]
    inside = clip_to_roi(roi, (slice(0, height), slice(0, width)))
    if inside is None:
        return {}
    frames = (
        (read_block(reference, (t, 0, slice(None), *inside)), mask.reshape(reference.shape[2:])[:, *inside])
        for t, mask in zip(lineage.tracked, map(tifffile.imread, masks), strict=True)
    )
    lines = (challenge / "res_track.txt").read_text().splitlines()
    return score_tracks(frames, tracks, [list(map(int, line.split())) for line in lines])


def score_tracks(frames: Frames, true_tracks: TrackRows, found_tracks: TrackRows) -> dict[str, Any]:
    """Scores of tracks against the true tracks; the module's docstring names their sources.

    Args:
        frames: pairs (truth, labels) of arrays (z, y, x) of each frame, whose ids are those of the tracks.
        true_tracks: [track, first, last, parent] of each true track without gaps, as in man_track.txt.
        found_tracks: the same for the tracks to score.

    Returns:
        {name: number} of TRACK_SCORES and TRACK_COUNTS; NaN where there is nothing to score. Without true tracks, all
        scores but the F1 of divisions are NaN: TRA, DET and LNK compare the corrections that the tracks need with the
        cost of making the true tracks from nothing, which is 0, and the others are shares of the true tracks.
    """
    matches, pairs = _match_frames(frames)
    true_table = _clip_tracks(true_tracks, matches["labels_ref"])
    found_table = _clip_tracks(found_tracks, matches["labels_comp"])
    scores: dict[str, Any] = dict.fromkeys(TRACK_SCORES, np.nan) | dict.fromkeys(TRACK_COUNTS, 0)
    if not len(true_table):
        _, children = np.unique(found_table[found_table[:, 3] > 0, 3], return_counts=True)
        scores["divisions_found"] = int((children > 1).sum())
        return scores | division_scores(scores)
    # Importing traccuracy and ctc_metrics takes seconds, and most images have no tracks to score.
    with _without_compiling():
        from traccuracy import TrackingGraph

    true_graph = TrackingGraph(_build_graph(matches["labels_ref"], true_table))
    found_graph = TrackingGraph(_build_graph(matches["labels_comp"], found_table))
    scores["divisions_truth"] = len(true_graph.get_divisions())
    scores["divisions_found"] = len(found_graph.get_divisions())
    if not pairs:
        return scores | dict.fromkeys(("tra", "det", "lnk", "chota", "bio", "te", "complete_tracks"), 0.0)
    scores |= _score_challenge(true_table, found_table, matches)
    if not true_graph.edges:
        scores["lnk"] = np.nan
    scores |= _score_graphs(true_graph, found_graph, pairs)
    return scores | division_scores(scores)


def division_scores(counts: Mapping[str, float]) -> dict[str, float]:
    """F1 of divisions from (sums of) TRACK_COUNTS; NaN if there are no divisions, true or found."""
    total = counts["divisions_truth"] + counts["divisions_found"]
    names = {"division_f1": "divisions_right", "division_f1_shifted": "divisions_right_shifted"}
    return {score: 2 * counts[correct] / total if total else np.nan for score, correct in names.items()}


def _match_frames(frames: Frames) -> tuple[dict[str, list[Any]], list[tuple[tuple[int, int], tuple[int, int]]]]:
    """Compare the masks of all frames.

    Returns:
        Columns for py-ctcmetrics, a list for each frame: ids, ids of matches (more than half of a true mask covered)
        and their IoU; and pairs ((true id, t), (found id, t)) of masks with an IoU above 0.5, for traccuracy.
    """
    matches: dict[str, list[Any]] = {
        name: [] for name in ("labels_ref", "labels_comp", "mapped_ref", "mapped_comp", "ious")
    }
    pairs = []
    for t, (truth, labels) in enumerate(frames):
        true_ids, label_ids, pixels = count_shared_pixels(truth, labels)
        (all_true, true_sizes), (all_labels, label_sizes) = (_measure_sizes(ids) for ids in (truth, labels))
        true_size = true_sizes[np.searchsorted(all_true, true_ids)]
        label_size = label_sizes[np.searchsorted(all_labels, label_ids)]
        ious = pixels / (true_size + label_size - pixels)
        covered = pixels > 0.5 * true_size
        columns = (all_true, all_labels, true_ids[covered], label_ids[covered], ious[covered])
        for column, values in zip(matches.values(), columns, strict=True):
            column.append(values.tolist())
        alike = ious > 0.5
        pairs += [((int(a), t), (int(b), t)) for a, b in zip(true_ids[alike], label_ids[alike], strict=True)]
    return matches, pairs


def _score_challenge(
    true_table: NDArray[np.int_], found_table: NDArray[np.int_], matches: dict[str, list[Any]]
) -> dict[str, float]:
    """The scores of py-ctcmetrics, of which NaN stands for those that do not apply."""
    from ctc_metrics.scripts.evaluate import calculate_metrics

    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        results = calculate_metrics(found_table, true_table, matches, {}, list(_CTC_MEASURES), 1)
    return {name: np.nan if results.get(key) is None else float(results[key]) for name, key in _CTC_NAMES.items()}


def _score_graphs(true_graph: Any, found_graph: Any, pairs: list[Any]) -> dict[str, Any]:
    """Target effectiveness and numbers of correct divisions, by traccuracy."""
    from traccuracy.matchers import Matched
    from traccuracy.metrics import DivisionMetrics, TrackOverlapMetrics

    matched = Matched(true_graph, found_graph, pairs, {"name": "IoU above 0.5", "matching type": "one-to-one"})
    with _quiet("traccuracy"):
        overlap = TrackOverlapMetrics()._compute(matched)
        divisions = DivisionMetrics(max_frame_buffer=1)._compute(matched)
    return {
        "te": float(overlap["target_effectiveness"]),
        "divisions_right": divisions["Frame Buffer 0"]["True Positive Divisions"],
        "divisions_right_shifted": divisions["Frame Buffer 1"]["True Positive Divisions"],
    }


@contextlib.contextmanager
def _without_compiling() -> Iterator[None]:
    """Let numba compile nothing within the block.

    traccuracy compiles the overlap of boxes when it is imported, which takes four seconds. No score here uses it.
    """
    import numba

    disabled = numba.config.DISABLE_JIT
    numba.config.DISABLE_JIT = True
    try:
        yield
    finally:
        numba.config.DISABLE_JIT = disabled


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let a library log nothing below an error within the block."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _clip_tracks(tracks: TrackRows, labels: Sequence[Sequence[int]]) -> NDArray[np.int_]:
    """The table of tracks (tracks, 4) with the frames in which each has a mask; tracks without any are left out.

    Args:
        tracks: [track, first, last, parent] of each track.
        labels: the ids in each frame.
    """
    spans: dict[int, tuple[int, int]] = {}
    for t, ids in enumerate(labels):
        for label in ids:
            spans[label] = (spans.get(label, (t, t))[0], t)
    rows = [
        (track, *spans[track], parent if parent in spans else 0) for track, _, _, parent in tracks if track in spans
    ]
    rows = [(*row[:3], row[3] if row[3] and spans[row[3]][1] < row[1] else 0) for row in rows]
    return np.array(rows, int).reshape(-1, 4)


def _measure_sizes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    ids, sizes = np.unique(labels, return_counts=True)
    return ids[ids > 0], sizes[ids > 0]


def _build_graph(labels: Sequence[Sequence[int]], tracks: NDArray[np.int_]) -> nx.DiGraph:
    """A graph with a node (track, t) for each id in each frame."""
    graph = nx.DiGraph()
    for t, ids in enumerate(labels):
        graph.add_nodes_from(((label, t), {"t": t, "x": 0, "y": 0, "segmentation_id": label}) for label in ids)
    last_frames = {track: last for track, _, last, _ in tracks.tolist()}
    for track, first, last, parent in tracks.tolist():
        frames = [t for t in range(first, last + 1) if (track, t) in graph]
        graph.add_edges_from(((track, t), (track, following)) for t, following in itertools.pairwise(frames))
        if parent:
            graph.add_edge((parent, last_frames[parent]), (track, first))
    return graph
