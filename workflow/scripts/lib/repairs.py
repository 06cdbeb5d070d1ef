"""Repairs: pieces of a cell that was split in one frame, and cells that were merged in a few, told by looking along time."""

import numpy as np
from scipy.spatial import cKDTree

from .links import NONE

TOLERANCE = 0.25  # of the logarithm of sizes that should be the same
LEAST_CHANGE = 0.12  # of the logarithm by which a piece alone differs from the whole


def find_splits(objects, motion, after, before):
    """Pairs of objects of one frame that are one cell, for it is whole in the frames before and after.

    Args:
        objects: Detections.
        motion: Motion.
        after, before: of `lib.chains.link_frames`.

    Returns:
        [(row that stays, row that joins it, row before, row after), ...].
    """
    found, taken = [], set()
    sizes, times = objects.sizes, objects.times
    loose = np.flatnonzero((before == NONE) ^ (after == NONE)) if len(before) else ()
    alone = np.flatnonzero((before == NONE) & (after == NONE)) if len(before) else ()
    tolerance = max(TOLERANCE, 2 * motion.size_spread)
    pieces = np.concatenate([alone, [row for row in loose if after[row] == NONE]]).astype(int)
    by_time = {}
    for row in pieces:
        if 0 < times[row] < objects.frames - 1:
            by_time.setdefault(times[row], []).append(row)
    for t, rows in by_time.items():
        span = objects.rows(t)
        near, at = cKDTree(objects.centres[span]).query(objects.centres[rows], k=min(5, span.stop - span.start))
        for row, distances, others in zip(rows, np.atleast_2d(near), np.atleast_2d(at), strict=True):
            for distance, other in zip(distances, others + span.start, strict=True):
                if other == row or {row, other} & taken or not np.isfinite(distance):
                    continue
                # One of the two goes back, one goes on.
                first = before[row] if before[row] != NONE else before[other]
                last = after[row] if after[row] != NONE else after[other]
                if NONE in (first, last) or (before[row] != NONE and before[other] != NONE):
                    continue
                if after[row] != NONE and after[other] != NONE:
                    continue
                if distance > 1.5 * (objects.radii[row] + objects.radii[other]):
                    continue
                whole = np.log([sizes[first], sizes[last]])
                both, single = np.log(sizes[row] + sizes[other]), np.log(max(sizes[other], sizes[row]))
                if np.abs(whole - both).max() > tolerance or np.abs(whole - both).mean() > np.abs(whole - single).mean():
                    continue
                if (whole - single).min() < min(LEAST_CHANGE, 2 * motion.size_spread):
                    continue
                middle = (objects.centres[first] + objects.drifts[t] + objects.centres[last] - objects.drifts[t + 1]) / 2
                share = sizes[row] / (sizes[row] + sizes[other])
                centre = share * objects.centres[row] + (1 - share) * objects.centres[other]
                if np.linalg.norm(centre - middle) > objects.radii[first] + 2 * motion.shift:
                    continue
                taken |= {row, other}
                stays, joins = (other, row) if sizes[other] >= sizes[row] else (row, other)
                found.append((stays, joins, first, last))
                break
    return found


def find_merger(objects, motion, after, before, gap, t, centre):
    """The object of frame t in which a cell that is missed there is hidden with another, NONE where it is in none.

    Args:
        objects, motion, after, before: as in `find_splits`.
        gap: (row before the gap, row after it).
        t: a frame in the gap.
        centre: float64 (3,), where the cell should be.
    """
    span = objects.rows(t)
    if span.start == span.stop:
        return NONE
    distance = np.linalg.norm(objects.centres[span] - centre, axis=1)
    missed = (objects.sizes[gap[0]] + objects.sizes[gap[1]]) / 2
    tolerance = max(TOLERANCE, 2 * motion.size_spread)
    for place in np.argsort(distance)[:3]:
        row = span.start + place
        if distance[place] > 1.2 * objects.radii[row] + motion.shift:
            continue
        kin = [other for other in (before[row], after[row]) if other != NONE]
        own = np.mean([objects.sizes[other] for other in kin]) if kin else missed
        excess = np.log(objects.sizes[row] / (own + missed))
        if abs(excess) < tolerance and np.log(objects.sizes[row] / own) > 2 * tolerance / 3:
            return row
    return NONE
