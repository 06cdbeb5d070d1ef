"""Divisions: which objects divide, with what speaks for it; that none does is a possible outcome."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from .births import weigh_births
from .links import NONE

NEAREST = 6  # mothers that are looked at for each new object
UNEQUAL = 1.0  # logarithm of the ratio of sizes beyond which daughters are called unequal
UNEQUAL_SHARE = 0.1  # divisions into unequal daughters for each one into equal ones
EM_ROUNDS = 10
MOST_PRIOR = 2.0
PRIOR_COUNTS = 0.7  # of the prior, since it is learned from the same evidence
USUAL_NEWCOMERS = (0.01, 0.05)  # share of objects, of those the border cuts
USUAL_MENDED = 0.002  # of the objects are merged, or in pieces
LEAST_NEWCOMERS = 0.003  # of the objects come for no reason at all, in any movie
PRIOR_OBJECTS = 50.0
PRIOR_DIVIDING = 0.005


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


def find_divisions(objects, motion, after, before, *, missed=0):
    """Divisions that may be, with what speaks for them but the prior.

    Args:
        objects: Detections.
        motion: Motion.
        after, before: of `lib.chains.link_frames`.
        missed: frames for which the mother or a daughter may be missing, 0 or 1.

    Returns:
        Candidates.
    """
    families = [
        _families_of(objects, motion, after, before, t, missing)
        for missing in range(missed + 1)
        for t in range(1 + missing, objects.frames)
    ]
    whole = np.concatenate([np.zeros((0, 3), int), *families])
    found = Candidates(*whole.T, None)
    found.terms = weigh_births(objects, motion, found, after, before)
    return found


def _families_of(objects, motion, after, before, t, missing):
    """Mothers, heirs and the new ones of frame t: (families, 3); mothers are of frame t - 1, less the missing one."""
    rows, last = objects.rows(t), objects.rows(t - 1 - missing)
    new = rows.start + np.flatnonzero(before[rows] == NONE)
    if not len(new) or last.start == last.stop:
        return np.zeros((0, 3), int)
    radii = objects.radii
    tree = cKDTree(objects.centres[last] + objects.drifts[t - missing : t + 1].sum(0))
    reach = 4.0 * radii[last].max() + 3.0 * motion.shift
    near, at = tree.query(objects.centres[new], k=min(NEAREST, last.stop - last.start), distance_upper_bound=reach)
    near, at = near.reshape(len(new), -1), at.reshape(len(new), -1)
    one, rank = np.nonzero(np.isfinite(near))
    mother, child = last.start + at[one, rank], new[one]
    close = near[one, rank] < 4.0 * radii[mother] + 3.0 * motion.shift
    mother, child = mother[close], child[close]
    kept = after[mother] != NONE
    heirs = np.stack([mother[kept], after[mother[kept]], child[kept]], 1)
    # A mother without a successor may have two of the new ones.
    lone = np.stack([mother[~kept], child[~kept]], 1)
    lone = lone[np.lexsort(lone.T[::-1])]
    pairs = []
    for apart in range(1, len(lone)):
        one, two = lone[:-apart], lone[apart:]
        same = one[:, 0] == two[:, 0]
        if not same.any():
            break
        pairs.append(np.column_stack([one[same], two[same, 1]]))
    return np.concatenate([heirs, *pairs])


def geometry(candidates):
    """What place, size, light, overlap and missing say of candidates, whatever came before and after (candidates,)."""
    return candidates.terms[:, [1, 2, 3, 4, 7]].sum(1)


def decide_divisions(candidates, objects, before, bridged, gains, mended):
    """Fill in the prior of the candidates, learned from how many of the movie's objects look like newborns.

    Daughters of about the same size are told by many signs, a small one beside a large one may be a bud, debris or a
    newcomer. So unequal divisions are only as likely as the equal ones of the same movie make them. At the border more
    objects are newcomers, as many as the movie shows. Two that are merged in the first frame look like a mother, and
    the pieces of one cell in the last frame like daughters: as many are as in between.

    Args:
        candidates: Candidates; `terms` gets the prior.
        objects: Detections.
        before: rows of the former selves; NONE for the objects that are to be explained.
        bridged, gains: objects that may come after a gap, and the evidence for it.
        mended: how many cells are merged, and how many in pieces, for some frames in between.
    """
    count, times, new = len(objects.labels), objects.times, candidates.new
    evidence, unequal = candidates.evidence, _unequal(candidates, objects)
    rare = np.where(unequal, PRIOR_COUNTS * np.log(UNEQUAL_SHARE), 0)
    gap = np.zeros(count)
    np.maximum.at(gap, bridged, np.maximum(gains, 0))
    unexplained = (before == NONE) & (gap == 0) & (times > 0)
    ends = [times[candidates.mother] == 0, times[new] == objects.frames - 1]
    # Of what may be mended about half is.
    rates = [(0.5 * found + PRIOR_OBJECTS * USUAL_MENDED) / (count + PRIOR_OBJECTS) for found in mended]
    total = evidence + rare
    for _ in range(EM_ROUNDS):
        best = np.full(count, -np.inf)
        np.maximum.at(best, new[~unequal], total[~unequal])
        likely = 1 / (1 + np.exp(-np.clip(best - gap, -50, 50)))
        equal = (likely.sum() + PRIOR_OBJECTS * PRIOR_DIVIDING) / (count + PRIOR_OBJECTS)
        newcomers = _share_of_newcomers(objects.cut, unexplained, likely)
        prior = np.minimum(PRIOR_COUNTS * np.log(equal / newcomers), MOST_PRIOR)
        total = evidence + prior[objects.cut[new].astype(int)] + rare
        for end, rate in zip(ends, rates, strict=True):
            # What is mended looks the same, so that no evidence tells the two apart.
            total = np.where(end, -np.logaddexp(-total, np.log(rate / equal)), total)
    candidates.terms[:, 0] = total - evidence


def _unequal(candidates, objects):
    """Whether daughters are of unequal sizes (candidates,); what the border cuts may be larger than it seems."""
    ratio = np.log(objects.sizes[candidates.heir] / objects.sizes[candidates.new])
    return (np.abs(ratio) > UNEQUAL) & ~objects.cut[np.where(ratio > 0, candidates.new, candidates.heir)]


def _share_of_newcomers(cut, unexplained, likely):
    """Shares of the objects that are new for no reason: away from the border, and cut by it.

    Args:
        cut, unexplained: bool (objects,), whether the border cuts them, and nothing but a division explains them.
        likely: probability (objects,) that a division does.
    """
    shares = []
    for mine, usual in zip((~cut, cut), USUAL_NEWCOMERS, strict=True):
        rest = max((unexplained & mine).sum() - likely[mine].sum(), 0)
        shares.append((rest + PRIOR_OBJECTS * usual) / (mine.sum() + PRIOR_OBJECTS))
    return np.maximum(shares, LEAST_NEWCOMERS)
