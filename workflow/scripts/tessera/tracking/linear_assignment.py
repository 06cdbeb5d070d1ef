"""Assignments: of pairs that may be, those that gain most together, each object in one at most."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

ROUNDS = 2  # of taking what is certain; few pairs are left then
BATCH = 2000  # pairs that are solved together, or more where more hang together


def assign(first, second, gains):
    """The pairs that gain most together, each object in one at most; pairs without a gain are left out.

    Pairs that are certain are taken first: one whose gain is not below the next best of both its objects together is in
    a best solution. Of what is left, those that hang together get what they like best where no two like the same; the
    rest is solved exactly, as a sparse assignment in which each object may stay alone.

    Args:
        first, second: non-negative integers (pairs,), objects of the two sides.
        gains: float64 (pairs,).

    Returns:
        Indices of the chosen pairs.
    """
    left = np.flatnonzero(gains > 0)
    chosen = []
    for _ in range(ROUNDS):
        if not len(left):
            break
        gain = gains[left]
        sides = [side[left] - side[left].min() for side in (first, second)]
        (best_one, other_one), (best_two, other_two) = (weigh_rivals(side, gain) for side in sides)
        sure = best_one & best_two & (gain >= other_one + other_two)
        if not sure.any():
            break
        chosen.append(left[sure])
        taken = np.zeros(len(left), bool)
        for side in sides:
            gone = np.zeros(side.max() + 1, bool)
            gone[side[sure]] = True
            taken |= gone[side]
        left = left[~taken]
    if len(left):
        free, batches = _part(first[left], second[left], gains[left])
        chosen.append(left[free])
        for pairs in (left[batch] for batch in batches):
            chosen.append(pairs[_solve(first[pairs], second[pairs], gains[pairs])])
    return np.concatenate(chosen) if chosen else np.zeros(0, int)


def weigh_rivals(objects, gains):
    """Which of several that want the same is the best one.

    Args:
        objects: non-negative integers (claims,), what is wanted.
        gains: float64 (claims,), positive.

    Returns:
        bool (claims,), whether it is the best of its object, the first of those that are as good; float64 (claims,),
        the gain of the best other one, 0 where there is none.
    """
    best = np.zeros(objects.max() + 1)
    np.maximum.at(best, objects, gains)
    top = np.flatnonzero(gains == best[objects])
    first = np.empty(len(best), int)
    first[objects[top[::-1]]] = top[::-1]  # of several that are as good, the first
    is_best = first[objects] == np.arange(len(objects))
    second = np.zeros(len(best))
    np.maximum.at(second, objects, np.where(is_best, 0, gains))
    return is_best, np.where(is_best, second[objects], best[objects])


def _part(first, second, gains):
    """Positions of pairs that are chosen, and of those that are still to be solved, in batches.

    Where all first objects that hang together can have what they gain most by, no more can be gained. No two batches
    have an object in common: the solver's time grows faster than what it is given.
    """
    a, b = (np.unique(side, return_inverse=True)[1] for side in (first, second))
    count = int(a.max()) + int(b.max()) + 2
    graph = coo_array((np.ones(len(a), bool), (a, a.max() + 1 + b)), shape=(count, count))
    group = connected_components(graph, directed=False)[1][a]
    best = np.flatnonzero(weigh_rivals(a, gains)[0])
    wanted = np.bincount(b[best])[b[best]] > 1
    contested = np.isin(group, group[best[wanted]])
    rest = np.flatnonzero(contested)
    rest = rest[np.argsort(group[rest], kind="stable")]
    heads = np.flatnonzero(np.diff(group[rest], prepend=-1) != 0)
    batch = heads // BATCH
    batches = np.split(rest, heads[1:][np.diff(batch) > 0]) if len(rest) else []
    return best[~contested[best]], batches


def _solve(first, second, gains):
    """Exact assignment with dummies: object a may stay alone at no gain; positions of the chosen pairs."""
    ones, a = np.unique(first, return_inverse=True)
    twos, b = np.unique(second, return_inverse=True)
    n, m = len(ones), len(twos)
    ceiling = gains.max() + 1.0
    # Rows are objects before and a stand-in for each after; columns the other way round.
    rows = np.concatenate([a, np.arange(n), n + np.arange(m), n + b])
    columns = np.concatenate([b, m + np.arange(n), np.arange(m), m + a])
    costs = np.concatenate([ceiling - gains, np.full(n, ceiling), np.full(m, ceiling), np.full(len(a), ceiling)])
    matrix = coo_array((costs, (rows, columns)), shape=(n + m, n + m)).tocsr()
    row, column = min_weight_full_bipartite_matching(matrix)
    real = (row < n) & (column < m)
    keys = a * m + b
    order = np.argsort(keys)
    return order[np.searchsorted(keys[order], row[real] * m + column[real])]
