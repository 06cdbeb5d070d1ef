"""Contact sheets: training patches before and after augmentation, with outlines of their ground truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from skimage.segmentation import find_boundaries

from tessera.common.constants import IGNORE
from tessera.data.patch_renderer import Patch
from tessera.training.patch_overlays import class_color, display_rgb, hatch_unknown, magnify

ZOOM = 2  # outlines are drawn on magnified pixels, so that they hide little


def draw_contact_sheet(path: Path, samples: Sequence[Patch], names: Sequence[str], instances: bool) -> None:
    """Write a figure of patches: each before augmentation, and after it with the ground truth outlined.

    Pixels that training ignores are darkened and hatched.

    Args:
        path: PNG file to write.
        samples: the patches.
        names: names of the classes, background first.
        instances: outline touching objects separately, in one color, rather than classes.
    """
    n_pairs = min(2, len(samples))
    n_rows = -(-len(samples) // n_pairs)
    figure = Figure(figsize=(8 * n_pairs, 4.4 * n_rows + 0.5), dpi=100, layout="constrained")
    axes = figure.subplots(n_rows, 2 * n_pairs, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for number, sample in enumerate(samples):
        before, after = axes[2 * number : 2 * number + 2]
        margin = (len(sample.window) - len(sample.pixels)) // 2
        inner = slice(margin, margin + len(sample.pixels))
        before.imshow(display_rgb(sample.window[inner, inner]))
        before.set_title("before", fontsize=9)
        after.imshow(_draw_outlines(sample, instances))
        after.set_title(_wrap(sample.transforms) or "unchanged", fontsize=9)
    lines = [Line2D([], [], color=class_color(id_), label=name) for id_, name in enumerate(names) if id_]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines), title="hatched: ignored in training")
    figure.savefig(path)


def _wrap(names: Sequence[str]) -> str:
    """Names, three in a line."""
    return "\n".join(", ".join(names[start : start + 3]) for start in range(0, len(names), 3))


def _draw_outlines(sample: Patch, instances: bool) -> NDArray[np.float32]:
    """The augmented patch (y, x, 3), from 0 to 1, with its outlines."""
    shown, ids, target = (magnify(plane, ZOOM) for plane in (display_rgb(sample.pixels), sample.ids, sample.target))
    unknown = target == IGNORE
    hatch_unknown(shown, unknown)
    edges = binary_dilation(find_boundaries(ids, mode="inner")) & ~unknown
    classes = (ids > 0).astype(int) if instances else ids
    for class_ in np.unique(classes[edges & (ids > 0)]):
        shown[edges & (classes == class_)] = to_rgb(class_color(class_))
    return shown
