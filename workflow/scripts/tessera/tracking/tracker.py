"""Traces: from the objects of a movie to what became of each, links, gaps, divisions and repairs decided together."""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from tessera.tracking.division_candidates import decide_divisions, find_divisions
from tessera.tracking.division_scores import REASONS
from tessera.tracking.frame_linking import link_frames
from tessera.tracking.gap_closing import bridge, find_gaps, weigh_doubts
from tessera.tracking.hypotheses import Doubts, gather, of_families, of_pairs, of_repairs
from tessera.tracking.ilp_selection import choose
from tessera.tracking.link_scores import NONE
from tessera.tracking.motion_estimation import learn_motion
from tessera.tracking.motion_model import Motion, lengths_of, shape_evidence
from tessera.tracking.split_merge_repair import find_merged, find_mergers, find_splits

LEAST_EVIDENCE = 0.5  # of a division: a false one spoils a lineage more than a missed one


@dataclass
class Trace:
    """What became of the objects of a movie.

    Attributes:
        after: int64 (objects,), row of the object's next self, as `before`.
        before: int64 (objects,), row of the object's former self, in the frame before or, after a gap, earlier; NONE.
        mother: int64 (objects,), row of the mother of a newborn; NONE.
        joins: int64 (objects,), row of the same frame that a piece of a cell belongs to; NONE: the object is no piece.
        hides: {(row after a gap, frame in it): row of the object that the missed cell is part of}.
        divisions: [(mother, heir, new, confidence, {reason: log-likelihood ratio}), ...], rows; daughters are of the
            frame after the mother, or one later where one of the three was missed.
        gaps: {row after a gap: confidence}.
        motion: Motion that was found.
    """

    after: np.ndarray
    before: np.ndarray
    mother: np.ndarray
    joins: np.ndarray
    hides: dict = field(default_factory=dict)
    divisions: list = field(default_factory=list)
    gaps: dict = field(default_factory=dict)
    motion: Motion = None

    def link(self, objects, old, new, confidence=1.0):
        """Objects go on as later ones, rows (links,), with `confidence` where there is a gap between the two."""
        old, new = np.asarray(old, int), np.asarray(new, int)
        self.after[old], self.before[new] = new, old
        over = objects.times[new] - objects.times[old] > 1
        self.gaps |= zip(new[over].tolist(), np.broadcast_to(confidence, new.shape)[over].tolist(), strict=True)

    def divide(self, found):
        """What the Candidates `found` say happened."""
        for daughters in (found.heir, found.new):
            self.before[daughters], self.mother[daughters] = NONE, found.mother
        self.after[found.mother] = NONE
        rows = (each.tolist() for each in (found.mother, found.heir, found.new, expit(found.evidence)))
        reasons = (dict(zip(REASONS, each, strict=True)) for each in np.round(found.terms, 2).tolist())
        self.divisions += zip(*rows, reasons, strict=True)

    def join(self, objects, split):
        """Make the smaller pieces parts of the larger ones, through which the cell goes on."""
        stays, joins = split.one, split.two
        if objects.sizes[joins].sum() > objects.sizes[stays].sum():
            stays, joins = joins, stays
        self.before[joins], self.after[joins] = NONE, NONE
        self.joins[joins] = stays
        whole = [*split.first, *stays, *split.last]
        self.link(objects, whole[:-1], whole[1:])

    def part(self, objects, merger):
        """Lead two cells through the objects that hold both, each to what is most like it."""
        (other, first), (heir, last), holders = merger.first, merger.last, merger.one
        straight, crossed = (self._unlike(objects, [first, other], each).sum() for each in ([last, heir], [heir, last]))
        if straight > crossed:
            last, heir = heir, last
        # The other cell keeps the rows of the merged objects, the first one skips them.
        self.link(objects, [other, *holders, first], [*holders, heir, last])
        for holder in holders:
            self.hides[last, int(objects.times[holder])] = holder

    def _unlike(self, objects, one, two):
        """How unlike objects are to later ones, rows (pairs,)."""
        distance = lengths_of(objects.centres[one] - objects.centres[two]) / self.motion.shift
        size = (objects.logs[one] - objects.logs[two]) / max(self.motion.size_spread, 0.1)
        frames = (objects.times[two] - objects.times[one]).max()
        shape = shape_evidence(objects.shapes, one, two, self.motion, frames)
        return np.log1p(distance**2 / 3) + np.log1p(size**2 / 3) - shape


def trace(objects, *, max_gap_frames=3, allow_divisions=True, correct_merges_and_splits=True, max_distance_px=None):
    """Decide what became of each object of a movie.

    Args:
        objects: Detections.
        max_gap_frames: frames that an object may be missed for.
        allow_divisions: whether objects may divide.
        correct_merges_and_splits: whether cells that are split or merged for some frames are mended.
        max_distance_px: from where an object is expected, for each frame, in pixels of x; None: as learned.

    Returns:
        Trace.
    """
    motion = learn_motion(objects)
    chains = link_frames(objects, motion, reach=max_distance_px)
    doubts = Doubts(chains, weigh_doubts(objects, motion, chains))
    gaps = find_gaps(objects, motion, chains, max_gap_frames, max_distance_px)
    chains = bridge(chains, gaps)
    far = {"missed": min(max_gap_frames, 1), "reach": max_distance_px}
    found = find_divisions(objects, motion, chains, **far)
    splits, merged = [], []
    if correct_merges_and_splits:
        mergers = find_mergers(objects, motion, chains, **far)
        splits, merged = (find(objects, motion, found, mergers, chains.after) for find in (find_splits, find_merged))
    if allow_divisions:
        _learn_divisions(found, objects, motion, chains, doubts, gaps, splits, merged)
    else:
        found = found.chosen(np.zeros(0, int))
    return _decide(objects, motion, chains, doubts, gaps, found, splits, merged)


def _learn_divisions(found, objects, motion, chains, doubts, gaps, splits, merged):
    """How likely divisions are, in view of what else explains objects that are new."""
    links = doubts.linked
    rivals = [gaps[1], doubts.second[links], [each.two[0] for each in splits], [each.last[1] for each in merged]]
    gains = [gaps[2], doubts.gains[links], *([each.gain for each in repairs] for repairs in (splits, merged))]
    mended = [len({each.one[0] for each in repairs}) for repairs in (merged, splits)]
    rivals, gains = np.concatenate(rivals).astype(int), np.concatenate(gains)
    decide_divisions(found, objects, motion, chains.before, rivals, gains, mended)


def _decide(objects, motion, chains, doubts, gaps, found, splits, merged):
    """Trace in which each end and each start of a chain is explained once, by what is likeliest for all together."""
    count = len(objects.labels)
    after, before = np.where(chains.ends, NONE, chains.after), np.where(chains.starts, NONE, chains.before)
    result = Trace(after, before, *np.full((2, count), NONE), motion=motion)
    outcomes, kinds, places = gather([
        of_pairs(doubts.first, doubts.second, doubts.gains, count),
        of_pairs(*gaps, count),
        of_families(found, LEAST_EVIDENCE, doubts, count),
        of_repairs(splits, doubts, count),
        of_repairs(merged, doubts, count),
    ])  # fmt: skip
    chosen = choose(outcomes.gains, outcomes.uses)
    links, bridges, families, *mended = (places[chosen[kinds[chosen] == kind]] for kind in range(5))
    result.link(objects, doubts.first[links], doubts.second[links])
    result.link(objects, *(rows[bridges] for rows in gaps[:2]), expit(gaps[2][bridges]))
    result.divide(found.chosen(families))
    for mend, repairs, of in zip((result.join, result.part), (splits, merged), mended, strict=True):
        for place in of:
            mend(objects, repairs[place])
    return result
