"""Chains: objects linked from frame to frame, with the links that could be otherwise."""

from dataclasses import dataclass

import numpy as np

from tessera.tracking.linear_assignment import assign
from tessera.tracking.link_scores import NONE, find_candidates

# Evidence below which a link is in doubt: it is decided with gaps, divisions and repairs then. On simulated movies with
# mistakes, a fiftieth of all links and three tenths of the wrong ones have less; 3 to 6 do about as well.
DOUBTFUL = 5.0


@dataclass
class Chains:
    """Objects linked from frame to frame.

    Attributes:
        after, before: int64 (objects,), row of the next and of the former self in the frame beside; NONE.
        ends, starts: bool (objects,), whether what follows, or what was before, is still to be explained: there is no
            link, or one in doubt.
        doubts: rows before, rows after, evidence (pairs,) of links that may be, between `ends` and `starts`; those of
            `after` that are in doubt are among them.
        on, back: as `after` and `before`, and over gaps that are likely.
    """

    after: np.ndarray
    before: np.ndarray
    ends: np.ndarray
    starts: np.ndarray
    doubts: tuple
    on: np.ndarray
    back: np.ndarray

    def reversed(self):
        """Chains of the movie backwards, in which row r is row -1 - r; without doubts."""
        count = len(self.after)
        links = (self.before, self.after, self.back, self.on)
        after, before, on, back = (np.where(rows == NONE, NONE, count - 1 - rows)[::-1] for rows in links)
        return Chains(after, before, self.starts[::-1], self.ends[::-1], (), on, back)


def link_frames(objects, motion, pairs=None, among=None, reach=None):
    """Link the objects of each frame to those of the next.

    Args:
        objects: Detections.
        motion: Motion.
        pairs: frames t that are linked with t + 1, rising; None: all.
        among: bool (objects,), those that are linked to later ones; None: all.
        reach: see `tessera.tracking.link_scores.find_candidates`.

    Returns:
        Chains; `on` and `back` are `after` and `before`.
    """
    chains = _link(objects, motion, pairs, among, reach)
    if pairs is None and motion.persistence > 0:
        # Speeds last, so that of objects that are new what they do next tells which is which; nothing else does.
        chains = _link(objects, motion, pairs, among, reach, chains.after)
    return chains


def _link(objects, motion, pairs, among, reach, known=None):
    """As `link_frames`; `known` is what is known of `after` beforehand."""
    count = len(objects.labels)
    after, before = np.full((2, count), NONE)
    ends, starts = np.ones((2, count), bool)
    speeds, doubts = np.zeros((count, 3)), [(np.zeros(0, int),) * 2 + (np.zeros(0),)]
    for t in range(objects.frames - 1) if pairs is None else pairs:
        rows = objects.indices(t)
        rows = rows if among is None else rows[among[rows]]
        expected = objects.centres.take(rows, axis=0) + objects.drifts[t + 1]
        if motion.persistence > 0:
            expected += motion.persistence * speeds.take(rows, axis=0)
        came = None if known is None else (before[rows] == NONE, _origins(objects, motion, t + 1, known))
        first, second, gains = find_candidates(objects, motion, t, rows, expected, came, reach)
        chosen = assign(first, second, gains)
        one, two = first[chosen], second[chosen]
        after[one], before[two] = two, one
        if motion.persistence > 0:
            speeds[two] = objects.centres[two] - objects.centres[one] - objects.drifts[t + 1]
        sure = gains[chosen] >= DOUBTFUL
        ends[one[sure]], starts[two[sure]] = False, False
        open_ = np.flatnonzero((gains > 0) & ends[first] & starts[second])
        doubts.append((first[open_], second[open_], gains[open_]))
    doubts = tuple(np.concatenate(column) for column in zip(*doubts, strict=True))
    return Chains(after, before, ends, starts, doubts, after, before)


def _origins(objects, motion, t, after):
    """Where objects of frame t should have been in the frame before, by where they go: (objects, 3), NaN: unknown."""
    rows = objects.indices(t)
    origins = np.full((len(rows), 3), np.nan)
    goes = np.flatnonzero(after[rows] != NONE)
    here = objects.centres[rows[goes]]
    ahead = objects.centres[after[rows[goes]]] - here - objects.drifts[min(t + 1, objects.frames - 1)]
    origins[goes] = here - motion.persistence * ahead - objects.drifts[t]
    return origins
