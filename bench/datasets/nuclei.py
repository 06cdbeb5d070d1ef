"""Table of the nuclei of the 2018 Data Science Bowl: fluorescence and color images, one mask per nucleus.

Some images are neighboring crops of one field. Only their edges show this: `find_fields` compares them.
"""

import itertools

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ("image", "path", "truth", "batch")
EDGE_CORRELATION = (
    0.97  # of 96 images, ten pairs are above (all continue in each other, by eye); the next pair has 0.92
)
EDGE_CONTRAST = 2  # standard deviation in gray values; an edge with less cannot be compared


def rows(folder):
    """Rows of the table. `folder` is nuclei-dsb2018. The batch is the kind of image, so that kinds are scored apart."""
    for path in sorted(folder.glob("stage1_train/*/images/*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=int)
        has_color = np.ptp(pixels, axis=2).max() > 20
        kind = "coloured" if has_color else "fluorescence" if np.median(pixels) < 128 else "bright"
        yield path.stem[:12], path, path.parent.parent / "masks", kind


def find_fields(paths):
    """Number of the field of each image (paths,).

    Two images show one field if the last row or column of one correlates with the first of the other by at least
    EDGE_CORRELATION.
    """
    images = [np.asarray(Image.open(path).convert("L"), dtype=float) for path in paths]
    pairs = [
        (first, second)
        for first, second in itertools.permutations(range(len(images)), 2)
        if _continues(images[first][:, -1], images[second][:, 0]) or _continues(images[first][-1], images[second][0])
    ]
    firsts, seconds = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (firsts, seconds)), (len(images), len(images)))
    return connected_components(graph, directed=False)[1]


def _continues(edge, other):
    """Whether two edges show the same line of pixels, almost."""
    if len(edge) != len(other) or min(edge.std(), other.std()) < EDGE_CONTRAST:
        return False
    return np.corrcoef(edge, other)[0, 1] >= EDGE_CORRELATION
