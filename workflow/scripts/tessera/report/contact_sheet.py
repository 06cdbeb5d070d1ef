"""Contact sheets: patches before and after their transforms, with outlines."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.ndimage import binary_dilation
from skimage.segmentation import find_boundaries

from tessera.common.constants import IGNORE
from tessera.training.patch_overlays import class_color, display_rgb, hatch_unknown, magnify

ZOOM = 2  # outlines are drawn on magnify pixels, so that they hide little


def draw_sheet(path, samples, names, instances):
    """Write a picture of patches: each as it was, and after its transforms with the truth outlined.

    What is not learnt from is darkened and hatched.

    Args:
        path: PNG to write.
        samples: list of `tessera.data.patch_renderer.Patch`.
        names: of the classes, background first.
        instances: outlines part objects, all of one colour, rather than classes.
    """
    pairs = min(2, len(samples))
    rows = -(-len(samples) // pairs)
    figure = Figure(figsize=(8 * pairs, 4.4 * rows + 0.5), dpi=100, layout="constrained")
    axes = figure.subplots(rows, 2 * pairs, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for number, sample in enumerate(samples):
        before, after = axes[2 * number : 2 * number + 2]
        margin = (len(sample.window) - len(sample.pixels)) // 2
        inner = slice(margin, margin + len(sample.pixels))
        before.imshow(display_rgb(sample.window[inner, inner]))
        before.set_title("before", fontsize=9)
        after.imshow(_outlined(sample, instances))
        after.set_title(_wrapped(sample.transforms) or "unchanged", fontsize=9)
    lines = [Line2D([], [], color=class_color(id_), label=name) for id_, name in enumerate(names) if id_]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines), title="hatched: not learnt from")
    figure.savefig(path)


def _wrapped(names):
    return "\n".join(", ".join(names[start : start + 3]) for start in range(0, len(names), 3))


def _outlined(sample, instances):
    shown, ids, target = (magnify(plane, ZOOM) for plane in (display_rgb(sample.pixels), sample.ids, sample.target))
    unknown = target == IGNORE
    hatch_unknown(shown, unknown)
    edges = binary_dilation(find_boundaries(ids, mode="inner")) & ~unknown
    classes = (ids > 0).astype(int) if instances else ids
    for class_ in np.unique(classes[edges & (ids > 0)]):
        shown[edges & (classes == class_)] = to_rgb(class_color(class_))
    return shown
