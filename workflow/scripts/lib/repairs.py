"""Repairs: pieces of a cell that was split or cells that were merged for some frames, found by looking along time."""

import itertools

import numpy as np
from scipy.spatial import cKDTree

from .links import NONE

TOLERANCE = 0.25, 0.45  # least and most, of the logarithm of sizes that should be the same
LOOSEST = 0.7  # the same where overlap tells as well
LEAST_CHANGE = 0.12  # of the logarithm by which a piece alone differs from the whole
WITHIN = 0.5  # share of a cell that lies in the object that holds it, where cells move little
LONGEST = 3  # frames that cells are merged for
NEAREST = 5


class Repairs:
    """Looks along time for cells that were split or merged.

    Args:
        objects: Detections.
        motion: Motion.
        after, before: of `lib.chains.link_frames`.
    """

    def __init__(self, objects, motion, after, before):
        self._objects, self._motion, self._after, self._before = objects, motion, after, before
        self._tolerance = float(np.clip(2 * motion.size_spread, *TOLERANCE))
        self._trees = {}

    def find_splits(self):
        """Pairs of objects of one frame that are one cell, for it is whole in the frames before and after.

        Returns:
            [(row that stays, row that joins it, row before, row after), ...].
        """
        objects, after, before = self._objects, self._after, self._before
        sizes, times = objects.sizes, objects.times
        found, taken = [], set()
        for row in np.flatnonzero(after == NONE):
            t = int(times[row])
            if not 0 < t < objects.frames - 1 or row in taken:
                continue
            for other in self._near(t, objects.centres[row]):
                if other == row or other in taken or max(before[[row, other]]) != NONE != min(before[[row, other]]):
                    continue
                first = self._whole(t - 1, row, other, before, after)
                last = self._whole(t + 1, row, other, after, before)
                if NONE in (first, last):
                    continue
                whole = np.log([sizes[first], sizes[last]])
                both, single = np.log(sizes[row] + sizes[other]), np.log(max(sizes[other], sizes[row]))
                distance = np.linalg.norm(objects.centres[row] - objects.centres[other])
                middle = self._between(first, last, t)
                share = sizes[row] / (sizes[row] + sizes[other])
                centre = share * objects.centres[row] + (1 - share) * objects.centres[other]
                if (
                    np.abs(whole - both).max() > self._tolerance
                    or np.abs(whole - both).mean() > np.abs(whole - single).mean()
                    or (whole - single).min() < LEAST_CHANGE
                    or distance > 1.5 * (objects.radii[row] + objects.radii[other])
                    or np.linalg.norm(centre - middle) > 0.5 * objects.radii[first] + 2 * self._motion.shift
                    or not all(
                        self._holds(first, piece) and self._holds(last, piece, back=True) for piece in (row, other)
                    )
                ):
                    continue
                taken |= {int(row), int(other)}
                stays, joins = (other, row) if sizes[other] >= sizes[row] else (row, other)
                found.append((int(stays), int(joins), int(first), int(last)))
                break
        return found

    def _whole(self, t, row, other, links, back):
        """What two pieces are linked with in frame t, or the loose object nearest to them there; NONE where none is."""
        linked = max(links[row], links[other])
        if linked != NONE:
            return linked
        objects = self._objects
        earlier = t < objects.times[row]
        moved = -objects.drifts[t + 1] if earlier else objects.drifts[t]
        middle = (objects.centres[row] + objects.centres[other]) / 2 + moved
        loose = [near for near in self._near(t, middle) if back[near] == NONE]
        return loose[0] if loose else NONE

    def find_mergers(self):
        """Cells that are part of another object for some frames, and are there before and after.

        Returns:
            [(row before, row after, rows of the objects that hold it, row that the other goes on from, to), ...]; the
            other cell is NONE on a side where nothing was linked with the object.
        """
        objects, after, before = self._objects, self._after, self._before
        times = objects.times
        starts = {}
        for row in np.flatnonzero(before == NONE):
            starts.setdefault(int(times[row]), []).append(int(row))
        found, taken = [], set()
        for row in np.flatnonzero(after == NONE):
            place, chain = objects.centres[row], None
            # The frame before the merger may lack the cell as well.
            for t in range(int(times[row]) + 1, min(int(times[row]) + 3, objects.frames - 1)):
                place = place + objects.drifts[t]
                for holder in self._near(t, place):
                    chain = chain or self._merged_until(row, int(holder), place, starts, taken)
            if chain:
                found.append(chain)
                taken |= {chain[0], chain[1]}
        return found

    def _merged_until(self, row, holder, place, starts, taken):
        """The merger of the cell at `row`, expected at `place`, with `holder`, as in `find_mergers`, or None."""
        objects, after, before = self._objects, self._after, self._before
        t = int(objects.times[row])
        at_once = objects.times[holder] == t + 1
        near = np.linalg.norm(objects.centres[holder] - place)
        if near > 1.2 * objects.radii[holder] + self._motion.shift or not (
            self._holds(holder, row, back=True) if at_once else before[holder] != NONE
        ):
            return None
        others = [before[holder]] if before[holder] != NONE else self._ends(t, holder, row)
        others = [other for other in others if other != row and self._alike(holder, row, other, at_once)]
        if not others:
            return None
        holders = [holder]
        while len(holders) <= LONGEST:
            last = holders[-1]
            at = int(objects.times[last]) + 1
            news = [new for new in starts.get(at, ()) if new not in taken and self._holds(last, new)]
            heirs = [after[last]] if after[last] != NONE else news
            best = None
            for new, heir in itertools.product(news, heirs):
                apart = np.linalg.norm(objects.centres[new] - objects.centres[last] - objects.drifts[at])
                fits = new != heir and self._alike(last, new, heir)
                if fits and apart < 1.2 * objects.radii[last] + self._motion.shift:
                    best = (apart, new, heir) if best is None or apart < best[0] else best
            if best is not None:
                return int(row), int(best[1]), holders, int(others[0]), int(best[2])
            if after[last] == NONE or at >= objects.frames - 1:
                return None
            holders = [*holders, int(after[last])]
        return None

    def _ends(self, t, holder, row):
        """Other objects of frame t without successor that lie in the object at `holder`, nearest first."""
        near = self._near(t, self._objects.centres[holder] - self._objects.drifts[t + 1])
        return [
            other for other in near if other != row and self._after[other] == NONE and self._holds(holder, other, True)
        ]

    def _alike(self, whole, one, two, overlap=True):
        """Whether the size of `whole` is that of two objects together rather than that of `two` alone.

        Where overlap tells what lies in what, it only has to be larger.
        """
        sizes = self._objects.sizes
        both, alone = np.log(sizes[whole] / (sizes[one] + sizes[two])), np.log(sizes[whole] / sizes[two])
        if overlap and self._motion.usual_overlap >= WITHIN:
            return abs(both) < LOOSEST and alone > LEAST_CHANGE
        return abs(both) < min(self._tolerance, abs(alone))

    def _holds(self, holder, row, back=False):
        """Whether an object lies in `holder`, of the frame before or (`back`) after it; overlap tells where it can."""
        objects = self._objects
        if self._motion.usual_overlap < WITHIN:
            return True
        first, second = (row, holder) if back else (holder, row)
        one, two, shared = objects.overlaps[int(objects.times[first])]
        span = slice(*np.searchsorted(one, [first, first + 1]))
        return shared[span][two[span] == second].sum() > WITHIN * objects.sizes[row]

    def _between(self, first, last, t):
        objects = self._objects
        return (objects.centres[first] + objects.drifts[t] + objects.centres[last] - objects.drifts[t + 1]) / 2

    def _near(self, t, place):
        """Rows of the objects of frame t that are nearest to a place, nearest first."""
        span = self._objects.rows(t)
        if span.start == span.stop:
            return []
        if t not in self._trees:
            self._trees[t] = cKDTree(self._objects.centres[span])
        return span.start + np.atleast_1d(self._trees[t].query(place, k=min(NEAREST, span.stop - span.start))[1])
