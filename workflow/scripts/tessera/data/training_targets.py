"""Training targets of the networks, computed from masks."""

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import label

from tessera.common.constants import IGNORE


def instance_targets(ids, boundary_px, known=None):
    """Classes from which touching cells can be parted: every cell is ringed by a boundary of its own pixels.

    Boundary are the pixels of a cell that are at most `boundary_px` from the centre of a pixel that is not of this
    cell, or half of the cell's greatest depth where that is less, so that a thin cell keeps a core. The edge of the
    array is no boundary. Each piece of a cell in several pieces has a core. A pixel that is boundary only if the cell
    ends where nobody looked is IGNORE, since it may well go on there.

    Args:
        ids: integers (y, x), 0 is background.
        boundary_px: width of the boundary; 0: none.
        known: (y, x) whether background is known to be that; None: everywhere.

    Returns:
        uint8 (y, x): 0 background, 1 interior, 2 boundary, IGNORE.
    """
    elsewhere = np.zeros(ids.shape, bool) if known is None else ~known & (ids == 0)
    margin = int(boundary_px) + 1 if elsewhere.any() else 1
    pieces = label(np.asarray(ids), background=0, connectivity=2)
    targets = np.zeros(pieces.shape, np.uint8)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        around = tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)
        inside = pieces[around] == number
        depth = _depth(inside)
        width = min(boundary_px, depth.max() / 2)
        targets[around][inside] = np.where(depth[inside] > width, 1, 2)
        if elsewhere[around].any():
            doubtful = inside & (depth <= width) & (_depth(inside | elsewhere[around]) > width)
            targets[around][doubtful] = IGNORE
    targets[elsewhere] = IGNORE
    return targets


def _depth(inside):
    if inside.all():
        return np.full(inside.shape, np.inf)
    # Exact as SciPy's, and five times as quick for what is as small as a cell.
    return cv2.distanceTransform(np.ascontiguousarray(inside).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
