"""Figures of a tracked movie: tracks over the last frame, lineage trees, and plots of numbers over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tessera.io.ome_zarr_store import label_color, read_metadata
from tessera.report.overlay_images import LONGER_SIDE_PX, apply_contrast_limits, fit_size, is_rgb, read_projection
from tessera.tracking.lineage import Lineage

FIGURES = ("tracks", "trees", "counts")
MAX_TREES = 40  # the largest lineages are drawn
DPI = 110

Line = Sequence[tuple[float, float]]


def draw_lineages(folder: Path, lineage: Lineage, image: Path) -> None:
    """Write tracks.png, trees.png and counts.png of a movie.

    Args:
        folder: an existing folder.
        lineage: the lineage of the movie.
        image: store of the movie.
    """
    draw_tracks(lineage, image).savefig(folder / "tracks.png", dpi=DPI)
    draw_trees(lineage).savefig(folder / "trees.png", dpi=DPI)
    draw_counts(lineage).savefig(folder / "counts.png", dpi=DPI)


def draw_tracks(lineage: Lineage, image: Path) -> Figure:
    """The last tracked frame, as a maximum projection, with all tracks in a color for each lineage; dots are births."""
    pixels, step = read_projection(image, lineage.tracked[-1])
    metadata = read_metadata(image)
    plane = apply_contrast_limits(pixels, metadata.contrast_limits, rgb=is_rgb(metadata.channels))
    width, height = fit_size((plane.shape[1], plane.shape[0]), LONGER_SIDE_PX)
    figure = Figure(figsize=(width / DPI, height / DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(plane, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    edges, division = lineage.edges()
    positions = lineage.nodes[["x", "y"]].to_numpy() / step
    roots = lineage.tracks.set_index("track")["lineage"].to_dict()
    edge_tracks: Any = lineage.nodes["track"].to_numpy()[edges[:, 1]] if len(edges) else []
    colors = [_lineage_color(roots[track]) for track in edge_tracks]
    axes.add_collection(LineCollection(list(positions[edges]), colors=colors, linewidths=1.2))
    born = edges[division, 1]
    axes.plot(*positions[born].T, ".", color="white", markersize=3)
    axes.set(xlim=(-0.5, plane.shape[1] - 0.5), ylim=(plane.shape[0] - 0.5, -0.5))
    return figure


def draw_trees(lineage: Lineage) -> Figure:
    """The largest lineages as trees: time runs downward, a track is a line, dotted in gaps."""
    tracks = lineage.tracks
    sizes = tracks.groupby("lineage")["track"].size().sort_values(ascending=False, kind="stable")
    shown = sizes.index[:MAX_TREES]
    children: dict[int, list[int]] = {}
    for track, parent in sorted(lineage.parents.items()):
        children.setdefault(parent, []).append(track)
    spans = dict(zip(tracks["track"], zip(tracks["first"], tracks["last"], strict=True), strict=True))
    gaps = {track: rows[["before", "after"]].to_numpy() for track, rows in lineage.gaps.groupby("track")}
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    right = 0
    lines: list[Line] = []
    dotted: list[Line] = []
    colors: list[Any] = []
    for root in shown.tolist():
        order = _list_descendants(root, children)
        columns, right = _place_tracks(order, children, right)
        for track in order:
            x, (first, last) = columns[track], spans[track]
            lines.append([(x, first), (x, last)])
            for child in children.get(track, []):
                lines.append([(x, last), (columns[child], last), (columns[child], spans[child][0])])
            dotted += [[(x, before), (x, after)] for before, after in gaps.get(track, ())]
        colors += [_lineage_color(root)] * (len(lines) - len(colors))
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=1.2))
    axes.add_collection(LineCollection(dotted, colors="white", linewidths=1.2, linestyles=":"))
    _use_whole_frames(axes.yaxis)
    axes.set(ylabel="frame", xticks=[], xlim=(-1, max(right, 1)), ylim=(lineage.frames - 0.5, -0.5))
    cut = len(sizes) > len(shown)
    axes.set_title(f"the {len(shown)} largest of {len(sizes)} lineages" if cut else "all lineages")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def _list_descendants(root: int, children: dict[int, list[int]]) -> list[int]:
    """A track and its descendants, each before its children."""
    order, stack = [], [root]
    while stack:
        order.append(stack.pop())
        stack += reversed(children.get(order[-1], []))
    return order


def _place_tracks(order: Sequence[int], children: dict[int, list[int]], left: int) -> tuple[dict[int, float], int]:
    """{track: x} of a tree that starts at `left`, and where the next tree starts."""
    columns: dict[int, float] = {}
    right = left
    for track in order:
        if track not in children:
            columns[track], right = right, right + 1
    for track in reversed(order):
        if track in children:
            columns[track] = float(np.mean([columns[child] for child in children[track]]))
    return columns, right + 1


def draw_counts(lineage: Lineage) -> Figure:
    """Cells and divisions in each frame, lengths of cell cycles, and displacements between frames."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    counts, cycles, moves = figure.subplots(1, 3)
    frames = lineage.tracked
    n_cells, n_divisions = (
        np.bincount(table["t"], minlength=lineage.frames) for table in (lineage.nodes, lineage.divisions)
    )
    counts.plot(frames, n_cells[frames], color="#0072b2")
    counts.bar(frames, n_divisions[frames], color="#d55e00")
    counts.set(xlabel="frame", title="cells (line), divisions (bars)", ylim=(0, None))
    for axes in (counts, cycles):
        _use_whole_frames(axes.xaxis)
    _draw_histogram(cycles, cycle_lengths(lineage), bins=12, color="#009e73")
    cycles.set(xlabel="frames from birth to division", title="complete cell cycles")
    _draw_histogram(moves, displacements(lineage), bins=24, color="#56b4e9")
    moves.set(xlabel=f"{lineage.unit} per frame", title="displacement")
    return figure


def _use_whole_frames(axis: Axis) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def _draw_histogram(axes: Axes, values: NDArray[Any], *, bins: int, color: str) -> None:
    """Draw a histogram from 0 on; values that are nearly equal share one wide bar."""
    if len(values):
        axes.hist(values, bins=np.linspace(0, max(float(values.max()), 1e-3), bins + 1).tolist(), color=color)
    else:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center")
        axes.set(xticks=[], yticks=[])


def cycle_lengths(lineage: Lineage) -> NDArray[Any]:
    """Frames from birth to division (tracks,) of the tracks whose birth and division were both seen."""
    tracks = lineage.tracks
    born = tracks[tracks["parent"] > 0]
    births_of_daughters = born.groupby("parent")["first"].min()
    complete = born[born["track"].isin(lineage.divisions["parent"])]
    return (complete["track"].map(births_of_daughters) - complete["first"]).to_numpy()


def displacements(lineage: Lineage) -> NDArray[np.float64]:
    """Displacements (links,) of cells between consecutive tracked frames, in `lineage.unit` per frame."""
    edges, division = lineage.edges()
    positions = lineage.nodes[["z", "y", "x"]].to_numpy() * lineage.voxel_size
    before, after = edges[~division & (lineage.steps(edges) == 1)].T
    times = lineage.nodes["t"].to_numpy()
    return np.linalg.norm(positions[after] - positions[before], axis=1) / (times[after] - times[before])


def _lineage_color(number: int) -> tuple[float, ...]:
    return tuple(part / 255 for part in label_color(number))
