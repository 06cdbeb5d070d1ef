"""Divisions: which objects divide, with what speaks for it; that none does is a possible outcome."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from tessera.tracking.division_scores import weigh_births
from tessera.tracking.link_scores import NONE

NEAREST = 6  # mothers that are looked at for each new object
BROOD = 6  # new objects that a mother without a successor may have two of, the nearest
FAMILIES = 12  # of each mother, the likeliest: where many cells seem to come from one, none of them did
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
        geometry: float64 (candidates,), what the frames of the three say alone, whatever came before and after.
    """

    mother: np.ndarray
    heir: np.ndarray
    new: np.ndarray
    terms: np.ndarray
    geometry: np.ndarray

    @property
    def evidence(self):
        return self.terms.sum(1)

    def chosen(self, rows):
        return Candidates(self.mother[rows], self.heir[rows], self.new[rows], self.terms[rows], self.geometry[rows])


def find_divisions(objects, motion, chains, *, missed=0, reach=None, learn=True):
    """Divisions that may be, with what speaks for them but the prior.

    Args:
        objects: Detections.
        motion: Motion.
        chains: Chains.
        missed: frames for which the mother or a daughter may be missing, 0 or 1.
        reach: pixels of x that a daughter goes at most, from a frame to the next, from the disc that the mother is;
            None: as far as cells lie apart.
        learn: see `weigh_births`.

    Returns:
        Candidates.
    """
    families = [np.zeros((0, 3), int)]
    for t in range(objects.frames - 1):
        for later in range(t + 1, min(t + 2 + missed, objects.frames)):
            families.append(_families_of(objects, motion, chains, t, later, reach))
    found = Candidates(*np.ascontiguousarray(np.concatenate(families).T), None, None)
    found.terms, found.geometry = weigh_births(objects, motion, found, chains, learn=learn)
    return found.chosen(_first_of_each(found.mother, -found.evidence, FAMILIES))


def _first_of_each(groups, values, most):
    """Indices, rising, of the `most` lowest values of each group, non-negative integers (values,)."""
    many = np.bincount(groups)[groups] > most
    large = np.flatnonzero(many)
    order = large[np.lexsort((values[large], groups[large]))]
    heads = np.flatnonzero(np.diff(groups[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(heads, np.diff(heads, append=len(order)))
    many[order[rank < most]] = False
    return np.flatnonzero(~many)


def _families_of(objects, motion, chains, t, later, limit):
    """Mothers of frame t, heirs and new ones of a later frame: (families, 3)."""
    rows, last, after = objects.rows(later), objects.rows(t), chains.after
    new = rows.start + np.flatnonzero(chains.starts[rows])
    # The smallest first: of two that are new the smaller one is the heir, however they are numbered.
    new = new[np.lexsort((*objects.centres[new].T, objects.sizes[new]))]
    if not len(new) or last.start == last.stop:
        return np.zeros((0, 3), int)
    radii = objects.radii
    places = objects.centres[new] - objects.drifts[t + 1 : later + 1].sum(0)
    # Radii of markers say little; cells that touch are as far apart as they are wide.
    reach = np.maximum(4.0 * radii[last], 1.5 * motion.spacing) + 3.0 * motion.shift
    if limit is not None:
        reach = np.minimum(reach, limit * (later - t) + radii[last])
    near, at = objects.nearest(t, places, NEAREST, reach.max())
    one, rank = np.nonzero(np.isfinite(near))
    mother, child, distance = last.start + at[one, rank], new[one], near[one, rank]
    close = distance < reach[at[one, rank]]
    mother, child, distance = mother[close], child[close], distance[close]
    kept = after[mother] != NONE
    heirs = np.stack([mother[kept], after[mother[kept]], child[kept]], 1)
    heirs = heirs[heirs[:, 1] != heirs[:, 2]]
    # A mother without a successor may have two of the new ones.
    lone = np.stack([mother[~kept], child[~kept]], 1)
    lone = lone[_first_of_each(lone[:, 0] - last.start, distance[~kept], BROOD)]
    lone = lone[np.argsort(lone[:, 0], kind="stable")]
    pairs = []
    for apart in range(1, len(lone)):
        one, two = lone[:-apart], lone[apart:]
        same = one[:, 0] == two[:, 0]
        if not same.any():
            break
        pairs.append(np.column_stack([one[same], two[same, 1]]))
    return np.concatenate([heirs, *pairs])


def decide_divisions(candidates, objects, motion, before, bridged, gains, mended):
    """Fill in the prior of the candidates, learned from how many of the movie's objects look like newborns.

    Daughters of about the same size are told by many signs, a small one beside a large one may be a bud, debris or a
    newcomer. So unequal divisions are only as likely as the equal ones of the same movie make them. At the border more
    objects are newcomers, as many as the movie shows. Two that are merged in the first frame look like a mother, and
    the pieces of one cell in the last frame like daughters: as many are as in between.

    Args:
        candidates: Candidates; `terms` gets the prior.
        objects: Detections.
        motion: Motion.
        before: rows of the former selves; NONE for the objects that are to be explained.
        bridged, gains: objects that may come after a gap, and the evidence for it.
        mended: how many cells are merged, and how many in pieces, for some frames in between.
    """
    count, times, new = len(objects.labels), objects.times, candidates.new
    evidence, unequal = candidates.evidence, _unequal(candidates, objects, motion)
    born = np.unique(new)
    rare = np.where(unequal, PRIOR_COUNTS * np.log(UNEQUAL_SHARE), 0)
    gap = np.zeros(count)
    np.maximum.at(gap, bridged, np.maximum(gains, 0))
    cut = objects.cut.astype(int)
    counts, starts = (
        np.bincount(cut[rows], minlength=2) for rows in (times >= 0, (before == NONE) & (gap == 0) & (times > 0))
    )
    ends = [np.flatnonzero(where) for where in (times[candidates.mother] == 0, times[new] == objects.frames - 1)]
    # Of what may be mended about half is.
    rates = [(0.5 * found + PRIOR_OBJECTS * USUAL_MENDED) / (count + PRIOR_OBJECTS) for found in mended]
    total, alike, at_border = evidence + rare, np.flatnonzero(~unequal), cut[new]
    for _ in range(EM_ROUNDS):
        best = np.full(count, -np.inf)
        np.maximum.at(best, new[alike], total[alike])
        likely = expit(best[born] - gap[born])
        equal = (likely.sum() + PRIOR_OBJECTS * PRIOR_DIVIDING) / (count + PRIOR_OBJECTS)
        newcomers = _share_of_newcomers(counts, starts, np.bincount(cut[born], likely, minlength=2))
        prior = np.minimum(PRIOR_COUNTS * np.log(equal / newcomers), MOST_PRIOR)
        total = evidence + prior[at_border] + rare
        for end, rate in zip(ends, rates, strict=True):
            # What is mended looks the same, so that no evidence tells the two apart.
            total[end] = -np.logaddexp(-total[end], np.log(rate / equal))
    candidates.terms[:, 0] = total - evidence


def _unequal(candidates, objects, motion):
    """Whether daughters are unequal, as far as sizes tell (candidates,); what the border cuts may be larger."""
    ratio = motion.sizes_tell * np.log(objects.sizes[candidates.heir] / objects.sizes[candidates.new])
    return (np.abs(ratio) > UNEQUAL) & ~objects.cut[np.where(ratio > 0, candidates.new, candidates.heir)]


def _share_of_newcomers(counts, starts, dividing):
    """Shares of the objects that are new for no reason: away from the border, and cut by it (2,).

    Args:
        counts: objects (2,), away from the border and cut by it.
        starts: those of them that nothing but a division explains (2,).
        dividing: how many of them a division does explain, likely (2,).
    """
    rest = np.maximum(starts - dividing, 0)
    shares = (rest + PRIOR_OBJECTS * np.array(USUAL_NEWCOMERS)) / (counts + PRIOR_OBJECTS)
    return np.maximum(shares, LEAST_NEWCOMERS)
