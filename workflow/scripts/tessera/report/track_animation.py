"""Animations: a movie that plays, with the outlines of its cells and the ways they came, a colour for each lineage."""

import numpy as np
from PIL import Image, ImageDraw

from tessera.common.atomic_write import atomic_file
from tessera.io.ome_zarr_store import label_color, read_metadata
from tessera.report.overlay_images import fit, is_colour, outlines, read_projection, resize_nearest, stretch

NAME = "tracks.gif"
LONGER_SIDE_PX = 512
MOST_FRAMES = 240  # of a longer movie every second, third, ... frame is shown
TAIL = 8  # frames whose ways are drawn
FRAME_MS = 120
COLOURS = 128  # of a frame's palette


def animate(path, lineage, image, labels):
    """Write a movie as a GIF that plays round and round, its longer side LONGER_SIDE_PX.

    The planes of a stack lie over each other: the brightest shows, and of labels the highest.

    Args:
        path: where to write.
        lineage: Lineage.
        image: path of the store (t, c, z, y, x) of the image.
        labels: path of the store of its tracks, whose ids are those of the lineage.
    """
    shown = lineage.tracked[:: -(-len(lineage.tracked) // MOST_FRAMES)]
    roots = lineage.tracks.set_index("track")["lineage"]
    colours = np.zeros((int(roots.index.max() if len(roots) else 0) + 1, 3), np.uint8)
    for track, root in roots.items():
        colours[track] = label_color(root)[:3]
    edges, _ = lineage.edges()
    frames = (_draw(t, lineage, edges, colours, image, labels) for t in shown)
    with atomic_file(path) as partial:
        # Pillow takes the rest one by one, and keeps what changed of each.
        next(frames).save(partial, "GIF", save_all=True, append_images=frames, duration=FRAME_MS, loop=0)


def _draw(t, lineage, edges, colours, image, labels):
    """One frame: an image of PIL with a palette."""
    metadata = read_metadata(image)
    pixels, zoom = read_projection(image, t)
    base = Image.fromarray(stretch(pixels, metadata.contrast_limits, colour=is_colour(metadata.channels))).convert(
        "RGB"
    )
    size = fit(base.size, LONGER_SIDE_PX)
    shown = np.asarray(base.resize(size, Image.Resampling.BOX)).copy()
    plane, step = read_projection(labels, t)
    tracks = resize_nearest(plane[0], size, step)
    rims = outlines(tracks, 1) > 0
    shown[rims] = colours[tracks[rims]]
    picture = Image.fromarray(shown)
    draw = ImageDraw.Draw(picture)
    scale = size[0] / (base.size[0] * zoom)
    places = ((lineage.nodes[["x", "y"]].to_numpy() + 0.5) * scale).round(1)
    times, of = lineage.nodes["t"].to_numpy()[edges[:, 1]], lineage.nodes["track"].to_numpy()[edges[:, 1]]
    recent = lineage.tracked[: lineage.tracked.index(t) + 1][-TAIL:]
    for edge in np.flatnonzero((times <= t) & (times >= recent[0])):
        way = [tuple(places[node].tolist()) for node in edges[edge]]
        draw.line(way, fill=tuple(colours[of[edge]].tolist()), width=1)
    return picture.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
