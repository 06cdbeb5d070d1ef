"""Divisions: which objects divide, with what speaks for it; that none does is a possible outcome."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from .links import NONE, density_of
from .motions import light_evidence, log_shift, log_t, spread_of

NEAREST = 6  # mothers that are looked at for each new object
SUM_SPREAD = 0.25  # of the logarithm of the daughters' sizes together over the mother's
RATIO_SPREAD = 0.45  # of the logarithm of one daughter's size over the other's
APART_SPREAD = 0.5  # of the logarithm of the daughters' distance over the sum of their radii
SIZE_LIMITS = (-8.0, 6.0)
UNEQUAL = 1.0  # logarithm of the ratio of sizes beyond which daughters are called unequal
UNEQUAL_SHARE = 0.1  # divisions into unequal daughters for each one into equal ones
EM_ROUNDS = 10
MOST_PRIOR = 3.0
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


def decide_divisions(candidates, objects, before, bridged, gains):
    """Fill in the prior of the candidates, learned from how many of the movie's objects look like newborns.

    Daughters of about the same size are told by many signs, a small one beside a large one may be a bud, debris or a
    newcomer. So unequal divisions are only as likely as the equal ones of the same movie make them.

    Args:
        candidates: Candidates; `terms` gets the prior.
        objects: Detections.
        before: rows of the former selves; NONE for the objects that are to be explained.
        bridged, gains: objects that may come after a gap, and the evidence for it.
    """
    count = len(objects.labels)
    evidence = candidates.evidence
    ratio = np.abs(np.log(objects.sizes[candidates.heir] / objects.sizes[candidates.new]))
    cut = objects.cut[candidates.heir] | objects.cut[candidates.new] | objects.cut[candidates.mother]
    unequal = (ratio > UNEQUAL) & ~cut
    gap = np.zeros(count)
    np.maximum.at(gap, bridged, np.maximum(gains, 0))
    starts = (before[objects.starts[1] :] == NONE).sum()
    priors = {True: 0.0, False: 0.0}
    newcomers = 0.01
    for _ in range(EM_ROUNDS):
        expected = {}
        for kind in (False, True):
            best = np.full(count, -np.inf)
            rows = unequal == kind
            np.maximum.at(best, candidates.new[rows], evidence[rows])
            here = np.flatnonzero(np.isfinite(best))
            odds = best[here] + priors[kind] - gap[here]
            expected[kind] = float((1 / (1 + np.exp(-np.clip(odds, -50, 50)))).sum())
        equal = (expected[False] + PRIOR_OBJECTS * PRIOR_DIVIDING) / (count + PRIOR_OBJECTS)
        rest = starts - expected[False] - (gap > 0).sum()
        newcomers = (max(rest, 0) + PRIOR_OBJECTS * 0.01) / (count + PRIOR_OBJECTS)
        prior = min(np.log(equal / newcomers), MOST_PRIOR)
        priors = {False: prior, True: prior + np.log(UNEQUAL_SHARE)}
    candidates.terms[:, 0] = np.where(unequal, priors[True], priors[False])


def _weigh(objects, motion, found, after, before, times, radii):
    mother, heir, new = found.mother, found.heir, found.new
    fresh = before[heir] == NONE
    density = np.array([density_of(objects, t) for t in range(objects.frames)])[times[new]]
    terms = np.zeros((len(mother), len(REASONS)))
    terms[:, 1] = _place(objects, motion, found, before, times, radii, density, fresh)
    terms[:, 2] = _size(objects, motion, found, fresh, np.log(objects.sizes[np.unique(new)]))
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


def _size(objects, motion, found, fresh, logs):
    """Daughters add up to the mother, softly; against one that stays as large and any new one."""
    mother, heir, new = (np.log(objects.sizes[rows]) for rows in (found.mother, found.heir, found.new))
    both = np.logaddexp(heir, new) - mother
    spread = np.hypot(SUM_SPREAD, motion.size_spread)
    divided = log_t(((both - motion.growth) / spread) ** 2) - np.log(spread)
    divided += log_t(((heir - new) / RATIO_SPREAD) ** 2) - np.log(RATIO_SPREAD)
    anyone = [_any_size(size, motion, logs) for size in (heir, new)]
    same = log_t(((heir - mother - motion.growth) / motion.size_spread) ** 2) - np.log(motion.size_spread)
    evidence = np.clip(divided - np.where(fresh, anyone[0], same) - anyone[1], *SIZE_LIMITS)
    cut = objects.cut[found.mother] | objects.cut[found.heir] | objects.cut[found.new]
    return np.where(cut, np.minimum(evidence, 0) * 0.25, evidence)


def _any_size(sizes, motion, newborn):
    """Logarithm of the density of the sizes of newcomers: as all objects, or as all that are new, half and half."""
    middle = np.median(newborn)
    kinds = (motion.sizes, (middle, max(spread_of(newborn - middle, 0.25), 0.25)))
    return np.logaddexp(*(log_t(((sizes - at) / wide) ** 2) - np.log(wide) for at, wide in kinds)) - np.log(2)


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
    said = np.select([part < 0.1, part < 0.35, part < 0.6], [-3.0, -1.0, 0.5], 2.0)
    return said * motion.usual_overlap


def _life(links, rows):
    """How many frames a chain lasts from `rows` on, in the direction of `links`; ten at most."""
    life = np.ones(len(rows), int)
    at = rows.copy()
    for _ in range(9):
        at = np.where(at >= 0, links[np.maximum(at, 0)], NONE)
        life += at >= 0
    return life
