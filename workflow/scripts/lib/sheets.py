"""Contact sheets: patches before and after their transforms, with outlines."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from skimage.segmentation import find_boundaries

from .targets import IGNORE

ZOOM = 2  # outlines are drawn on magnified pixels, so that they hide little
COLOURS = ["#ffd400", "#00b7ff", "#ff6db6", "#00c08b", "#ff7a1a", "#a78bfa"]


def draw_sheet(path, samples, names):
    """Write a picture of patches: each as it was, and after its transforms with the truth outlined.

    What is not learnt from is hatched.

    Args:
        path: PNG to write.
        samples: dicts with the pixels `before` and `after` (y, x, c), `regions` (y, x) to be parted by outlines,
            `colours` (y, x), the number of each pixel's colour from 1, 0 for none, `target` (y, x), and `transforms`,
            names.
        names: of the colours.
    """
    pairs = min(2, len(samples))
    rows = -(-len(samples) // pairs)
    figure = Figure(figsize=(8 * pairs, 4.4 * rows + 0.5), dpi=100, layout="constrained")
    axes = figure.subplots(rows, 2 * pairs, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for number, sample in enumerate(samples):
        before, after = axes[2 * number : 2 * number + 2]
        before.imshow(_displayed(sample["before"]))
        before.set_title("before", fontsize=9)
        after.imshow(_outlined(sample["after"], sample["regions"], sample["colours"], sample["target"]))
        after.set_title(_wrapped(sample["transforms"]) or "unchanged", fontsize=9)
    lines = [Line2D([], [], color=_colour(number), label=name) for number, name in enumerate(names, start=1)]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines), title="hatched: not learnt from")
    figure.savefig(path)


def _wrapped(names):
    return "\n".join(", ".join(names[start : start + 3]) for start in range(0, len(names), 3))


def _colour(number):
    return COLOURS[(number - 1) % len(COLOURS)]


def _displayed(pixels):
    """RGB (y, x, 3) of 0 to 1: three channels as they are, otherwise the first in grey."""
    shown = pixels if pixels.shape[-1] == 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    return np.clip(shown, 0, 1).astype(np.float32)


def _outlined(pixels, regions, colours, target):
    shown, regions, colours, target = (_magnified(plane) for plane in (_displayed(pixels), regions, colours, target))
    y, x = np.indices(target.shape)
    unknown = target == IGNORE
    shown[unknown] *= 0.5
    shown[unknown & ((y + x) % 16 < 2)] = 0.35
    edges = find_boundaries(regions, mode="inner") & ~unknown
    for number in np.unique(colours[edges & (colours > 0)]):
        rgb = [int(_colour(number)[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        shown[edges & (colours == number)] = rgb
    return shown


def _magnified(plane):
    return plane.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
