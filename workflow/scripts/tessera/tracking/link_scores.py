"""Links: which object of a frame may be which of the next, and what speaks for it."""

import numpy as np

from tessera.tracking.motion_model import (
    intensity_evidence,
    lengths_of,
    log_shift,
    log_sizes,
    overlap_bins,
    shape_evidence,
    size_evidence,
)

NEAREST = 4  # candidates of each object
SPOILT = -2.5  # nats that size and looks say together against objects that overlap, unless the size alone says more
NONE = -1


def find_candidates(objects, motion, t, rows, expected, came=None, reach=None):
    """Pairs of objects of frame t and the next one that may be the same, and what speaks for each.

    Args:
        objects: Detections.
        motion: Motion.
        t: the earlier frame.
        rows: int64 (n,), objects of frame t.
        expected: float64 (n, 3), where each should be in the frame after.
        came: None, or bool (n,), whether an object is new, so that nothing tells where it should be; and float64
            (objects of frame t + 1, 3), where each of these should have been in frame t, NaN where that is unknown.
        reach: pixels of x beyond which nothing is looked for; None: as far as `motion` makes likely.

    Returns:
        Rows before, rows after, evidence: log-likelihood ratios against both being alone (pairs,).
    """
    two = objects.rows(t + 1)
    centres = objects.centres[two]
    if not len(expected) or not len(centres):
        return (np.zeros(0, int),) * 2 + (np.zeros(0),)
    density = density_of(objects, t + 1)
    limit, reach = reach, find_reach(motion, density)
    near, at = objects.nearest(t + 1, expected, NEAREST, reach)
    one, other, pixels = _overlaps(objects, t, rows)
    known = at[one] == other[:, None]
    shared = np.zeros(near.shape)
    pair, rank = np.nonzero(known)
    shared[one[pair], rank] = pixels[pair]
    more = ~known.any(1)
    one, other, pixels = one[more], other[more], pixels[more]
    found = np.flatnonzero(at < len(centres))
    way = centres[other] - expected[one]
    one, other = np.concatenate([found // at.shape[1], one]), np.concatenate([at.take(found), other])
    distance = np.concatenate([near.take(found), lengths_of(way)])
    pixels = np.concatenate([shared.take(found), pixels])
    if limit is not None:
        close = distance <= limit
        one, other, distance, pixels = one[close], other[close], distance[close], pixels[close]
    first, second = rows[one], other + two.start
    place = log_shift(distance, motion.shift, motion.dimensions)
    if came is not None:
        new, origins = came
        off = lengths_of(objects.centres.take(first, axis=0) - origins[other])
        told = new[one] & np.isfinite(off)
        place[told] = log_shift(off[told], motion.shift, motion.dimensions)
    return first, second, place - np.log(density) + weigh(objects, motion, t, first, second, pixels)


def _overlaps(objects, t, rows):
    """Overlaps of `rows` of frame t with the next: which of them, which of the next, pixels (pairs,)."""
    before, later, pixels = objects.overlaps[t]
    place = np.full(objects.starts[t + 1] - objects.starts[t], NONE)
    place[rows - objects.starts[t]] = np.arange(len(rows))
    one = place[before - objects.starts[t]]
    mine = one != NONE
    return one[mine], later[mine] - objects.starts[t + 1], pixels[mine]


def density_of(objects, t):
    """Objects per pixel of x squared (or cubed) of the image, of frame t."""
    centres = objects.centres[objects.rows(t)][:, -objects.dimensions :]
    span = np.array(objects.shape, float)[-objects.dimensions :] * objects.steps[-objects.dimensions :]
    return max(len(centres), 1) / float(np.prod(span))


def find_reach(motion, density):
    """Distance at which a link is as likely as two objects alone, whatever else speaks for it."""
    slack = -np.log(motion.lost**2 * density) + 4.0
    tail = (3.0 + motion.dimensions) / 2
    top = log_shift(0.0, motion.shift, motion.dimensions) + slack
    return motion.shift * np.sqrt(3.0 * np.expm1(np.clip(top / tail, 0.1, 12)))


def weigh(objects, motion, t, first, second, shared):
    """What all but the place says for pairs being one object, against one that is lost and one that is new (pairs,)."""
    sizes, logs, cut, two = objects.sizes, objects.logs, objects.cut, objects.rows(t + 1)
    anyone = log_sizes(logs[two], cut[two], motion)[second - two.start]
    evidence = size_evidence(logs[second] - logs[first], anyone, cut[first] | cut[second], motion)
    looks = shape_evidence(objects.shapes, first, second, motion)
    looks += intensity_evidence(objects.intensities[first], objects.intensities[second], motion)
    # A mask that lost a part, or has one too many, still lies where the cell is.
    evidence = np.where(shared > 0, np.maximum(evidence + looks, np.minimum(evidence, SPOILT)), evidence + looks)
    if motion.overlap is not None:
        evidence += motion.overlap[overlap_bins(shared, sizes[first], sizes[second])]
    lost, new = (np.where(cut[rows], motion.lost_cut, motion.lost) for rows in (first, second))
    return evidence + np.log1p(-lost) - np.log(lost) - np.log(new)
