"""Traces: from the objects of a movie to what became of each, links, gaps, divisions and repairs decided together."""

from dataclasses import dataclass, field

import numpy as np

from .chains import learn_motion, link_frames
from .divisions import REASONS, decide_divisions, find_divisions
from .gaps import find_gaps
from .links import NONE, assign
from .motions import Motion
from .repairs import Repairs

LEAST_EVIDENCE = 1.0  # of a division, in nats: a false one spoils a lineage more than a missed one


@dataclass
class Trace:
    """What became of the objects of a movie.

    Attributes:
        before: int64 (objects,), row of the object's former self, in the frame before or, after a gap, earlier; NONE.
        mother: int64 (objects,), row of the mother of a newborn; NONE.
        joins: int64 (objects,), row of the same frame that a piece of a cell belongs to; NONE: the object is no piece.
        hides: {(row after a gap, frame in it): row of the object that the missed cell is part of}.
        divisions: [(mother, heir, new, confidence, {reason: log-likelihood ratio}), ...], rows.
        gaps: {row after a gap: confidence}.
        motion: Motion that was found.
    """

    before: np.ndarray
    mother: np.ndarray
    joins: np.ndarray
    hides: dict = field(default_factory=dict)
    divisions: list = field(default_factory=list)
    gaps: dict = field(default_factory=dict)
    motion: Motion = None


def trace(objects, *, max_gap_frames=3, divisions=True, repair=True, reach_px=None):
    """Decide what became of each object of a movie.

    Args:
        objects: Detections.
        max_gap_frames: frames that an object may be missed for.
        divisions: whether objects may divide.
        repair: whether cells that are split or merged for some frames are mended.
        reach_px: largest distance from where an object is expected in the next frame, in pixels of x; None: as learned.

    Returns:
        Trace.
    """
    motion = learn_motion(objects)
    after, before = link_frames(objects, motion, reach=reach_px)
    result = Trace(before, np.full_like(before, NONE), np.full_like(before, NONE), motion=motion)
    if repair:
        repairs = Repairs(objects, motion, after, before)
        for stays, joins, first, last in repairs.find_splits():
            if after[first] not in (NONE, stays, joins) or before[last] not in (NONE, stays, joins):
                continue
            after[joins], before[joins] = NONE, NONE
            after[first], before[stays], after[stays], before[last] = stays, first, last, stays
            result.joins[joins] = stays
        for merger in repairs.find_mergers():
            _part(objects, motion, after, result, *merger)
    _explain_starts(objects, motion, after, result, max_gap_frames, divisions)
    return result


def _explain_starts(objects, motion, after, result, most, divide):
    """Each object without a former self is a daughter, comes after a gap, or is new, whatever is likeliest for all."""
    before, count = result.before, len(result.before)
    free = result.joins == NONE
    known = np.where(free, before, 0)  # pieces are no newcomers
    ends = (after == NONE) & free
    old, new, gains = find_gaps(objects, motion, after, known, most, ends) if most else (np.zeros(0, int),) * 3
    sides = [new], [old], [gains]
    found = find_divisions(objects, motion, after, known) if divide else None
    if found is not None and len(found.mother):
        decide_divisions(found, objects, known, new, gains)
        # Of the pairs of newcomers that a lost mother may have, the best come first.
        fresh = known[found.heir] == NONE
        order = np.flatnonzero(fresh)[np.argsort(-found.evidence[fresh])]
        bridged = np.zeros(count)
        np.maximum.at(bridged, new, gains)
        taken = set()
        for place in order:
            mother, heir, child = found.mother[place], found.heir[place], found.new[place]
            if (
                found.evidence[place] <= LEAST_EVIDENCE + bridged[heir] + bridged[child]
                or {mother, heir, child} & taken
            ):
                continue
            taken |= {mother, heir, child}
            _divide(result, after, found, place)
        gone = np.isin(found.new, list(taken)) | np.isin(found.mother, list(taken))
        found = found.chosen(np.flatnonzero(~fresh & ~gone & (found.evidence > LEAST_EVIDENCE)))
        held = np.isin(new, list(taken)) | np.isin(old, list(taken))
        sides = [new[~held]], [old[~held]], [gains[~held]]
        for side, more in zip(sides, (found.new, found.mother + count, found.evidence), strict=True):
            side.append(more)
    first, second, gains = (np.concatenate(side) for side in sides)
    for place in assign(first, second, gains):
        if second[place] < count:
            before[first[place]] = second[place]
            after[second[place]] = first[place]
            result.gaps[int(first[place])] = float(1 / (1 + np.exp(-gains[place])))
        else:
            _divide(result, after, found, place - len(sides[0][0]))


def _divide(result, after, found, place):
    mother, heir, new = int(found.mother[place]), int(found.heir[place]), int(found.new[place])
    evidence = found.terms[place]
    result.before[[heir, new]] = NONE
    result.mother[[heir, new]] = mother
    after[mother] = NONE
    confidence = float(1 / (1 + np.exp(-evidence.sum())))
    reasons = {name: round(float(value), 2) for name, value in zip(REASONS, evidence, strict=True)}
    result.divisions.append((mother, heir, new, confidence, reasons))


def _part(objects, motion, after, result, first, last, holders, other, heir):
    """Lead two cells through the object that held both, each to what is most like it."""
    straight = _unlike(objects, motion, first, last) + _unlike(objects, motion, other, heir)
    if straight > _unlike(objects, motion, first, heir) + _unlike(objects, motion, other, last):
        last, heir = heir, last
    # The other cell keeps the row of the merged object, the first one skips it.
    after[other], result.before[holders[0]] = holders[0], other
    after[holders[-1]], result.before[heir] = heir, holders[-1]
    after[first], result.before[last] = last, first
    result.gaps[last] = 1.0
    for holder in holders:
        result.hides[last, int(objects.times[holder])] = holder


def _unlike(objects, motion, one, two):
    distance = np.linalg.norm(objects.centres[one] - objects.centres[two]) / motion.shift
    size = np.log(objects.sizes[one] / objects.sizes[two]) / max(motion.size_spread, 0.1)
    return np.log1p(distance**2 / 3) + np.log1p(size**2 / 3)
