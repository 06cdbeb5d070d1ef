"""Divisions: how it is decided which objects divide.

1. `find_divisions` lists candidates: a mother and two daughters of a later frame, at least one of which has no
   predecessor. `tessera.tracking.division_scores` gives each its log-likelihood ratios.
2. `learn_division_prior` adds how common divisions are in this movie; that there are none is a possible result.
3. Candidates compete with uncertain links, gaps, merges and splits for the same ends and starts
   (`tessera.tracking.hypotheses`). One that is chosen needs a log-likelihood ratio above MIN_DIVISION_LLR.

If all cells of a frame were merged into one object, the number of candidates would explode; so each mother has at most
MAX_CANDIDATES_PER_MOTHER.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from tessera.tracking.array_types import Bools, Floats, Indices
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.division_scores import TERM, DivisionTriples, score_divisions
from tessera.tracking.frame_linking import LinkedFrames
from tessera.tracking.motion_model import MotionModel

# Threshold of a division. It is above 0, since a false division harms a lineage more than a missed one.
MIN_DIVISION_LLR = 0.5
MAX_MOTHERS_PER_DAUGHTER = 6  # nearest possible mothers of each object without a predecessor
MAX_NEW_DAUGHTERS = 6  # nearest objects without a predecessor that a mother without a successor may divide into
MAX_CANDIDATES_PER_MOTHER = 12
UNEQUAL_LOG_SIZE_RATIO = 1.0  # daughters whose sizes differ more are unequal
UNEQUAL_SHARE = 0.1  # unequal divisions for each equal division of the movie
N_EM_ROUNDS = 10
MAX_PRIOR_LLR = 2.0
PRIOR_WEIGHT = 0.7  # below 1, since the prior is learned from the same evidence
PRIOR_NEWCOMER_RATES = (0.01, 0.05)  # share of objects that appear without a division: inside, at the border
PRIOR_REPAIR_RATE = 0.002  # share of objects that are merged or split for some frames
PRIOR_OBJECTS = 50.0  # number of objects that the prior rates count as
PRIOR_DIVISION_RATE = 0.005


@dataclass(frozen=True)
class DivisionCandidates(DivisionTriples):
    """Possible divisions with their evidence.

    Attributes:
        terms: float64 (candidates, EVIDENCE_TERMS), log-likelihood ratios.
        geometry_llr: float64 (candidates,), the evidence in the frames of mother and daughters alone.
    """

    terms: Floats
    geometry_llr: Floats

    @property
    def llr(self) -> Floats:
        """Total log-likelihood ratio: float64 (candidates,)."""
        total: Floats = self.terms.sum(1)
        return total

    def select(self, indices: Indices) -> "DivisionCandidates":
        """The candidates at these indices."""
        return DivisionCandidates(
            self.mother[indices],
            self.daughter_a[indices],
            self.daughter_b[indices],
            self.terms[indices],
            self.geometry_llr[indices],
        )

    def with_prior(self, prior: Floats) -> "DivisionCandidates":
        """The candidates with these log prior odds (candidates,)."""
        terms = self.terms.copy(order="K")
        terms[:, TERM["prior"]] = prior
        return replace(self, terms=terms)


@dataclass(frozen=True)
class Alternatives:
    """Explanations other than a division for objects without a predecessor.

    Attributes:
        after: int64 (alternatives,), the objects that they explain.
        scores: float64 (alternatives,), log-likelihood ratios.
        n_merged: cells that may be merged with another for some frames.
        n_split: cells that may be split into fragments for some frames.
    """

    after: Indices
    scores: Floats
    n_merged: int
    n_split: int


def find_divisions(
    detections: Detections,
    model: MotionModel,
    linked: LinkedFrames,
    *,
    max_missed_frames: int = 0,
    max_distance_px: float | None = None,
    learn: bool = True,
) -> DivisionCandidates:
    """List possible divisions with their evidence, without the prior.

    Args:
        detections: Detections.
        model: MotionModel.
        linked: LinkedFrames.
        max_missed_frames: frames for which the mother or a daughter may be missed, 0 or 1.
        max_distance_px: largest distance, for each frame, of a daughter from the outline of the mother's disc, in
            pixels of x; None: from the distance between neighbors.
        learn: see `tessera.tracking.division_scores.score_divisions`.
    """
    triples = [np.zeros((0, 3), int)]
    for t in range(detections.n_frames - 1):
        for later in range(t + 1, min(t + 2 + max_missed_frames, detections.n_frames)):
            triples.append(_find_triples(detections, model, linked, t, later, max_distance_px))
    found = DivisionTriples(*np.ascontiguousarray(np.concatenate(triples).T))
    terms, geometry_llr = score_divisions(detections, model, found, linked, learn=learn)
    candidates = DivisionCandidates(found.mother, found.daughter_a, found.daughter_b, terms, geometry_llr)
    return candidates.select(_lowest_of_each_group(candidates.mother, -candidates.llr, MAX_CANDIDATES_PER_MOTHER))


def _lowest_of_each_group(groups: Indices, values: Floats, count: int) -> Indices:
    """Indices, increasing, of the `count` lowest values of each group; groups are non-negative int64 (values,)."""
    dropped = np.bincount(groups)[groups] > count
    large = np.flatnonzero(dropped)
    order = large[np.lexsort((values[large], groups[large]))]
    heads = np.flatnonzero(np.diff(groups[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(heads, np.diff(heads, append=len(order)))
    dropped[order[rank < count]] = False
    return np.flatnonzero(~dropped)


def _find_triples(
    detections: Detections,
    model: MotionModel,
    linked: LinkedFrames,
    t: int,
    later: int,
    max_distance_px: float | None,
) -> Indices:
    """Mothers of frame t and two daughters of a later frame: int64 (candidates, 3)."""
    daughters, mothers, successors = detections.frame_slice(later), detections.frame_slice(t), linked.after
    new = daughters.start + np.flatnonzero(linked.open_starts[daughters])
    # By size, so that the smaller one of two new daughters is `daughter_a` whatever the labels are.
    new = new[np.lexsort((*detections.centers[new].T, detections.sizes[new]))]
    if not len(new) or mothers.start == mothers.stop:
        return np.zeros((0, 3), int)
    radii = detections.radii
    positions = detections.centers[new] - detections.drifts[t + 1 : later + 1].sum(0)
    # Radii say little if masks are markers; the distance between neighbors tells how wide cells are.
    reach = np.maximum(4.0 * radii[mothers], 1.5 * model.neighbor_distance) + 3.0 * model.displacement_scale
    if max_distance_px is not None:
        reach = np.minimum(reach, max_distance_px * (later - t) + radii[mothers])
    distances, places = detections.nearest(t, positions, MAX_MOTHERS_PER_DAUGHTER, reach.max())
    index, rank = np.nonzero(np.isfinite(distances))
    place, distance = places[index, rank], distances[index, rank]
    mother, daughter = mothers.start + place, new[index]
    close = distance < reach[place]
    mother, daughter, distance = mother[close], daughter[close], distance[close]
    goes_on = successors[mother] != NO_DETECTION
    with_successor = np.stack([mother[goes_on], successors[mother[goes_on]], daughter[goes_on]], 1)
    with_successor = with_successor[with_successor[:, 1] != with_successor[:, 2]]
    # A mother without a successor may divide into two new objects.
    ending = np.stack([mother[~goes_on], daughter[~goes_on]], 1)
    ending = ending[_lowest_of_each_group(ending[:, 0] - mothers.start, distance[~goes_on], MAX_NEW_DAUGHTERS)]
    ending = ending[np.argsort(ending[:, 0], kind="stable")]
    pairs = []
    for offset in range(1, len(ending)):
        first, second = ending[:-offset], ending[offset:]
        same_mother = first[:, 0] == second[:, 0]
        if not same_mother.any():
            break
        pairs.append(np.column_stack([first[same_mother], second[same_mother, 1]]))
    return np.concatenate([with_successor, *pairs])


def learn_division_prior(
    candidates: DivisionCandidates,
    detections: Detections,
    model: MotionModel,
    linked: LinkedFrames,
    alternatives: Alternatives,
) -> DivisionCandidates:
    """Add the prior odds of a division, learned by expectation maximization from the objects without a predecessor.

    Two daughters of similar size are recognized by much evidence. A small object beside a large one may also be a bud,
    debris or a newcomer, so unequal divisions are taken to be as common as equal divisions of the movie make them. More
    objects are newcomers at the border; their rate is learned separately. Two merged cells in the first frame look like
    a mother, and the fragments of a split cell in the last frame like daughters: both are taken to be as common as in
    the frames in between.
    """
    count, frames, new = len(detections), detections.frames, candidates.daughter_b
    evidence, unequal = candidates.llr, _are_unequal(candidates, detections, model)
    daughters = np.unique(new)
    log_unequal = np.where(unequal, PRIOR_WEIGHT * np.log(UNEQUAL_SHARE), 0)
    best_alternative = np.zeros(count)
    np.maximum.at(best_alternative, alternatives.after, np.maximum(alternatives.scores, 0))
    at_border = detections.touches_border.astype(int)
    unexplained = (linked.before == NO_DETECTION) & (best_alternative == 0) & (frames > 0)
    counts, n_unexplained = (np.bincount(at_border[which], minlength=2) for which in (frames >= 0, unexplained))
    in_first_frame = np.flatnonzero(frames[candidates.mother] == 0)
    in_last_frame = np.flatnonzero(frames[new] == detections.n_frames - 1)
    # About half of the possible merges and splits are real.
    merge_rate, split_rate = (
        (0.5 * n + PRIOR_OBJECTS * PRIOR_REPAIR_RATE) / (count + PRIOR_OBJECTS)
        for n in (alternatives.n_merged, alternatives.n_split)
    )
    total, equal, daughter_at_border = evidence + log_unequal, np.flatnonzero(~unequal), at_border[new]
    for _ in range(N_EM_ROUNDS):
        best = np.full(count, -np.inf)
        np.maximum.at(best, new[equal], total[equal])
        probabilities = expit(best[daughters] - best_alternative[daughters])
        division_rate = (probabilities.sum() + PRIOR_OBJECTS * PRIOR_DIVISION_RATE) / (count + PRIOR_OBJECTS)
        n_dividing: Floats = np.bincount(at_border[daughters], probabilities, minlength=2).astype(float, copy=False)
        newcomer_rates = _newcomer_rates(counts, n_unexplained, n_dividing)
        prior = np.minimum(PRIOR_WEIGHT * np.log(division_rate / newcomer_rates), MAX_PRIOR_LLR)
        total = evidence + prior[daughter_at_border] + log_unequal
        for indices, rate in ((in_first_frame, merge_rate), (in_last_frame, split_rate)):
            # A merge or split at the end of the movie looks like a division, so evidence cannot exceed their odds.
            total[indices] = -np.logaddexp(-total[indices], np.log(rate / division_rate))
    return candidates.with_prior(total - evidence)


def _are_unequal(candidates: DivisionCandidates, detections: Detections, model: MotionModel) -> Bools:
    """Whether the daughters' sizes differ (candidates,); a smaller one that touches the border may be larger."""
    a, b = candidates.daughter_a, candidates.daughter_b
    log_ratio = model.size_informativeness * np.log(detections.sizes[a] / detections.sizes[b])
    smaller = np.where(log_ratio > 0, b, a)
    unequal: Bools = (np.abs(log_ratio) > UNEQUAL_LOG_SIZE_RATIO) & ~detections.touches_border[smaller]
    return unequal


def _newcomer_rates(counts: Indices, n_unexplained: Indices, n_dividing: Floats) -> Floats:
    """Share of objects that appear without a division: inside, at the border (2,).

    Args:
        counts: int64 (2,), objects inside and at the border.
        n_unexplained: int64 (2,), those that nothing but a division explains.
        n_dividing: float64 (2,), expected number of those that a division explains.
    """
    rest = np.maximum(n_unexplained - n_dividing, 0)
    # There is no lower limit: if hardly any object appears in a long movie, one that does is likely to be a daughter.
    shares: Floats = (rest + PRIOR_OBJECTS * np.array(PRIOR_NEWCOMER_RATES)) / (counts + PRIOR_OBJECTS)
    return shares
