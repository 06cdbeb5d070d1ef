"""Stacks: cross-sections in neighbouring planes that are one object."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def join_sections(shared, areas, share):
    """Join cross-sections that overlap in neighbouring planes, each with one at most in either plane.

    Two are joined if each is the one that the other overlaps most, the first of these, and they share at least `share`
    of the smaller.

    Args:
        shared: int64 (3, pairs), all of `tessera.common.run_length.count_overlaps`; a pair may be there more than once.
        areas: pixels by id, of 0 as well.
        share: from 0 to 1.

    Returns:
        int32 by former id: the id of the object, 0 for 0; numbered as the lowest of their cross-sections were.
    """
    count = len(areas)
    total = coo_array((shared[2], (shared[0], shared[1])), shape=(count, count)).tocsr().tocoo()
    below, above, pixels = total.row, total.col, total.data
    up, down = _most(below, above, pixels), _most(above, below, pixels)
    enough = pixels >= share * np.minimum(areas[below], areas[above])
    mutual = up & down & enough
    graph = coo_array((np.ones(mutual.sum(), bool), (below[mutual], above[mutual])), shape=(count, count))
    _, objects = connected_components(graph, directed=False)
    _, first, objects = np.unique(objects, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[objects]


def _most(one, other, pixels):
    """Whether each pair is the one with the most pixels among those of the same `one`, the first `other` of these."""
    order = np.lexsort((other, -pixels, one))
    _, first = np.unique(one[order], return_index=True)
    best = np.zeros(len(one), bool)
    best[order[first]] = True
    return best
