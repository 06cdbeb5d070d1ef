"""Drawings: tracks over their movie, trees of lineages, and what they say in numbers."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tessera.io.ome_zarr_store import label_color, read_metadata
from tessera.report.overlay_images import LONGER_SIDE_PX, fit, is_colour, read_projection, stretch

TREES = 40  # lineages that are drawn, the largest first
DPI = 110


def draw_lineages(folder, lineage, image):
    """Write tracks.png, trees.png and counts.png of a movie into `folder`.

    Args:
        folder: an existing one.
        lineage: Lineage.
        image: path of the store of the image.
    """
    draw_tracks(lineage, image).savefig(folder / "tracks.png", dpi=DPI)
    draw_trees(lineage).savefig(folder / "trees.png", dpi=DPI)
    draw_counts(lineage).savefig(folder / "counts.png", dpi=DPI)


def draw_tracks(lineage, image):
    """A Figure of the last tracked frame, all planes over each other, with the ways up to there, a colour a lineage."""
    pixels, step = read_projection(image, lineage.tracked[-1])
    about = read_metadata(image)
    plane = stretch(pixels, about.contrast_limits, colour=is_colour(about.channels))
    figure = Figure(figsize=[side / DPI for side in fit(plane.shape[1::-1], LONGER_SIDE_PX)])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(plane, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    edges, division = lineage.edges()
    places = lineage.nodes[["x", "y"]].to_numpy() / step
    roots = lineage.tracks.set_index("track")["lineage"].to_dict()
    colours = [_colour(roots[track]) for track in lineage.nodes["track"].to_numpy()[edges[:, 1]]] if len(edges) else []
    axes.add_collection(LineCollection(places[edges], colors=colours, linewidths=1.2))
    born = edges[division, 1]
    axes.plot(*places[born].T, ".", color="white", markersize=3)
    axes.set(xlim=(-0.5, plane.shape[1] - 0.5), ylim=(plane.shape[0] - 0.5, -0.5))
    return figure


def draw_trees(lineage):
    """A Figure of the largest lineages as trees: time goes down, a track is a line, dotted where it was missed."""
    tracks = lineage.tracks
    sizes = tracks.groupby("lineage")["track"].size().sort_values(ascending=False, kind="stable")
    shown = sizes.index[:TREES]
    children = {}
    for track, parent in sorted(lineage.parents.items()):
        children.setdefault(parent, []).append(track)
    spans = dict(zip(tracks["track"], zip(tracks["first"], tracks["last"], strict=True), strict=True))
    missed = lineage.gaps.groupby("track")
    missed = {track: rows[["before", "after"]].to_numpy() for track, rows in missed}
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    at, right, lines, colours, dotted = {}, 0, [], [], []
    for root in shown.tolist():
        order, stack = [], [root]
        while stack:
            order.append(stack.pop())
            stack += reversed(children.get(order[-1], []))
        for track in order:
            if track not in children:
                at[track], right = right, right + 1
        for track in reversed(order):
            if track in children:
                at[track] = float(np.mean([at[child] for child in children[track]]))
        right += 1
        for track in order:
            x, (first, last) = at[track], spans[track]
            lines.append([(x, first), (x, last)])
            lines += [[(x, last), (at[child], last), (at[child], spans[child][0])] for child in children.get(track, [])]
            dotted += [[(x, before), (x, after)] for before, after in missed.get(track, ())]
        colours += [_colour(root)] * (len(lines) - len(colours))
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.2))
    axes.add_collection(LineCollection(dotted, colors="white", linewidths=1.2, linestyles=":"))
    _mark_frames(axes.yaxis)
    axes.set(ylabel="frame", xticks=[], xlim=(-1, max(right, 1)), ylim=(lineage.frames - 0.5, -0.5))
    axes.set_title(
        f"{len(shown)} of {len(sizes)} lineages, the largest first" if len(sizes) > len(shown) else "All lineages"
    )
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def draw_counts(lineage):
    """A Figure of cells and divisions in each frame, lengths of cell cycles, and displacements from frame to frame."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    counts, cycles, steps = figure.subplots(1, 3)
    frames = lineage.tracked
    cells, born = (np.bincount(table["t"], minlength=lineage.frames) for table in (lineage.nodes, lineage.divisions))
    counts.plot(frames, cells[frames], color="#0072b2")
    counts.bar(frames, born[frames], color="#d55e00")
    counts.set(xlabel="frame", title="cells (line), divisions (bars)", ylim=(0, None))
    for axes in (counts, cycles):
        _mark_frames(axes.xaxis)
    _draw_histogram(cycles, cycle_lengths(lineage), bins=12, color="#009e73")
    cycles.set(xlabel="frames from birth to division", title="cell cycles seen whole")
    _draw_histogram(steps, displacements(lineage), bins=24, color="#56b4e9")
    steps.set(xlabel=f"{lineage.unit} per frame", title="displacement")
    return figure


def _mark_frames(axis):
    """Ticks at whole numbers alone, since frames are no more and no less."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))


def _draw_histogram(axes, values, *, bins, color):
    """Bars from 0 on; values that are nearly alike have one wide bar, since bins between them cannot be told apart."""
    if len(values):
        axes.hist(values, bins=np.linspace(0, max(float(values.max()), 1e-3), bins + 1), color=color)
    else:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center")
        axes.set(xticks=[], yticks=[])


def cycle_lengths(lineage):
    """Frames from the birth of cells to that of their daughters, of the tracks of which both were seen (tracks,)."""
    tracks = lineage.tracks
    born = tracks[tracks["parent"] > 0]
    daughters = born.groupby("parent")["first"].min()
    whole = born[born["track"].isin(lineage.divisions["parent"])]
    return (whole["track"].map(daughters) - whole["first"]).to_numpy()


def displacements(lineage):
    """Ways of cells between tracked frames that follow each other, in `lineage.unit` for each frame: (links,)."""
    edges, division = lineage.edges()
    places = lineage.nodes[["z", "y", "x"]].to_numpy() * lineage.voxel_size
    one, two = edges[~division & (lineage.steps(edges) == 1)].T
    times = lineage.nodes["t"].to_numpy()
    return np.linalg.norm(places[two] - places[one], axis=1) / (times[two] - times[one])


def _colour(number):
    return tuple(part / 255 for part in label_color(number))
