"""Drawings: tracks over their movie, trees of lineages, and what they say in numbers."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .pictures import LONGER_SIDE_PX, is_colour, read_plane, stretch
from .stores import label_colour, read_metadata

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
    """A Figure of the last frame with the way of each track up to there; a lineage has one colour."""
    pixels, _, step = read_plane(image, lineage.frames - 1)
    about = read_metadata(image)
    plane = stretch(pixels, about.windows, colour=is_colour(about.channels))
    width = LONGER_SIDE_PX / DPI
    figure = Figure(figsize=(width, width * plane.shape[0] / plane.shape[1]))
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
    spans = tracks.set_index("track")
    missed = lineage.gaps.groupby("track")
    missed = {track: rows[["before", "after"]].to_numpy() for track, rows in missed}
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    at, right = {}, 0
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
            first, last = spans.loc[track, ["first", "last"]]
            colour = _colour(root)
            axes.plot([at[track]] * 2, [first, last], color=colour, linewidth=1.2)
            for before, after in missed.get(track, ()):
                axes.plot([at[track]] * 2, [before, after], color="white", linewidth=1.2, linestyle=":")
            for child in children.get(track, []):
                axes.plot(
                    [at[track], at[child], at[child]],
                    [last, last, spans.loc[child, "first"]],
                    color=colour,
                    linewidth=1.2,
                )
    axes.set(ylabel="frame", xticks=[], ylim=(lineage.frames - 0.5, -0.5))
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
    frames = np.arange(lineage.frames)
    counts.plot(frames, np.bincount(lineage.nodes["t"], minlength=lineage.frames), color="#0072b2")
    counts.bar(frames, np.bincount(lineage.divisions["t"], minlength=lineage.frames), color="#d55e00")
    counts.set(xlabel="frame", title="cells (line), divisions (bars)", ylim=(0, None))
    cycles.hist(cycle_lengths(lineage), bins=12, color="#009e73")
    cycles.set(xlabel="frames from birth to division", title="cell cycles seen whole")
    steps.hist(displacements(lineage), bins=24, color="#56b4e9")
    unit = "µm" if lineage.pixel_um[1] and lineage.pixel_um[2] else "px"
    steps.set(xlabel=f"{unit} per frame", title="displacement")
    return figure


def cycle_lengths(lineage):
    """Frames from birth to division of the tracks of which both were seen (tracks,)."""
    whole = lineage.tracks[(lineage.tracks["parent"] > 0) & lineage.tracks["track"].isin(lineage.divisions["parent"])]
    return (whole["last"] - whole["first"] + 1).to_numpy()


def displacements(lineage):
    """Ways of cells from a frame to the next (links,), in µm where the size of a pixel is known, else in pixels."""
    edges, division = lineage.edges()
    known = bool(lineage.pixel_um[1] and lineage.pixel_um[2])
    sizes = [size or 1.0 for size in lineage.pixel_um] if known else [1.0, 1.0, 1.0]
    places = lineage.nodes[["z", "y", "x"]].to_numpy() * sizes
    times = lineage.nodes["t"].to_numpy()
    next_ = ~division & (times[edges[:, 1]] - times[edges[:, 0]] == 1)
    return np.linalg.norm(places[edges[next_, 1]] - places[edges[next_, 0]], axis=1)


def _colour(number):
    return tuple(part / 255 for part in label_colour(number))
