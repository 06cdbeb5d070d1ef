"""Animation of a tracked movie: outlines of cells and their recent tracks, in a color for each lineage."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tessera.common.atomic_write import atomic_file
from tessera.io.ome_zarr_store import label_color, read_metadata
from tessera.report.overlay_images import (
    apply_contrast_limits,
    fit_size,
    is_rgb,
    outline_objects,
    read_projection,
    resize_nearest,
)
from tessera.tracking.lineage import Lineage

NAME = "tracks.gif"
LONGER_SIDE_PX = 512
MAX_FRAMES = 240  # a longer movie shows every second, third, ... frame
TAIL_FRAMES = 8  # frames whose links are drawn
FRAME_MS = 120
N_COLORS = 128  # of a frame's palette


class _Movie(NamedTuple):
    """The stores of a movie, its lineage with all edges (edges, 2), and the color (tracks, 3) of each track."""

    image: Path
    labels: Path
    lineage: Lineage
    edges: NDArray[np.int64]
    colors: NDArray[np.uint8]


def animate(path: Path, lineage: Lineage, image: Path, labels: Path) -> None:
    """Write a movie as a GIF that loops. Z-stacks are shown as maximum projections.

    Args:
        path: file to write.
        lineage: the lineage of the movie.
        image: store (t, c, z, y, x) of the movie.
        labels: store of its tracks, whose ids are those of the lineage.
    """
    shown = lineage.tracked[:: -(-len(lineage.tracked) // MAX_FRAMES)]
    roots = lineage.tracks.set_index("track")["lineage"]
    colors = np.zeros((int(roots.index.max() if len(roots) else 0) + 1, 3), np.uint8)
    for track, root in zip(roots.index, roots, strict=True):
        colors[int(track)] = label_color(root)[:3]
    edges, _ = lineage.edges()
    movie = _Movie(image, labels, lineage, edges, colors)
    frames = (_draw_frame(movie, t) for t in shown)
    with atomic_file(path) as partial:
        # Pillow takes the other frames one by one, and stores only the pixels that change.
        next(frames).save(partial, "GIF", save_all=True, append_images=frames, duration=FRAME_MS, loop=0)


def _draw_frame(movie: _Movie, t: int) -> Image.Image:
    """Frame t with a palette."""
    lineage, edges, colors = movie.lineage, movie.edges, movie.colors
    metadata = read_metadata(movie.image)
    pixels, zoom = read_projection(movie.image, t)
    plain = apply_contrast_limits(pixels, metadata.contrast_limits, rgb=is_rgb(metadata.channels))
    base = Image.fromarray(plain).convert("RGB")
    size = fit_size(base.size, LONGER_SIDE_PX)
    shown = np.asarray(base.resize(size, Image.Resampling.BOX)).copy()
    plane, step = read_projection(movie.labels, t)
    tracks = resize_nearest(plane[0], size, step)
    outlines = outline_objects(tracks, 1) > 0
    shown[outlines] = colors[tracks[outlines]]
    frame = Image.fromarray(shown)
    draw = ImageDraw.Draw(frame)
    scale = size[0] / (base.size[0] * zoom)
    positions = ((lineage.nodes[["x", "y"]].to_numpy() + 0.5) * scale).round(1)
    times, edge_tracks = (lineage.nodes[name].to_numpy()[edges[:, 1]] for name in ("t", "track"))
    recent = lineage.tracked[: lineage.tracked.index(t) + 1][-TAIL_FRAMES:]
    for number in np.flatnonzero((times <= t) & (times >= recent[0])):
        line = [tuple(positions[node].tolist()) for node in edges[number]]
        draw.line(line, fill=tuple(colors[edge_tracks[number]].tolist()), width=1)
    return frame.quantize(N_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
