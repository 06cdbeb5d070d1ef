"""Linear assignment: the pairs with the largest total score in which every object occurs at most once."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from tessera.tracking.array_types import Bools, Floats, Indices

MAX_FIXING_ROUNDS = 2  # rounds in which certain pairs are fixed; few pairs remain afterwards
PAIRS_PER_PROBLEM = 2000  # pairs that are solved together; connected components are never divided


def assign(first: Indices, second: Indices, scores: Floats) -> Indices:
    """Choose the pairs with the largest total score; every object is in at most one pair and may stay unpaired.

    A pair whose score is at least the sum of the second-best scores of both its objects belongs to some optimal
    solution and is fixed first. In each remaining connected component, if the best pairs of all first objects have
    different second objects, these pairs are optimal. Only the other components are solved as sparse linear assignment
    problems, in which each object may stay alone.

    Args:
        first, second: non-negative int64 (pairs,), the two objects of each pair.
        scores: float64 (pairs,); pairs without a positive score are never chosen.

    Returns:
        Indices of the chosen pairs.
    """
    open_pairs = np.flatnonzero(scores > 0)
    chosen = []
    for _ in range(MAX_FIXING_ROUNDS):
        if not len(open_pairs):
            break
        score = scores[open_pairs]
        objects = [side[open_pairs] - side[open_pairs].min() for side in (first, second)]
        (best_first, rival_first), (best_second, rival_second) = (best_and_rival(side, score) for side in objects)
        certain = best_first & best_second & (score >= rival_first + rival_second)
        if not certain.any():
            break
        chosen.append(open_pairs[certain])
        conflicting = np.zeros(len(open_pairs), bool)
        for side in objects:
            paired = np.zeros(side.max() + 1, bool)
            paired[side[certain]] = True
            conflicting |= paired[side]
        open_pairs = open_pairs[~conflicting]
    if len(open_pairs):
        uncontested, problems = _split_into_problems(first[open_pairs], second[open_pairs], scores[open_pairs])
        chosen.append(open_pairs[uncontested])
        for pairs in (open_pairs[problem] for problem in problems):
            chosen.append(pairs[_solve(first[pairs], second[pairs], scores[pairs])])
    return np.concatenate(chosen) if chosen else np.zeros(0, int)


def best_and_rival(objects: Indices, scores: Floats) -> tuple[Bools, Floats]:
    """For each claim on an object: whether it is the best claim, and the best score of the other claims.

    Args:
        objects: non-negative int64 (claims,), the object that each claim is about.
        scores: float64 (claims,), positive.

    Returns:
        bool (claims,), whether it is the best claim on its object, the first one of equal claims; and float64
        (claims,), the best score among the other claims on the same object, 0 if there are none.
    """
    best = np.zeros(objects.max() + 1)
    np.maximum.at(best, objects, scores)
    top = np.flatnonzero(scores == best[objects])
    first = np.empty(len(best), int)
    first[objects[top[::-1]]] = top[::-1]  # the first one of equal claims
    is_best = first[objects] == np.arange(len(objects))
    second = np.zeros(len(best))
    np.maximum.at(second, objects, np.where(is_best, 0, scores))
    return is_best, np.where(is_best, second[objects], best[objects])


def _split_into_problems(first: Indices, second: Indices, scores: Floats) -> tuple[Indices, list[Indices]]:
    """Positions of pairs that are optimal without a solver, and those to be solved, in independent problems.

    Problems share no object. They are kept small, since the solver's time grows faster than its input.
    """
    a, b = (np.unique(side, return_inverse=True)[1] for side in (first, second))
    count = int(a.max()) + int(b.max()) + 2
    graph = coo_array((np.ones(len(a), bool), (a, a.max() + 1 + b)), shape=(count, count))
    component = connected_components(graph, directed=False)[1][a]
    best = np.flatnonzero(best_and_rival(a, scores)[0])
    shared = np.bincount(b[best])[b[best]] > 1
    contested = np.isin(component, component[best[shared]])
    rest = np.flatnonzero(contested)
    rest = rest[np.argsort(component[rest], kind="stable")]
    heads = np.flatnonzero(np.diff(component[rest], prepend=-1) != 0)
    problem = heads // PAIRS_PER_PROBLEM
    problems = np.split(rest, heads[1:][np.diff(problem) > 0]) if len(rest) else []
    return best[~contested[best]], problems


def _solve(first: Indices, second: Indices, scores: Floats) -> Indices:
    """Solve one assignment problem exactly; returns the positions of the chosen pairs.

    Each object has a dummy partner with score 0, so that it may stay alone.
    """
    firsts, a = np.unique(first, return_inverse=True)
    seconds, b = np.unique(second, return_inverse=True)
    n, m = len(firsts), len(seconds)
    ceiling = scores.max() + 1.0
    # Rows: first objects, then a dummy for each second object. Columns: second objects, then a dummy for each first.
    rows = np.concatenate([a, np.arange(n), n + np.arange(m), n + b])
    columns = np.concatenate([b, m + np.arange(n), np.arange(m), m + a])
    costs = np.concatenate([ceiling - scores, np.full(n, ceiling), np.full(m, ceiling), np.full(len(a), ceiling)])
    matrix = coo_array((costs, (rows, columns)), shape=(n + m, n + m)).tocsr()
    row, column = min_weight_full_bipartite_matching(matrix)
    real = (row < n) & (column < m)
    keys = a * m + b
    order = np.argsort(keys)
    return order[np.searchsorted(keys[order], row[real] * m + column[real])]
