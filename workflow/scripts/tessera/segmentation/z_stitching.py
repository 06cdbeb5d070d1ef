"""Stitching through z: cross-sections in neighboring planes that overlap are one object."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def stitch_sections(
    overlaps: NDArray[np.int64], areas: NDArray[np.int64], stitch_threshold: float
) -> NDArray[np.int32]:
    """Join cross-sections that overlap in neighboring planes; each joins at most one other in either plane.

    Two cross-sections are joined if each overlaps the other most (the one with the lowest id, if several overlap
    equally) and if they share at least `stitch_threshold` of the smaller one.

    Args:
        overlaps: (3, pairs): id in the lower plane, id in the upper plane, number of shared pixels, as from
            `tessera.common.run_length.count_shared_pixels`. A pair may occur more than once.
        areas: (ids + 1,), number of pixels of each cross-section by id; entry 0 is the background.
        stitch_threshold: 0 to 1.

    Returns:
        (ids + 1,): the id of the object of each cross-section, 0 for 0. Objects are numbered in the order of their
        lowest cross-sections.
    """
    count = len(areas)
    summed = coo_array((overlaps[2], (overlaps[0], overlaps[1])), shape=(count, count)).tocsr().tocoo()
    below, above, pixels = summed.row, summed.col, summed.data
    enough = pixels >= stitch_threshold * np.minimum(areas[below], areas[above])
    joined = _is_best(below, above, pixels) & _is_best(above, below, pixels) & enough
    graph = coo_array((np.ones(joined.sum(), bool), (below[joined], above[joined])), shape=(count, count))
    _, group_numbers = connected_components(graph, directed=False)
    _, first, groups = np.unique(group_numbers, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int32)
    ranks[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    objects: NDArray[np.int32] = ranks[groups]
    return objects


def _is_best(sections: NDArray[np.int32], partners: NDArray[np.int32], pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each pair has the most pixels of all pairs of its section; ties go to the partner with the lowest id."""
    order = np.lexsort((partners, -pixels, sections))
    _, first = np.unique(sections[order], return_index=True)
    best = np.zeros(len(sections), bool)
    best[order[first]] = True
    return best
