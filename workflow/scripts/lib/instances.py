"""Instances: from the probabilities of background, interior and boundary to one id per cell."""

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed

BACKGROUND, INTERIOR, BOUNDARY = range(3)  # the order of `lib.targets.INSTANCE_OUTPUTS`


def separate(probabilities, *, foreground, seed_interior, min_area_px, fill_holes):
    """Part the cells of one plane.

    Each connected piece of interior seeds a cell, which grows over the foreground by watershed, up the boundary from
    both sides. A seed that wins less than `min_area_px` is a speck, and its pixels go to the neighbours. A connected
    piece of foreground without a seed is a cell too faint to be seeded, or one too thin to have an interior.

    Args:
        probabilities: uint8 (3, y, x), 255 = 1: background, interior, boundary.
        foreground: probability above which a pixel belongs to a cell.
        seed_interior: probability of interior above which a pixel seeds one.
        min_area_px: smaller cells are removed.
        fill_holes: give holes within a cell to that cell.

    Returns:
        int32 (y, x), ids 1 .. number of cells, in the order of their seeds' first pixels, cells without one last;
        0 is background. A cell is connected along its pixels' sides.
    """
    cells = 255 - probabilities[BACKGROUND] > 255 * foreground
    seeds, count = ndimage.label(cells & (probabilities[INTERIOR] > 255 * seed_interior))
    rise = probabilities[BOUNDARY].astype(np.int16) - probabilities[INTERIOR]
    grown = watershed(rise, seeds, mask=cells)
    specks = np.bincount(grown.ravel(), minlength=count + 1) < min_area_px
    if specks[1:].any():
        seeds[specks[seeds]] = 0
        grown = watershed(rise, seeds, mask=cells)
    unseeded, _ = ndimage.label(cells & (grown == 0))
    ids = np.where(unseeded, unseeded + count, grown)
    if fill_holes:
        ids = fill(ids)
    return number_densely(ids, min_area_px)


def label_classes(classes, min_area_px=0):
    """Connected pieces of each class of one plane, along sides, without those of fewer pixels than `min_area_px`.

    Args:
        classes: integers (y, x), 0 is background.
        min_area_px: smaller pieces are left out.

    Returns:
        int32 (y, x), ids 1, 2, ...; the class of each id, as an array in the order of ids.
    """
    ids = number_densely(label(classes, background=0, connectivity=1), min_area_px)
    of_class = np.zeros(int(ids.max()) + 1, classes.dtype)
    of_class[ids] = classes
    return ids, of_class[1:]


def fill(ids):
    """Give each hole to the cell around it: background that touches one cell alone, along sides, and no edge.

    Args:
        ids: integers (y, x), 0 is background.

    Returns:
        Integers (y, x), with the holes filled.
    """
    gaps, count = ndimage.label(ids == 0)
    least = np.full(count + 1, np.iinfo(ids.dtype).max, ids.dtype)
    most = np.zeros(count + 1, ids.dtype)
    for here, there in _neighbours(ids.shape):
        for one, other in ((here, there), (there, here)):
            meets = (gaps[one] > 0) & (ids[other] > 0)
            np.minimum.at(least, gaps[one][meets], ids[other][meets])
            np.maximum.at(most, gaps[one][meets], ids[other][meets])
    owner = np.where(least == most, most, 0)
    owner[0] = 0
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        owner[edge] = 0
    return np.where(gaps > 0, owner[gaps], ids)


def number_densely(ids, min_area_px=0):
    """Renumber `ids` (y, x) as 1, 2, ... in their order, without those of fewer pixels than `min_area_px`; int32."""
    areas = np.bincount(ids.ravel())
    kept = areas >= max(min_area_px, 1)
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[ids]


def _neighbours(shape):
    """Pairs of regions of a plane of `shape` that hold each pixel and the one below it, and each and the one beside."""
    height, width = shape
    return (
        (np.s_[: height - 1, :], np.s_[1:, :]),
        (np.s_[:, : width - 1], np.s_[:, 1:]),
    )
