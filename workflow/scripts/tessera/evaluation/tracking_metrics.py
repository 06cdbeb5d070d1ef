"""Associations: how well tracks agree with true ones, by the measures and libraries of the field."""

import contextlib
import io
import itertools
import logging

import networkx as nx
import numpy as np
import tifffile

from tessera.common.errors import InputError
from tessera.common.run_length import count_shared_pixels
from tessera.io.ome_zarr_store import open_array, read_block, read_metadata
from tessera.io.region_of_interest import clip_to_roi
from tessera.tracking.lineage import read_lineage

SCORES = ("tra", "det", "lnk", "chota", "bio", "te", "complete_tracks", "division_f1", "division_f1_shifted")
COUNTS = ("divisions_truth", "divisions_found", "divisions_right", "divisions_right_shifted")
MEASURES = ["CHOTA", "DET", "TRA", "LNK", "CT", "TF", "BC", "CCA"]


def score_movie(folder, truth, *, roi=None):
    """Scores of the tracks of a movie, those of `score_tracks`; {} where the truth does not come with tracks.

    Truth of some frames alone says which cells are there, not which is which, and is left to the scores of labels.

    Args:
        folder: of the movie's tracks, with a Cell Tracking Challenge folder in it; it may be missing.
        truth: path of the store of truth, or None.
        roi: (y0, y1, x0, x1) that was looked at, or None: all. Frames that were not tracked count nowhere either.

    Raises:
        InputError: the two are not of the same movie.
    """
    challenge = folder / "challenge"
    tracks = read_metadata(truth).extra.get("lineage") if truth and challenge.is_dir() else None
    if not tracks:
        return {}
    lineage = read_lineage(folder / "lineage")
    reference, masks = open_array(truth), sorted(challenge.glob("mask*.tif"))
    if lineage.frames != reference.shape[0]:
        raise InputError(
            f"{folder}: is of {lineage.frames} frames, {truth} of {reference.shape[0]}; remove the older folder"
        )
    inside = clip_to_roi(roi, tuple(slice(0, side) for side in reference.shape[-2:]))
    frames = (
        (read_block(reference, (t, 0, slice(None), *inside)), mask.reshape(reference.shape[2:])[:, *inside])
        for t, mask in zip(lineage.tracked, map(tifffile.imread, masks), strict=True)
    )
    lines = (challenge / "res_track.txt").read_text().splitlines()
    return score_tracks(frames, tracks, [list(map(int, line.split())) for line in lines])


def score_tracks(frames, true_tracks, found_tracks):
    """Scores of tracks against true ones.

    TRA, DET and LNK are those of the Cell Tracking Challenge (Matula et al. 2015), CHOTA that of Kaiser et al. 2024,
    BIO and complete tracks those of Ulman et al. 2017, by py-ctcmetrics; BIO allows divisions to be a frame off. Target
    effectiveness and the F1 of divisions, at their frame and with one frame of tolerance, are those of traccuracy.

    Args:
        frames: pairs (true, found) of label arrays (z, y, x) of each frame, with the ids of tracks.
        true_tracks, found_tracks: [track, first, last, parent] of each track without gaps, as in man_track.txt.

    Returns:
        {name: number} of SCORES and COUNTS; NaN where there is nothing to score.
    """
    # Both compile code when they are imported, for seconds: most images have no tracks to score.
    from ctc_metrics.scripts.evaluate import calculate_metrics
    from traccuracy import TrackingGraph
    from traccuracy.matchers import Matched
    from traccuracy.metrics import DivisionMetrics, TrackOverlapMetrics

    matches = {name: [] for name in ("labels_ref", "labels_comp", "mapped_ref", "mapped_comp", "ious")}
    alike = []
    for t, (true, found) in enumerate(frames):
        one, two, pixels = count_shared_pixels(true, found)
        (of_true, true_sizes), (of_found, found_sizes) = (_sizes(labels) for labels in (true, found))
        sizes = true_sizes[np.searchsorted(of_true, one)], found_sizes[np.searchsorted(of_found, two)]
        ious = pixels / (sizes[0] + sizes[1] - pixels)
        covered = pixels > 0.5 * sizes[0]
        columns = (of_true, of_found, one[covered], two[covered], ious[covered])
        for column, values in zip(matches.values(), columns, strict=True):
            column.append(values.tolist())
        alike += [((int(a), t), (int(b), t)) for a, b in zip(one[ious > 0.5], two[ious > 0.5], strict=True)]
    tables = [
        _observed(*pair) for pair in ((true_tracks, matches["labels_ref"]), (found_tracks, matches["labels_comp"]))
    ]
    scores = dict.fromkeys(SCORES, np.nan) | dict.fromkeys(COUNTS, 0)
    if not len(tables[0]):
        return scores
    graphs = [
        TrackingGraph(_graph(labels, table))
        for labels, table in zip((matches["labels_ref"], matches["labels_comp"]), tables, strict=True)
    ]
    scores["divisions_truth"], scores["divisions_found"] = (len(graph.get_divisions()) for graph in graphs)
    if not alike:
        return scores | dict.fromkeys(("tra", "det", "lnk", "chota", "bio", "te", "complete_tracks"), 0.0)
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        found = calculate_metrics(tables[1], tables[0], matches, {}, list(MEASURES), 1)
    named = {"tra": "TRA", "det": "DET", "lnk": "LNK", "chota": "CHOTA", "bio": "BIO(1)", "complete_tracks": "CT"}
    scores |= {name: np.nan if found.get(key) is None else float(found[key]) for name, key in named.items()}
    if not graphs[0].edges:
        scores["lnk"] = np.nan
    matched = Matched(*graphs, alike, {"name": "IoU above 0.5", "matching type": "one-to-one"})
    logger = logging.getLogger("traccuracy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        overlap = TrackOverlapMetrics()._compute(matched)
        divisions = DivisionMetrics(max_frame_buffer=1)._compute(matched)
    finally:
        logger.setLevel(level)
    scores["te"] = float(overlap["target_effectiveness"])
    scores["divisions_right"] = divisions["Frame Buffer 0"]["True Positive Divisions"]
    scores["divisions_right_shifted"] = divisions["Frame Buffer 1"]["True Positive Divisions"]
    return scores | division_scores(scores)


def division_scores(counts):
    """F1 of divisions from (sums of) COUNTS, NaN where there are none, true or found."""
    both = counts["divisions_truth"] + counts["divisions_found"]
    names = {"division_f1": "divisions_right", "division_f1_shifted": "divisions_right_shifted"}
    return {score: 2 * counts[right] / both if both else np.nan for score, right in names.items()}


def _observed(tracks, labels):
    """The table of tracks (tracks, 4) with the frames in which they are seen, without those that are in none."""
    spans = {}
    for t, ids in enumerate(labels):
        for label in ids:
            spans[label] = (spans.get(label, (t, t))[0], t)
    rows = [
        (track, *spans[track], parent if parent in spans else 0) for track, _, _, parent in tracks if track in spans
    ]
    rows = [(*row[:3], row[3] if row[3] and spans[row[3]][1] < row[1] else 0) for row in rows]
    return np.array(rows, int).reshape(-1, 4)


def _sizes(labels):
    ids, sizes = np.unique(labels, return_counts=True)
    return ids[ids > 0], sizes[ids > 0]


def _graph(labels, tracks):
    """A graph with a node (track, t) for each id in each frame."""
    graph = nx.DiGraph()
    for t, ids in enumerate(labels):
        graph.add_nodes_from(((label, t), {"t": t, "x": 0, "y": 0, "segmentation_id": label}) for label in ids)
    last = {track: end for track, _, end, _ in tracks.tolist()}
    for track, first, end, parent in tracks.tolist():
        seen = [t for t in range(first, end + 1) if (track, t) in graph]
        graph.add_edges_from(((track, one), (track, two)) for one, two in itertools.pairwise(seen))
        if parent:
            graph.add_edge((parent, last[parent]), (track, first))
    return graph
