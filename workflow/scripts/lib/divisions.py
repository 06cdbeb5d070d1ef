"""Divisions: which objects divide, with what speaks for it; that none does is a possible outcome."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from .links import NONE, density_of
from .motions import light_evidence, log_shift, log_t

NEAREST = 6  # mothers that are looked at for each new object
SUM_SPREAD = 0.25  # of the logarithm of the daughters' sizes together over the mother's
RATIO_SPREAD = 0.45  # of the logarithm of one daughter's size over the other's
APART_SPREAD = 0.5  # of the logarithm of the daughters' distance over the sum of their radii
SIZE_LIMITS = (-8.0, 6.0)
PRIOR_OBJECTS = 50.0
PRIOR_DIVIDING = 0.005
REASONS = ("prior", "place", "size", "light", "overlap", "persistence", "age")


@dataclass
class Candidates:
    """Divisions that may be: a mother, the daughter that would otherwise be her next self, and the new one.

    Attributes:
        mother, heir, new: rows (candidates,); `heir` may be an object that is new as well.
        terms: float64 (candidates, REASONS), log-likelihood ratios.
    """

    mother: np.ndarray
    heir: np.ndarray
    new: np.ndarray
    terms: np.ndarray

    @property
    def evidence(self):
        return self.terms.sum(1)

    def chosen(self, rows):
        return Candidates(self.mother[rows], self.heir[rows], self.new[rows], self.terms[rows])


def find_divisions(objects, motion, after, before):
    """Divisions that may be, with what speaks for them but the prior.

    Args:
        objects: Detections.
        motion: Motion.
        after, before: of `lib.chains.link_frames`.

    Returns:
        Candidates.
    """
    times = objects.times
    radii = objects.radii
    mothers, heirs, news = [], [], []
    for t in range(1, objects.frames):
        rows, last = objects.rows(t), objects.rows(t - 1)
        new = rows.start + np.flatnonzero(before[rows] == NONE)
        if not len(new) or last.start == last.stop:
            continue
        tree = cKDTree(objects.centres[last] + objects.drifts[t])
        reach = 4.0 * radii[last].max() + 3.0 * motion.shift
        near, at = tree.query(objects.centres[new], k=min(NEAREST, last.stop - last.start), distance_upper_bound=reach)
        near, at = near.reshape(len(new), -1), at.reshape(len(new), -1)
        one, rank = np.nonzero(np.isfinite(near))
        mother, child = last.start + at[one, rank], new[one]
        close = near[one, rank] < 4.0 * radii[mother] + 3.0 * motion.shift
        mother, child = mother[close], child[close]
        kept = after[mother] != NONE
        mothers.append(mother[kept])
        heirs.append(after[mother[kept]])
        news.append(child[kept])
        # A mother without a successor may have two of the new ones.
        for each in np.unique(mother[~kept]):
            around = child[mother == each]
            for place, first in enumerate(around):
                for second in around[place + 1 :]:
                    mothers.append([each])
                    heirs.append([first])
                    news.append([second])
    if not mothers:
        nothing = np.zeros(0, int)
        return Candidates(nothing, nothing, nothing, np.zeros((0, len(REASONS))))
    found = Candidates(*(np.concatenate(part).astype(int) for part in (mothers, heirs, news)), None)
    found.terms = _weigh(objects, motion, found, after, before, times, radii)
    return found


def decide_divisions(candidates, objects, motion, starts):
    """Prior of a division, learned from how many of the candidates look like one; `terms` gets it.

    Args:
        candidates: Candidates; their prior is filled in.
        starts: number of objects that begin without a predecessor, after the first frame.

    Returns:
        Share of objects that divide, share of objects that are new.
    """
    count = len(objects.labels)
    dividing, new = 0.01, max(motion.lost, 0.01)
    best = np.full(len(objects.labels), -np.inf)
    np.maximum.at(best, candidates.new, candidates.evidence)
    best = best[np.isfinite(best)]
    for _ in range(10):
        odds = best + np.log(dividing) - np.log(new)
        expected = (1 / (1 + np.exp(-np.clip(odds, -50, 50)))).sum()
        dividing = (expected + PRIOR_OBJECTS * PRIOR_DIVIDING) / (count + PRIOR_OBJECTS)
        new = (max(starts - expected, 0) + PRIOR_OBJECTS * 0.01) / (count + PRIOR_OBJECTS)
    candidates.terms[:, 0] = np.log(dividing) - np.log(new)
    return dividing, new


def _weigh(objects, motion, found, after, before, times, radii):
    mother, heir, new = found.mother, found.heir, found.new
    fresh = before[heir] == NONE
    density = np.array([density_of(objects, t) for t in range(objects.frames)])[times[new]]
    terms = np.zeros((len(mother), len(REASONS)))
    terms[:, 1] = _place(objects, motion, found, before, times, radii, density, fresh)
    terms[:, 2] = _size(objects, motion, found, fresh)
    terms[:, 3] = 0.5 * light_evidence(objects.lights[heir], objects.lights[new], motion)
    terms[:, 4] = _overlap(objects, motion, found, times)
    life = np.minimum(_life(after, heir), _life(after, new))
    seen = objects.frames - times[new]  # frames that are left, this one included
    short = np.where(life >= np.minimum(seen, 3), 0.5, np.where(life == 1, -3.0, -1.5))
    gone = objects.cut[heir] | objects.cut[new]
    terms[:, 5] = np.where(gone, np.maximum(short, 0), short)
    age = _life(before, mother)
    born = times[mother] - age + 1
    terms[:, 6] = np.where((age <= 2) & (born > 0), -2.0, 0.0)
    return terms


def _place(objects, motion, found, before, times, radii, density, fresh):
    """Daughters lie about the mother's place, side by side; against one that goes on and one that is new by chance."""
    mother, heir, new = found.mother, found.heir, found.new
    earlier = before[mother]
    speed = np.where(
        (earlier >= 0)[:, None],
        objects.centres[mother] - objects.centres[np.maximum(earlier, 0)] - objects.drifts[times[mother]],
        0,
    )
    expected = objects.centres[mother] + motion.persistence * speed + objects.drifts[times[new]]
    share = (objects.sizes[heir] / (objects.sizes[heir] + objects.sizes[new]))[:, None]
    middle = share * objects.centres[heir] + (1 - share) * objects.centres[new]
    dimensions = motion.dimensions
    wide = np.hypot(motion.shift, 0.3 * radii[mother])
    off = np.linalg.norm(middle - expected, axis=1)
    apart = np.maximum(np.linalg.norm(objects.centres[new] - objects.centres[heir], axis=1), 0.1)
    reach = radii[heir] + radii[new]
    ring = log_t((np.log(apart / reach) / APART_SPREAD) ** 2) - np.log(APART_SPREAD)
    around = np.log(2 * np.pi) if dimensions == 2 else np.log(4 * np.pi)
    divided = log_shift(off, wide, dimensions) + ring - around - dimensions * np.log(apart)
    alone = log_shift(np.linalg.norm(objects.centres[heir] - expected, axis=1), motion.shift, dimensions)
    # One that is new as well: the mother was lost, and two came by chance.
    chance = np.log(motion.lost) * 2 + np.log(density)
    return divided - np.where(fresh, chance, alone) - np.log(density)


def _size(objects, motion, found, fresh):
    """Daughters add up to the mother, softly; against one that stays as large and any new one."""
    mother, heir, new = (np.log(objects.sizes[rows]) for rows in (found.mother, found.heir, found.new))
    both = np.logaddexp(heir, new) - mother
    spread = np.hypot(SUM_SPREAD, motion.size_spread)
    divided = log_t(((both - motion.growth) / spread) ** 2) - np.log(spread)
    divided += log_t(((heir - new) / RATIO_SPREAD) ** 2) - np.log(RATIO_SPREAD)
    middle, wide = motion.sizes[0], 1.5 * motion.sizes[1]
    anyone = [log_t(((size - middle) / wide) ** 2) - np.log(wide) for size in (heir, new)]
    same = log_t(((heir - mother - motion.growth) / motion.size_spread) ** 2) - np.log(motion.size_spread)
    evidence = np.clip(divided - np.where(fresh, anyone[0], same) - anyone[1], *SIZE_LIMITS)
    cut = objects.cut[found.mother] | objects.cut[found.heir] | objects.cut[found.new]
    return np.where(cut, np.minimum(evidence, 0) * 0.25, evidence)


def _overlap(objects, motion, found, times):
    """Where cells move little, a daughter lies where her mother was; a bud or a newcomer does not."""
    count = len(objects.labels) + 1
    wanted = found.mother * count + found.new
    shared = np.zeros(len(wanted))
    for t in np.unique(times[found.mother]):
        one, two, pixels = objects.overlaps[t]
        keys = one * count + two
        order = np.argsort(keys)
        here = np.flatnonzero(times[found.mother] == t)
        at = np.searchsorted(keys[order], wanted[here]).clip(0, max(len(keys) - 1, 0))
        if len(keys):
            hit = keys[order][at] == wanted[here]
            shared[here[hit]] = pixels[order][at][hit]
    part = shared / objects.sizes[found.new]
    said = np.select([part < 0.05, part < 0.2, part < 0.5], [-2.5, -0.5, 1.0], 2.0)
    return said * motion.usual_overlap


def _life(links, rows):
    """How many frames a chain lasts from `rows` on, in the direction of `links`; ten at most."""
    life = np.ones(len(rows), int)
    at = rows.copy()
    for _ in range(9):
        at = np.where(at >= 0, links[np.maximum(at, 0)], NONE)
        life += at >= 0
    return life
