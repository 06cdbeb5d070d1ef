"""Owners: which pieces are cells, and to which cells the others belong."""

import numpy as np

from tessera.segmentation.connected_components import connect
from tessera.segmentation.relabeling import name_pieces

GAP, CELL, REMNANT = range(3)  # kinds of pieces; a remnant is foreground that no seed reaches


def name_cells(pieces, rules):
    """Decide which pieces are cells, and number these by their first pixels.

    A remnant goes to the cell with which it shares the longest border, and is a cell of its own, one too faint to be
    seeded, where there is none. So does then a cell that is too small, which is removed where there is none. A hole is
    a gap, with all that was removed in it, that touches one cell alone, and no edge of the plane.

    Args:
        pieces: `tessera.segmentation.connected_components.Pieces` of planes.
        rules: `tessera.segmentation.seeded_growth.Rules`.

    Returns:
        tessera.segmentation.relabeling.Named, with kind CELL for all.
    """
    count = len(pieces.kinds)
    open_ = (pieces.kinds != CELL) | (pieces.areas < rules.min_area_px)
    open_[pieces.touches[:2]] = open_[0] = True
    at = np.flatnonzero(open_)
    numbers = np.cumsum(open_, dtype=np.int32) - np.int32(1)
    some = pieces._replace(kinds=pieces.kinds[at], areas=pieces.areas[at], edges=pieces.edges[at])
    owner = np.arange(count, dtype=np.int32)
    owner[at] = at[_assign(some._replace(touches=np.vstack([numbers[pieces.touches[:2]], pieces.touches[2]])), rules)]
    return name_pieces(pieces._replace(kinds=np.full(count, CELL, np.uint8)), owner)


def _assign(pieces, rules):
    """The owner of each of the pieces whose cell is not known to be their own, as of `name_pieces`."""
    count = len(pieces.kinds)
    owner = np.arange(count)
    kinds = pieces.kinds.copy()
    kinds[0] = GAP
    one, other, shared = pieces.touches
    _give(owner, (kinds[one] == REMNANT) & (kinds[other] == CELL), one, other, shared)
    areas = np.bincount(owner, pieces.areas, minlength=count)
    is_cell = (kinds != GAP) & (owner == np.arange(count))
    small = is_cell & (areas < rules.min_area_px)
    one, other = owner[one], owner[other]
    taken = np.arange(count)
    _give(taken, small[one] & is_cell[other] & ~small[other], one, other, shared)
    taken[small & (taken == np.arange(count))] = 0
    empty = (kinds == GAP) | (taken == 0)
    hollow = connect(count, *(side[empty[one] & empty[other]] for side in (one, other)))
    rim = empty[one] & ~empty[other]
    least, most = np.full(count, count), np.zeros(count, np.int64)
    np.minimum.at(least, hollow[one[rim]], taken[other[rim]])
    np.maximum.at(most, hollow[one[rim]], taken[other[rim]])
    hollow = hollow[owner]
    areas, edges = (np.bincount(hollow, each, minlength=count) for each in (pieces.areas, pieces.edges))
    is_hole = (least == most) & (edges == 0) & (areas <= rules.max_hole_px)
    owner = np.where(empty[owner], np.where(is_hole, most, 0)[hollow], taken[owner])
    return owner


def _give(owner, pairs, one, other, shared):
    """Let `owner` of each piece in the `pairs` be the other that it shares most sides with, the first of these."""
    if not pairs.any():
        return
    key = one[pairs].astype(np.int64) * len(owner) + other[pairs]
    keys, at = np.unique(key, return_inverse=True)
    lengths = np.bincount(at, shared[pairs])
    giver, taker = np.divmod(keys, len(owner))
    order = np.lexsort((taker, -lengths, giver))
    givers, best = np.unique(giver[order], return_index=True)
    owner[givers] = taker[order][best]
