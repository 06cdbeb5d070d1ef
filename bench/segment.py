"""Speed and memory of rule segment and of its steps, compared to scipy, cc3d and dask-image."""

import argparse
import os
import statistics
from pathlib import Path

from figures import RESULTS, Figures
from processes import ask, python_with

BENCH = Path(__file__).resolve().parent
WORK = BENCH / "work" / "segment"
VENV = BENCH / "work" / "peers-segment"
APART_PX, TOUCHING_PX = 10, 14  # radii
MAX_MB = 600


def folder_of(kind, side):
    return WORK / f"{kind}{side}"


def make_cells(kind, radius, side):
    """Folder with the plane of cells. Paints it unless an earlier run did."""
    folder = folder_of(kind, side)
    if not (folder / "ready").exists():
        ask("cells", folder=folder, side=side, radius=radius)
        (folder / "ready").touch()
    return folder


def ours(folder, part, workers=1):
    return ask("segmenting", folder=folder, settings=[{"part": part, "workers": workers}])[0]


def seconds_of(runs):
    return statistics.median(run["seconds"] for run in runs)


def measure_labelling(figures, side, rounds):
    """Compare connected components alone. The libraries take turns; dask-image, which takes minutes, runs once."""
    folder, python = make_cells("apart", APART_PX, side), python_with("labelling.txt", VENV)
    peers = {"scipy": [], "cc3d": [], "dask-image": []}
    one, two = [], []
    for number in range(rounds):
        one.append(ours(folder, "label", 1))
        two.append(ours(folder, "label", 2))
        for library, runs in list(peers.items())[: None if number == 0 else -1]:
            runs += ask("labelling", folder=folder, settings=[{"library": library}], python=python)
    data = f"{side}², {one[0]['objects']} objects apart, Zarr to Zarr, {rounds} runs in turn, dask-image's once"
    same = all(run["same"] and run["objects"] == one[0]["objects"] for runs in peers.values() for run in runs)
    figures.add("the pieces are those of scipy, cc3d and dask-image", same, data=data, target="True", holds=same)
    for name, runs in {"1 worker": one, "2 workers": two, **peers}.items():
        peak = max(run["peak_mb"] for run in runs)
        figures.add(f"labelling, {name}: seconds; peak", f"{seconds_of(runs):.1f}; {peak:.0f} MB", data=data)
    ratio = seconds_of(peers["dask-image"]) / seconds_of(two)
    figures.add("labelling, times as fast as dask-image", f"{ratio:.1f}", data=data, target=">= 5", holds=ratio >= 5)


def measure_rule(figures, sides, rounds):
    """Time the whole rule on touching cells, with one worker and two, and measure its memory by size of the plane."""
    peaks = {}
    for side in sides:
        folder = make_cells("touching", TOUCHING_PX, side)
        first = side == sides[0]
        runs = {workers: [] for workers in ((1, 2) if first else (2,))}
        for _ in range(rounds if first else 1):
            for workers, done in runs.items():
                done.append(ours(folder, "segment", workers))
        objects = runs[2][0]["objects"]
        data = f"{side}², {objects} touching cells: parted, labels with pyramid, table"
        for workers, done in runs.items():
            figures.add(f"segment, {workers} workers: seconds", f"{seconds_of(done):.1f}", data=data)
        if first:
            gain = seconds_of(runs[1]) / seconds_of(runs[2])
            figures.add(
                "segment, 2 workers, times as fast as 1", f"{gain:.2f}", data=data, target="> 1", holds=gain > 1
            )
        peaks[side] = max(run["peak_mb"] for done in runs.values() for run in done)
        holds = peaks[side] <= MAX_MB
        figures.add("segment, peak MB", f"{peaks[side]:.0f}", data=data, target=f"<= {MAX_MB}", holds=holds)
        measured = ours(folder, "measure")
        rate = measured["objects"] / measured["seconds"]
        figures.add(
            "objects measured per second and core", f"{rate:.0f}", data=data, target=">= 20000", holds=rate >= 2e4
        )
    spread = max(peaks.values()) / min(peaks.values())
    listed = ", ".join(f"{side}²" for side in sides)
    figures.add("segment, largest peak over least", f"{spread:.2f}", data=listed, target="<= 1.1", holds=spread <= 1.1)


def measure_agreement(figures, side):
    """Compare labels made by blocks to those of the whole plane, on touching cells."""
    folder = make_cells("touching", TOUCHING_PX, side)
    ours(folder, "segment", 2)
    same = ours(folder, "compare")["same"]
    figures.add("labels are those of the whole plane", same, data=f"{side}², touching", target="True", holds=same)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--side",
        type=int,
        default=16384,
        help="width of the plane in pixels; memory is compared to a plane twice as wide",
    )
    parser.add_argument("--quick", action="store_true", help="try it with one round; records nothing")
    arguments = parser.parse_args()
    side, rounds = arguments.side, 1 if arguments.quick else 3
    figures = Figures("make bench-segment", Path(os.devnull) if arguments.quick else RESULTS)
    measure_agreement(figures, min(8192, side))
    measure_labelling(figures, side, rounds)
    measure_rule(figures, [side, 2 * side], rounds)
    figures.finish()


if __name__ == "__main__":
    main()
