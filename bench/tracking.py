"""make bench-tracking: links and divisions on simulated movies of many kinds, true and degraded masks; speed.

All movies are tracked with the same, automatic settings. A: true masks with shuffled ids. B: masks with segmentation
errors, see `peers/movies.py`. B is scored with and without interpolated masks of missed cells, and then with and
without links over gaps, since ground truth without missed cells has no such links. Perfect links of the same masks
give the upper limit. A is also tracked with markers instead of masks, and with cells that round up before mitosis.
laptrack links the centers of the same detections, with the best of a few distances for all movies. The movies of
`peers/other_movies.py` (rods, stacks and others) are tracked with the same settings.
"""

import argparse
import math
import resource
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from figures import Figures
from peers.movies import KINDS, NO_DIVISIONS, degrade, make_movie, mark, round_up, shuffle
from peers.other_movies import OTHERS, make_other
from processes import ask, python_with

# The scripts' own folder, as Snakemake puts it there.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from tessera.evaluation.tracking_metrics import division_scores, score_tracks
from tessera.settings.sections import TrackSettings
from tessera.tracking.detections import Detections, FrameOverlaps, detect
from tessera.tracking.lineage import number_tracks
from tessera.tracking.mask_interpolation import TrackLabels
from tessera.tracking.tracker import track_detections

WORK = Path(__file__).resolve().parent / "work"
CUTOFFS_PX = (10, 15, 25, 40)  # distances that laptrack is tried with
COUNTS = ("divisions_truth", "divisions_found", "divisions_right", "divisions_right_shifted")
MASK_VARIANTS = ("A, markers instead of masks", "A, cells that round up before mitosis")
MAX_LAPTRACK_OBJECTS, LAPTRACK_FRAMES = 10_000, 5  # laptrack takes minutes for more
REPEATS = 3  # the fastest counts, since machines are noisy
# {objects per frame: (frames, largest number of milliseconds per frame)}; motion is learned once for a movie.
SPEEDS = {50: (100, 5), 1_000: (50, None), 10_000: (25, 25), 100_000: (12, 300)}


def list_tracks(frames, parents, bridged=True):
    """Frames with new ids, and [track, first, last, parent] of tracks without gaps.

    The part of a track after a gap is an only child if `bridged`, else it has no parent.
    """
    rows, now, renamed = [], {}, []
    for t, frame in enumerate(frames):
        lut = np.zeros(int(frame.max(initial=0)) + 1, int)
        for label in np.unique(frame[frame > 0]).tolist():
            at = now.get(label)
            if at is None or rows[at][2] < t - 1:
                parent = (at + 1) * bridged if at is not None else now.get(parents.get(label), -1) + 1
                now[label] = len(rows)
                rows.append([len(rows) + 1, t, t, parent])
            rows[now[label]][2] = t
            lut[label] = now[label] + 1
        renamed.append(lut[frame])
    return renamed, rows


def as_stack(frame):
    """Labels (y, x) as (z, y, x); a stack is returned unchanged."""
    return frame.reshape(-1, *frame.shape[-2:])


def track(movie, fill):
    """Labels with track ids, {daughter: mother}."""
    movie = [as_stack(frame) for frame in movie]
    detections = detect((frame, None) for frame in movie)
    decided = track_detections(detections, TrackSettings())
    tracks = number_tracks(detections, decided)
    track_labels = TrackLabels(detections, decided, tracks, lambda t, region: movie[t][region], interpolate_gaps=fill)
    labels = [track_labels.frame(t, frame, np.int32) for t, frame in enumerate(movie)]
    mothers = np.flatnonzero(decided.mother >= 0)
    return labels, {int(tracks[row]): int(tracks[decided.mother[row]]) for row in mothers}


def link_perfectly(movie, seen):
    """Objects of a movie with errors, each with the id of the true cell that covers most of it."""
    labels = []
    for truth, frame in zip(movie, seen, strict=True):
        here = (frame > 0) & (truth > 0)
        shared = np.zeros((frame.max() + 1, truth.max() + 1), int)
        np.add.at(shared, (frame[here], truth[here]), 1)
        labels.append(np.where(frame > 0, shared.argmax(1)[frame], 0)[None])
    return labels


def score(movie, parents, labels, found_parents, bridged=True):
    truth, true_tracks = list_tracks([as_stack(frame) for frame in movie], parents)
    found, found_tracks = list_tracks(labels, found_parents, bridged)
    return score_tracks(zip(truth, found, strict=True), true_tracks, found_tracks)


def link_by_laptrack(movies):
    """{cutoff: {name: scores}} for CUTOFFS_PX, of movies {name: [(kind, frames, parents, labels), ...]}."""
    folder = WORK / "linking"
    folder.mkdir(parents=True, exist_ok=True)
    settings, tables = [], []
    for name, each in movies.items():
        for number, (_, _, _, seen) in enumerate(each):
            detections = detect((frame[None], None) for frame in seen)
            path = folder / f"{name}{number}.npz"
            np.savez(path, frame=detections.frames, y=detections.centers[:, 1], x=detections.centers[:, 2])
            settings += [{"points": path, "cutoff_px": cutoff} for cutoff in CUTOFFS_PX]
            tables.append((name, each[number], detections))
    answers = ask("linking", settings=settings, python=python_with("linking.txt", WORK / "peers-linking"))
    rows = {cutoff: {name: [] for name in movies} for cutoff in CUTOFFS_PX}
    for place, (name, (kind, movie, parents, seen), detections) in enumerate(tables):
        for cutoff, found in zip(CUTOFFS_PX, answers[place * len(CUTOFFS_PX) :], strict=False):
            labels = [np.zeros((1, *frame.shape), int) for frame in seen]
            for t, frame in enumerate(seen):
                lut = np.zeros(int(frame.max()) + 1, int)
                rows_of = detections.frame_slice(t)
                lut[detections.labels[rows_of]] = 1 + np.array(found["tracks"][rows_of], int)
                labels[t][0] = lut[frame]
            mothers = {child + 1: parent + 1 for parent, child in found["splits"]}
            rows[cutoff][name].append({"kind": kind} | score(movie, parents, labels, mothers))
    return rows


def score_others(seeds):
    """{figure: scores} of the movies of `peers/other_movies.py`."""
    rows = defaultdict(list)
    for kind in OTHERS:
        for seed in range(seeds):
            movie, parents = make_other(kind, seed)
            seen = {"A": movie} | ({"B, filled": degrade(movie, seed)} if movie[0].ndim == 2 else {})
            for name, masks in seen.items():
                scores = score(movie, parents, *track(shuffle(masks, seed), True))
                rows[f"{name}, {kind}"].append(scores)
                summary = ", ".join(f"{key} {scores[key]:.4f}" for key in ("lnk", "chota", "tra", "division_f1"))
                print(f"{name}, {kind} {seed}: {summary}", flush=True)
    return rows


def means(rows):
    """Mean LNK, CHOTA and TRA, and the F1 of the divisions of all movies together."""
    found = {key: float(np.mean([row[key] for row in rows])) for key in ("lnk", "chota", "tra")}
    return found | division_scores({key: sum(row[key] for row in rows) for key in COUNTS})


def simulate_detections(count, frames=12, seed=0):
    """Detections of a grid of objects that move and grow; 1 % divide and 1 % are missed in each frame."""
    rng, side = np.random.default_rng(seed), 20 * math.ceil(math.sqrt(count))
    grid = np.stack(np.meshgrid(*[np.arange(10.0, side, 20)] * 2), -1).reshape(-1, 2)[:count]
    places, sizes, parts = grid + rng.normal(0, 3, grid.shape), rng.lognormal(5, 0.25, count), []
    for t in range(frames):
        places, sizes = places + rng.normal(0, 1.5, places.shape), sizes * rng.lognormal(0.01, 0.05, len(sizes))
        divides = (rng.random(len(places)) < 0.01) & (t > 0)
        apart = rng.normal(0, 4, (divides.sum(), 2))
        places = np.concatenate([places[~divides], places[divides] + apart, places[divides] - apart])
        sizes = np.concatenate([sizes[~divides], sizes[divides] / 2, sizes[divides] / 2])
        seen = rng.random(len(places)) > 0.01
        parts.append((places[seen], sizes[seen]))
    starts = np.concatenate([[0], np.cumsum([len(sizes) for _, sizes in parts])])
    places, sizes = (np.concatenate(column) for column in zip(*parts, strict=True))
    nothing = (np.zeros(0, int),) * 3
    return Detections(
        frame_starts=starts,
        labels=np.concatenate([np.arange(1, last - first + 1) for first, last in pairwise(starts)]),
        centers=np.column_stack([np.zeros(len(sizes)), places]),
        sizes=sizes,
        intensities=np.full(len(sizes), np.nan),
        elongations=np.full((len(sizes), 2), np.nan),
        boxes=np.zeros((len(sizes), 6), np.int32),
        touches_border=((places < 10) | (places > side - 10)).any(1),
        drifts=np.zeros((frames, 3)),
        overlaps=[FrameOverlaps(*nothing)] * (frames - 1),
        voxel_size=np.ones(3),
        frame_shape=(1, side, side),
    )


def measure_speed(figures):
    """Add the CPU time per frame for each of SPEEDS, with that of laptrack, and the peak memory."""
    us_each = {}
    for count, (frames, most_ms) in SPEEDS.items():
        spent_ms = []
        for _ in range(REPEATS):
            detections = simulate_detections(count, frames)
            began = time.process_time()
            track_detections(detections, TrackSettings())
            spent_ms.append(1000 * (time.process_time() - began) / (frames - 1))
        spent_ms = min(spent_ms)
        us_each[f"{count:,}"] = round(1000 * spent_ms / count, 1)
        what = f"{count} points a frame, {frames} frames, 1 % divide, 1 % missed"
        claim = "linking with gaps, divisions and repairs, ms a frame"
        target = f"<= {most_ms}" if most_ms else ""
        if count <= MAX_LAPTRACK_OBJECTS:
            what += f"; laptrack, at most 20 px, the first {LAPTRACK_FRAMES} frames: {time_laptrack(detections):.1f}"
        figures.add(claim, f"{spent_ms:.1f}", data=what, target=target, holds=not most_ms or spent_ms <= most_ms)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 * 1.024**3
    claim = "linking 100,000 points a frame: peak memory, GB, of all this process"
    figures.add(claim, f"{peak_gb:.2f}", data=what, target="<= 1.2", holds=peak_gb <= 1.2)
    figures.plot("Linking: CPU time for each object and frame, by objects a frame", "µs", us_each)


def time_laptrack(detections):
    """Milliseconds per frame that laptrack needs for the centers of the first LAPTRACK_FRAMES frames."""
    seen = detections.frames < LAPTRACK_FRAMES
    WORK.mkdir(exist_ok=True)
    path = WORK / "detections.npz"
    np.savez(path, frame=detections.frames[seen], y=detections.centers[seen, 1], x=detections.centers[seen, 2])
    asked = {
        "settings": [{"points": path, "cutoff_px": 20}],
        "python": python_with("linking.txt", WORK / "peers-linking"),
    }
    return 1000 * ask("linking", **asked)[0]["seconds"] / (LAPTRACK_FRAMES - 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3, help="movies of each kind")
    seeds = parser.parse_args().seeds
    figures = Figures("make bench-tracking" if seeds == 3 else f"bench/tracking.py --seeds {seeds}")
    measure_speed(figures)  # first, so that the peak of memory is its own
    rows, movies = defaultdict(list), {"A": [], "B": []}
    for kind in KINDS:
        for seed in range(seeds):
            movie, parents = make_movie(kind, seed)
            worse = shuffle(degrade(movie, seed), seed)
            same = shuffle(movie, seed)
            movies["A"].append((kind, movie, parents, same))
            movies["B"].append((kind, movie, parents, worse))
            done = {"A": (same, True), "B": (worse, True), "B unfilled": (worse, False)}
            cells = len(np.unique(np.concatenate([np.unique(frame) for frame in movie]))) - 1
            found = {name: track(seen, fill) for name, (seen, fill) in done.items()}
            found["B perfect"] = link_perfectly(movie, worse), parents
            truths = dict(zip(MASK_VARIANTS, (mark(movie, seed), round_up(movie, parents)), strict=True))
            found |= {name: track(shuffle(masks, seed), True) for name, masks in truths.items()}
            scores = {name: score(truths.get(name, movie), parents, *each) for name, each in found.items()}
            for name in ("B unfilled", "B perfect"):
                scores[f"{name}, gaps open"] = score(movie, parents, *found[name], bridged=False)
            for name, each in scores.items():
                rows[name].append({"kind": kind, "cells": cells} | each)
                summary = ", ".join(f"{key} {each[key]:.4f}" for key in ("lnk", "chota", "tra", "division_f1"))
                print(f"{name}, {kind} {seed}: {summary}", flush=True)
    others = score_others(seeds)
    data = f"simulated, {len(KINDS)} kinds of cells, {seeds} movies of each, one automatic setting"
    mean = {name: means(each) for name, each in rows.items()}
    worst = min(row["chota"] for row in rows["A"])

    def least(claim, value, target):
        figures.add(claim, f"{value:.4f}", data=data, target=f">= {target}", holds=bool(value >= target))

    least("A, mean LNK", mean["A"]["lnk"], 0.991)
    least("A, mean CHOTA", mean["A"]["chota"], 0.977)
    least("A, worst CHOTA", worst, 0.95)
    least("A, mean TRA", mean["A"]["tra"], 0.999)
    least("B, mean LNK before filling, links from frame to frame", mean["B unfilled, gaps open"]["lnk"], 0.90)
    least("B, mean LNK before filling, links over gaps as well", mean["B unfilled"]["lnk"], 0.90)
    least("B, mean CHOTA before filling", mean["B unfilled"]["chota"], 0.90)
    for name, links in (("B perfect, gaps open", "frame to frame"), ("B perfect", "over gaps as well")):
        summary = ", ".join(f"{key} {value:.4f}" for key, value in mean[name].items())
        figures.add(f"B, perfect links of the same masks before filling, {links}", summary, data=data)
    figures.add("B, mean LNK filled", f"{mean['B']['lnk']:.4f}", data=data)
    least("B, mean CHOTA filled", mean["B"]["chota"], 0.95)
    least("B, mean TRA filled", mean["B"]["tra"], 0.985)
    for name, target in (("A", 0.95), ("B", 0.85)):
        least(f"{name}, pooled division F1", mean[name]["division_f1"], target)
        still = [row for row in rows[name] if row["kind"] in NO_DIVISIONS]
        false = [row["divisions_found"] - row["divisions_right"] for row in still]
        if name == "A":
            figure, target, holds = max(false), "<= 1", max(false) <= 1
        else:
            figure = max(100 * wrong / row["cells"] for wrong, row in zip(false, still, strict=True))
            figure, target, holds = f"{figure:.1f} per 100 cells", "<= 2", figure <= 2
        claim = f"{name}, false divisions of movies that (nearly) have none, most"
        figures.add(claim, figure, data=data, target=target, holds=holds)
    for name in MASK_VARIANTS:
        summary = ", ".join(f"{key} {value:.4f}" for key, value in mean[name].items())
        figures.add(name, summary, data=data)
    for name, each in others.items():
        summary = ", ".join(f"{key} {value:.4f}" for key, value in means(each).items())
        figures.add(name, summary, data=f"cells of `bench/peers/other_movies.py`, {seeds} movies, the same setting")
    theirs = link_by_laptrack(movies)
    for name in movies:
        best = max((means(theirs[cutoff][name]) for cutoff in CUTOFFS_PX), key=lambda found: found["chota"])
        summary = ", ".join(f"{key} {best[key]:.4f}" for key in ("lnk", "chota", "tra", "division_f1"))
        figures.add(
            f"{name}, laptrack 0.17.1 with the distance of the best CHOTA of {CUTOFFS_PX} px", summary, data=data
        )
    figures.finish()


if __name__ == "__main__":
    main()
