"""Traces: from the objects of a movie to what became of each, links, gaps, divisions and repairs decided together."""

from dataclasses import dataclass, field

import numpy as np

from .chains import learn_motion, link_frames
from .divisions import REASONS, decide_divisions, find_divisions
from .gaps import find_gaps
from .links import NONE, assign
from .motions import Motion
from .repairs import find_merger, find_splits


@dataclass
class Trace:
    """What became of the objects of a movie.

    Attributes:
        before: int64 (objects,), row of the object's former self, in the frame before or, after a gap, earlier; NONE.
        mother: int64 (objects,), row of the mother of a newborn; NONE.
        joins: int64 (objects,), row of the same frame that a piece of a cell belongs to; NONE: the object is no piece.
        hides: {(row before a gap, frame): row of the object that the missed cell is part of}.
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


def trace(objects, *, max_gap_frames=3, divisions=True, repair=True):
    """Decide what became of each object of a movie.

    Args:
        objects: Detections.
        max_gap_frames: frames that an object may be missed for.
        divisions: whether objects may divide.
        repair: whether cells that are split or merged for some frames are mended.

    Returns:
        Trace.
    """
    motion = learn_motion(objects)
    after, before = link_frames(objects, motion)
    result = Trace(before, np.full_like(before, NONE), np.full_like(before, NONE), motion=motion)
    if repair:
        for stays, joins, first, last in find_splits(objects, motion, after, before):
            after[joins], before[joins] = NONE, NONE
            after[first], before[stays], after[stays], before[last] = stays, first, last, stays
            result.joins[joins] = stays
    _explain_starts(objects, motion, after, result, max_gap_frames, divisions)
    if repair:
        _find_hidden(objects, motion, after, result)
    return result


def _explain_starts(objects, motion, after, result, most, divide):
    """Each object without a former self is a daughter, comes after a gap, or is new, whatever is likeliest for all."""
    before, count = result.before, len(result.before)
    free = result.joins == NONE
    hidden = np.where(free, before, 0)  # pieces are no newcomers
    starts = int((hidden[objects.starts[1] :] == NONE).sum()) if objects.frames > 1 else 0
    found = find_divisions(objects, motion, after, hidden) if divide else None
    if found is not None and len(found.mother):
        decide_divisions(found, objects, motion, starts)
        # Of the pairs of newcomers that a lost mother may have, the best come first.
        fresh = hidden[found.heir] == NONE
        order = np.flatnonzero(fresh)[np.argsort(-found.evidence[fresh])]
        taken = set()
        for place in order:
            mother, heir, new = found.mother[place], found.heir[place], found.new[place]
            if found.evidence[place] <= 0 or {mother, heir, new} & taken:
                continue
            taken |= {mother, heir, new}
            _divide(result, after, found, place)
        still = ~fresh & ~np.isin(found.new, list(taken))
        found = found.chosen(np.flatnonzero(still))
    ends = (after == NONE) & free
    hidden = np.where(free & (result.mother == NONE), before, 0)
    old, new, gains = find_gaps(objects, motion, after, hidden, most, ends) if most else ((), (), ())
    sides = [np.asarray(new, int)], [np.asarray(old, int)], [np.asarray(gains, float)]
    if found is not None:
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


def _find_hidden(objects, motion, after, result):
    """Find the objects in which missed cells are hidden, and undo the exchange of two cells that went through one."""
    times = objects.times
    for last in list(result.gaps):
        first = result.before[last]
        for t in range(times[first] + 1, times[last]):
            share = (t - times[first]) / (times[last] - times[first])
            centre = (1 - share) * objects.centres[first] + share * objects.centres[last]
            row = find_merger(objects, motion, after, result.before, (first, last), t, centre)
            if row == NONE:
                continue
            result.hides[int(first), t] = int(row)
            other, next_ = result.before[row], after[row]
            if times[last] - times[first] == 2 and NONE not in (other, next_) and next_ not in result.gaps:
                straight = _unlike(objects, motion, first, last) + _unlike(objects, motion, other, next_)
                if straight > _unlike(objects, motion, first, next_) + _unlike(objects, motion, other, last):
                    # What went on in the merged object is the other cell.
                    result.before[last], result.before[next_] = row, first
                    after[row], after[first] = last, next_
                    result.gaps[int(next_)] = result.gaps.pop(last)


def _unlike(objects, motion, one, two):
    distance = np.linalg.norm(objects.centres[one] - objects.centres[two]) / motion.shift
    size = np.log(objects.sizes[one] / objects.sizes[two]) / max(motion.size_spread, 0.1)
    return np.log1p(distance**2 / 3) + np.log1p(size**2 / 3)
