"""Gaps: objects that were missed for some frames, bridged where what comes after is the same for all one can see."""

from dataclasses import replace

import numpy as np

from tessera.tracking.detections import grow_tree, query_tree
from tessera.tracking.linear_assignment import assign
from tessera.tracking.link_scores import NONE, density_of
from tessera.tracking.motion_model import (
    RARELY_LOST,
    TEMPER,
    intensity_evidence,
    log_shift,
    log_sizes,
    shape_evidence,
    size_evidence,
)

NEAREST = 4
FEW = 10.0  # objects; of fewer it is not known whether the frame was bad when they are not seen


def weigh_doubts(objects, motion, chains):
    """Evidence (pairs,) of the links in doubt on the scale of that of gaps: ends are rarely without a reason."""
    first, second, gains = chains.doubts
    for rows in (first, second):
        gains = gains + np.where(objects.cut[rows], 0, max(np.log(motion.lost / RARELY_LOST), 0))
    return TEMPER * gains


def find_gaps(objects, motion, chains, most, reach=None):
    """Pairs of an object that ends and a later one that starts, not in the next frame, that may be the same.

    Args:
        objects: Detections.
        motion: Motion.
        chains: Chains.
        most: frames that may be missing.
        reach: see `tessera.tracking.link_scores.find_candidates`; so far for each frame.

    Returns:
        Rows before the gap, rows after it, evidence (pairs,): log-likelihood ratios against a loss and a newcomer.
    """
    found, counts = [], np.diff(objects.starts)
    ended = [objects.starts[t] + np.flatnonzero(chains.ends[objects.rows(t)]) for t in range(objects.frames)]
    for t in range(2, objects.frames):
        rows = objects.rows(t)
        new = rows.start + np.flatnonzero(chains.starts[rows])
        if not len(new):
            continue
        density = density_of(objects, t)
        moved = objects.drifts[t].copy()
        for missing in range(1, min(most, t - 1) + 1):
            last = t - 1 - missing
            moved += objects.drifts[last + 1]
            absent = _absent(counts[last + 1 : t], min(counts[last], counts[t]), motion)
            old = ended[last]
            if not len(old):
                continue
            found.append(_weigh(objects, motion, chains.before, old, new, missing, absent, moved, density, reach))
    if not found:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def bridge(chains, gaps):
    """Chains that go on over the gaps that are likely, of those between objects that no link explains.

    Args:
        chains: Chains.
        gaps: of `find_gaps`.
    """
    old, new, gains = gaps
    free = np.flatnonzero((chains.after[old] == NONE) & (chains.before[new] == NONE))
    free = free[assign(old[free], new[free], gains[free])]
    on, back = chains.after.copy(), chains.before.copy()
    on[old[free]], back[new[free]] = new[free], old[free]
    return replace(chains, on=on, back=back)


def _absent(counts, around, motion):
    """Logarithm of how likely it is to be missed in frames of so many objects, with `around` objects before and after.

    Where a frame lacks most of them it was a bad one, and none was lost.
    """
    lacking = [(around - count) / (around + FEW) if 2 * count < around else 0 for count in counts]
    return sum(np.log(max(share, motion.missed)) for share in lacking)


def _weigh(objects, motion, before, old, new, missing, absent, moved, density, limit):
    earlier = before[old]
    speed = objects.centres[old] - objects.centres[np.maximum(earlier, 0)] - objects.drifts[objects.times[old][0]]
    lasting = sum(motion.persistence**step for step in range(1, missing + 2))
    expected = objects.centres[old] + moved + np.where((earlier >= 0)[:, None], lasting * speed, 0)
    scale = motion.shift_after(missing + 1)
    reach = 3 * float(np.median(objects.radii[old])) + 6 * scale
    reach = reach if limit is None else min(reach, limit * (missing + 1))
    near, at = query_tree(grow_tree(objects.centres[new]), expected, NEAREST, reach)
    one, rank = np.nonzero(np.isfinite(near))
    first, second = old[one], new[at[one, rank]]
    distance = near[one, rank]
    evidence = log_shift(distance, scale, motion.dimensions) - np.log(density)
    logs = objects.logs[second]
    ratios = (logs - objects.logs[first] - motion.growth * missing) / np.sqrt(missing + 1)
    cut = objects.cut[second]
    evidence += size_evidence(ratios, log_sizes(logs, cut, motion), objects.cut[first] | cut, motion)
    evidence += shape_evidence(objects.shapes, first, second, motion, missing + 1)
    evidence += intensity_evidence(objects.intensities[first], objects.intensities[second], motion)
    lost, came = (np.where(objects.cut[rows], motion.lost_cut, RARELY_LOST) for rows in (first, second))
    evidence += absent - np.log(lost) - np.log(came)
    return first, second, TEMPER * evidence
