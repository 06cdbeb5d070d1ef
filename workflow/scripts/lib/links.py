"""Links: which object of a frame is which of the next, decided for all of a frame together."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from .motions import light_evidence, log_shift, overlap_bins, size_evidence

NEAREST = 6  # candidates of each object
NONE = -1
ROUNDS = 3  # of taking what is certain; few pairs are left then


def find_candidates(objects, motion, t, expected, reach=None):
    """Pairs of objects of frame t and the next one that may be the same, and what speaks for each.

    Args:
        objects: Detections.
        motion: Motion.
        t: the earlier frame.
        expected: float64 (objects of frame t, 3), where each should be in the frame after.
        reach: pixels of x beyond which nothing is looked for; None: as far as `motion` makes likely.

    Returns:
        Rows before, rows after, evidence: log-likelihood ratios against both being alone (pairs,).
    """
    one, two = objects.rows(t), objects.rows(t + 1)
    after = objects.centres[two]
    if not len(expected) or not len(after):
        return (np.zeros(0, int),) * 2 + (np.zeros(0),)
    density = density_of(objects, t + 1)
    limit, reach = reach, find_reach(motion, density)
    # A tree that is not balanced is quicker to build, and objects lie evenly enough.
    tree = cKDTree(after, balanced_tree=False, compact_nodes=False)
    near, at = tree.query(expected, k=min(NEAREST, len(after)), distance_upper_bound=reach)
    near, at = near.reshape(len(expected), -1), at.reshape(len(expected), -1)
    rows, rank = np.nonzero(np.isfinite(near))
    first, second = rows + one.start, at[rows, rank] + two.start
    before, later, shared = objects.overlaps[t]
    count = len(objects.labels) + 1
    keys = np.concatenate([first * count + second, before * count + later])
    pixels = np.concatenate([np.zeros(len(first)), shared])
    order = np.argsort(keys, kind="stable")
    keys, pixels = keys[order], pixels[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, bool)
    # An overlap stands after the neighbour of the same key.
    keys, pixels = keys[last], pixels[last]
    first, second = keys // count, keys % count
    way = objects.centres[second] - expected[first - one.start]
    distance = np.sqrt(np.einsum("ij,ij->i", way, way))
    close = distance <= (np.inf if limit is None else limit)
    first, second, distance, pixels = first[close], second[close], distance[close], pixels[close]
    return first, second, weigh(objects, motion, first, second, distance, pixels, density)


def density_of(objects, t):
    """Objects per pixel of x squared (or cubed) of frame t, in the part of the image that has any."""
    centres = objects.centres[objects.rows(t)][:, -objects.dimensions :]
    span = np.array(objects.shape, float)[-objects.dimensions :] * objects.steps[-objects.dimensions :]
    return max(len(centres), 1) / float(np.prod(span))


def find_reach(motion, density):
    """Distance at which a link is as likely as two objects alone, whatever else speaks for it."""
    slack = -np.log(motion.lost**2 * density) + 4.0
    tail = (3.0 + motion.dimensions) / 2
    top = log_shift(0.0, motion.shift, motion.dimensions) + slack
    return motion.shift * np.sqrt(3.0 * np.expm1(np.clip(top / tail, 0.1, 12)))


def weigh(objects, motion, first, second, distance, shared, density):
    """Log-likelihood ratios of pairs being one object, against one that is lost and one that is new (pairs,)."""
    sizes, cut = objects.sizes, objects.cut
    evidence = log_shift(distance, motion.shift, motion.dimensions) - np.log(density)
    logs = np.log(sizes[second])
    evidence += size_evidence(logs - np.log(sizes[first]), logs, cut[first], cut[second], motion)
    evidence += light_evidence(objects.lights[first], objects.lights[second], motion)
    if motion.overlap is not None:
        evidence += motion.overlap[overlap_bins(shared, sizes[first], sizes[second])]
    lost = np.where(cut[first], motion.lost_cut, motion.lost)
    new = np.where(cut[second], motion.lost_cut, motion.lost)
    return evidence + np.log1p(-lost) - np.log(lost) - np.log(new)


def assign(first, second, gains):
    """The pairs that gain most together, each object in one at most; pairs without a gain are left out.

    Pairs that are certain are taken first: one whose gain is not below the next best of both its objects together is in
    a best solution. What is left is solved exactly, as a sparse assignment in which each object may stay alone.

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
        (best_one, next_one), (best_two, next_two) = (_two_best(side[left], gain) for side in (first, second))
        here = np.arange(len(left))
        sure = (best_one == here) & (best_two == here) & (gain >= next_one + next_two)
        if not sure.any():
            break
        chosen.append(left[sure])
        taken = [np.zeros(side.max() + 1, bool) for side in (first, second)]
        for mark, side in zip(taken, (first, second), strict=True):
            mark[side[left[sure]]] = True
        left = left[~(taken[0][first[left]] | taken[1][second[left]])]
    if len(left):
        chosen.append(left[_solve(first[left], second[left], gains[left])])
    return np.concatenate(chosen) if chosen else np.zeros(0, int)


def _two_best(objects, gains):
    """For each pair the best pair of its object, by position, and the gain of the object's second best or 0."""
    order = np.argsort(objects, kind="stable")
    ranked, gain = objects[order], gains[order]
    head = np.append(True, ranked[1:] != ranked[:-1])
    starts, group = np.flatnonzero(head), np.cumsum(head) - 1
    top = np.flatnonzero(gain == np.maximum.reduceat(gain, starts)[group])
    top = top[np.append(True, group[top[1:]] != group[top[:-1]])]
    gain[top] = 0
    second = np.maximum.reduceat(gain, starts)
    best, next_best = np.empty(len(order), int), np.empty(len(order))
    best[order], next_best[order] = order[top][group], second[group]
    return best, next_best


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
