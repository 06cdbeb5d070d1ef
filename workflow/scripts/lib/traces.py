"""Traces: from the objects of a movie to what became of each, links, gaps, divisions and repairs decided together."""

from dataclasses import dataclass, field

import numpy as np

from .births import REASONS
from .chains import learn_motion, link_frames
from .decisions import choose
from .divisions import decide_divisions, find_divisions
from .gaps import find_gaps
from .links import NONE
from .motions import Motion
from .repairs import find_mergers, find_repairs

LEAST_EVIDENCE = 0.5  # of a division: a false one spoils a lineage more than a missed one


@dataclass
class Trace:
    """What became of the objects of a movie.

    Attributes:
        before: int64 (objects,), row of the object's former self, in the frame before or, after a gap, earlier; NONE.
        mother: int64 (objects,), row of the mother of a newborn; NONE.
        joins: int64 (objects,), row of the same frame that a piece of a cell belongs to; NONE: the object is no piece.
        hides: {(row after a gap, frame in it): row of the object that the missed cell is part of}.
        divisions: [(mother, heir, new, confidence, {reason: log-likelihood ratio}), ...], rows; daughters are of the
            frame after the mother, or one later where one of the three was missed.
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
    nothing = np.full_like(before, NONE)
    result = Trace(before, nothing, nothing.copy(), motion=motion)
    gaps = find_gaps(objects, motion, after, before, max_gap_frames)
    missed = min(max_gap_frames, 1)
    found = find_divisions(objects, motion, after, before, missed=missed)
    splits, mergers = [], []
    if repair:
        merged = find_mergers(objects, motion, after, before, missed=missed)
        splits, mergers = find_repairs(objects, motion, found, merged, after)
    if divisions:
        rivals = [gaps[1], [row for each in splits for row in each.two[:1]], [each.last[1] for each in mergers]]
        gains = [gaps[2], *([each.gain for each in repairs] for repairs in (splits, mergers))]
        mended = [len({each.one[0] for each in repairs}) for repairs in (mergers, splits)]
        decide_divisions(found, objects, before, np.concatenate(rivals).astype(int), np.concatenate(gains), mended)
    else:
        found = found.chosen(np.zeros(0, int))
    _apply(objects, motion, after, result, gaps, found, splits, mergers)
    return result


def _apply(objects, motion, after, result, gaps, found, splits, mergers):
    """Each end and each start of a chain is explained once, by what is likeliest for all together."""
    count = len(objects.labels)
    old, new, gains = gaps
    events = [
        (gains, np.stack([count + old, new], 1)),
        (found.evidence - LEAST_EVIDENCE, np.stack([count + found.mother, found.heir, found.new], 1)),
        *((np.array([each.gain for each in repairs]), _uses(repairs, count)) for repairs in (splits, mergers)),
    ]
    width = max(uses.shape[1] for _, uses in events)
    uses = np.concatenate(
        [np.pad(uses, ((0, 0), (0, width - uses.shape[1])), constant_values=NONE) for _, uses in events]
    )
    edges = np.cumsum([0, *(len(gains) for gains, _ in events)])
    chosen = choose(np.concatenate([gains for gains, _ in events]), uses)
    kinds = np.searchsorted(edges, chosen, side="right") - 1
    for kind, place in zip(kinds.tolist(), (chosen - edges[kinds]).tolist(), strict=True):
        if kind == 0:
            result.before[new[place]], after[old[place]] = old[place], new[place]
            result.gaps[int(new[place])] = float(1 / (1 + np.exp(-gains[place])))
        elif kind == 1:
            _divide(result, after, found, place)
        elif kind == 2:
            _join(objects, after, result, splits[place])
        else:
            _part(objects, motion, after, result, mergers[place])


def _uses(repairs, count):
    """Starts (rows) and ends (rows and `count`) that repairs decide about, padded."""
    rows = []
    for each in repairs:
        used = [count + row for row in each.first] + list(each.last)
        for chain in filter(None, (each.one, each.two)):
            used += chain + [count + row for row in chain]
        rows.append(used)
    width = max(map(len, rows), default=1)
    return np.array([[*used, *[NONE] * (width - len(used))] for used in rows], int).reshape(-1, width)


def _join(objects, after, result, split):
    """Make the smaller pieces parts of the larger ones, through which the cell goes on."""
    stays, joins = split.one, split.two
    if objects.sizes[joins].sum() > objects.sizes[stays].sum():
        stays, joins = joins, stays
    (first,), (last,) = split.first, split.last
    result.before[joins], after[joins] = NONE, NONE
    result.joins[joins] = stays
    chain = [first, *stays, last]
    after[chain[:-1]], result.before[chain[1:]] = chain[1:], chain[:-1]


def _divide(result, after, found, place):
    mother, heir, new = int(found.mother[place]), int(found.heir[place]), int(found.new[place])
    evidence = found.terms[place]
    result.before[[heir, new]] = NONE
    result.mother[[heir, new]] = mother
    after[mother] = NONE
    confidence = float(1 / (1 + np.exp(-evidence.sum())))
    reasons = {name: round(float(value), 2) for name, value in zip(REASONS, evidence, strict=True)}
    result.divisions.append((mother, heir, new, confidence, reasons))


def _part(objects, motion, after, result, merger):
    """Lead two cells through the objects that hold both, each to what is most like it."""
    (other, first), (heir, last), holders = merger.first, merger.last, merger.one
    straight = _unlike(objects, motion, first, last) + _unlike(objects, motion, other, heir)
    if straight > _unlike(objects, motion, first, heir) + _unlike(objects, motion, other, last):
        last, heir = heir, last
    # The other cell keeps the rows of the merged objects, the first one skips them.
    after[other], result.before[holders[0]] = holders[0], other
    after[holders[-1]], result.before[heir] = heir, holders[-1]
    after[first], result.before[last] = last, first
    for row in (holders[0], heir, last):
        if objects.times[row] - objects.times[result.before[row]] > 1:
            result.gaps[row] = 1.0
    for holder in holders:
        result.hides[last, int(objects.times[holder])] = holder


def _unlike(objects, motion, one, two):
    distance = np.linalg.norm(objects.centres[one] - objects.centres[two]) / motion.shift
    size = np.log(objects.sizes[one] / objects.sizes[two]) / max(motion.size_spread, 0.1)
    return np.log1p(distance**2 / 3) + np.log1p(size**2 / 3)
