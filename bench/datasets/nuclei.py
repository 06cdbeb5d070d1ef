"""Table of the nuclei of the 2018 Data Science Bowl: fluorescence and coloured images, one mask per nucleus.

Some images are neighbouring crops of one field, which nothing but their edges tells: `neighbours` finds them.
"""

import itertools

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = ("image", "path", "truth", "batch")
EDGE_CORRELATION = 0.97  # of 96 images, ten pairs are above, by eye all go on in each other; the next is at 0.92
EDGE_CONTRAST = 2  # grey values of standard deviation, below which an edge tells nothing


def rows(folder):
    """Rows of the table; `folder` is nuclei-dsb2018. The batch is the kind of image, so that each is scored apart."""
    for path in sorted(folder.glob("stage1_train/*/images/*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=int)
        coloured = np.ptp(pixels, axis=2).max() > 20
        kind = "coloured" if coloured else "fluorescence" if np.median(pixels) < 128 else "bright"
        yield path.stem[:12], path, path.parent.parent / "masks", kind


def neighbours(paths):
    """Which images go on in each other: the number of the field of each path, (paths,).

    The last row or column of one correlates with the first of the other by EDGE_CORRELATION or more.
    """
    greys = [np.asarray(Image.open(path).convert("L"), dtype=float) for path in paths]
    pairs = [
        (one, other)
        for one, other in itertools.permutations(range(len(greys)), 2)
        if _go_on(greys[one][:, -1], greys[other][:, 0]) or _go_on(greys[one][-1], greys[other][0])
    ]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (first, second)), (len(greys), len(greys)))
    return connected_components(graph, directed=False)[1]


def _go_on(edge, other):
    if len(edge) != len(other) or min(edge.std(), other.std()) < EDGE_CONTRAST:
        return False
    return np.corrcoef(edge, other)[0, 1] >= EDGE_CORRELATION
