"""Hypotheses: what may explain the open ends and starts of tracks, and the choice of the best combination.

A hypothesis is an uncertain link, a closed gap, a division, or a repair of merged or split cells. It explains some open
ends and starts, its *resources*. No resource is explained twice, so the choice is a set packing problem: an integer
linear program (ILP) that maximizes the total score. Hypotheses that are certainly part of an optimal choice are taken
first; the rest falls into independent groups, which HiGHS solves exactly. The numbers of objects decide only between
choices of equal score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_array, csr_array
from scipy.sparse.csgraph import connected_components

from tessera.tracking.array_types import Floats, Indices
from tessera.tracking.division_candidates import MIN_DIVISION_LLR, DivisionCandidates
from tessera.tracking.frame_linking import CandidateLinks, LinkedFrames
from tessera.tracking.linear_assignment import best_and_rival
from tessera.tracking.split_merge_repair import Repair

NO_RESOURCE = -1  # in arrays of resources: the hypothesis needs fewer
MAX_FIXING_ROUNDS = 10  # rounds in which certain hypotheses are taken; few remain afterwards
HYPOTHESES_PER_PROGRAM = 2000  # solved in one program; independent groups are never divided
MAX_HYPOTHESES_PER_PROGRAM = 10_000


@dataclass(frozen=True)
class Hypotheses:
    """Hypotheses of one kind; two that share a resource exclude each other.

    Attributes:
        scores: float64 (hypotheses,), log-likelihood ratios.
        resources: int64 (hypotheses, resources), what each explains: the index of a detection that starts, or the index
            of a detection that ends plus the number of all detections; NO_RESOURCE pads the rows.
    """

    scores: Floats
    resources: Indices


class UncertainLinks:
    """Uncertain links of tracks, which other hypotheses may keep.

    Attributes:
        links: CandidateLinks with the scores of `tessera.tracking.gap_closing.rescore_uncertain_links`.
        in_tracks: bool (links,), those that were chosen when frames were linked.
    """

    def __init__(self, links: CandidateLinks, linked: LinkedFrames) -> None:
        self.links, self._predecessors = links, linked.before
        self.in_tracks = linked.after[links.before] == links.after
        # Score of the uncertain link to the predecessor of each detection.
        self._score_of = np.zeros(len(linked.before))
        self._score_of[links.after[self.in_tracks]] = np.maximum(links.scores[self.in_tracks], 0)

    def kept_score(self, resources: Indices) -> Floats:
        """Score of the uncertain links that hypotheses keep (hypotheses,).

        A hypothesis keeps a link if it explains both its end and its start.
        """
        count, scores = len(self._score_of), np.zeros(len(resources))
        for column in resources.T:
            starts = np.where(column < count, column, NO_RESOURCE)
            linked = np.flatnonzero((starts != NO_RESOURCE) & (self._score_of[starts] > 0))
            starts = starts[linked]
            both = (resources[linked] == (count + self._predecessors[starts])[:, None]).any(1)
            scores[linked] += np.where(both, self._score_of[starts], 0)
        return scores


def link_hypotheses(links: CandidateLinks, n_detections: int) -> Hypotheses:
    """Hypotheses that detections are linked, in adjacent frames or over a gap."""
    return Hypotheses(links.scores, np.stack([n_detections + links.before, links.after], 1))


def division_hypotheses(candidates: DivisionCandidates, uncertain: UncertainLinks, n_detections: int) -> Hypotheses:
    """Hypotheses of divisions; the score is the log-likelihood ratio above MIN_DIVISION_LLR."""
    resources = np.stack([n_detections + candidates.mother, candidates.daughter_a, candidates.daughter_b], 1)
    return Hypotheses(candidates.llr - MIN_DIVISION_LLR + uncertain.kept_score(resources), resources)


def repair_hypotheses(repairs: Sequence[Repair], uncertain: UncertainLinks, n_detections: int) -> Hypotheses:
    """Hypotheses that cells are split or merged for some frames."""
    rows = []
    for repair in repairs:
        needed = [n_detections + index for index in repair.before] + list(repair.after)
        for chain in filter(None, (repair.chain, repair.second_chain)):
            needed += chain + [n_detections + index for index in chain]
        rows.append(needed)
    width = max(map(len, rows), default=1)
    padded = [[*needed, *[NO_RESOURCE] * (width - len(needed))] for needed in rows]
    resources = np.array(padded, int).reshape(-1, width)
    scores = np.array([repair.score for repair in repairs]) + uncertain.kept_score(resources)
    return Hypotheses(scores, resources)


def select_hypotheses(kinds: Sequence[Hypotheses], time_limit_s: float = 20.0) -> list[Indices]:
    """Choose the hypotheses with the largest total score.

    Args:
        kinds: hypotheses of each kind.
        time_limit_s: see `select`.

    Returns:
        For each kind, the positions of the chosen hypotheses, increasing.
    """
    width = max(each.resources.shape[1] for each in kinds)
    resources = [
        np.pad(each.resources, ((0, 0), (0, width - each.resources.shape[1])), constant_values=NO_RESOURCE)
        for each in kinds
    ]
    counts = [len(each.scores) for each in kinds]
    kind = np.repeat(np.arange(len(kinds)), counts)
    position = np.concatenate([np.arange(count) for count in counts])
    scores = np.concatenate([each.scores for each in kinds])
    chosen = select(scores, np.concatenate(resources), time_limit_s)
    return [position[chosen[kind[chosen] == number]] for number in range(len(kinds))]


def select(scores: Floats, resources: Indices, time_limit_s: float = 20.0) -> Indices:
    """Choose the hypotheses with the largest total score such that no resource is used twice.

    A hypothesis that scores at least as much as the best rivals for its resources together is part of an optimal choice
    and is taken first. HiGHS solves the remaining independent groups as integer linear programs: exactly, unless one
    takes longer than `time_limit_s`, when its best solution so far counts. Only then the result depends on the speed of
    the machine. A group of more than MAX_HYPOTHESES_PER_PROGRAM, which no movie of cells has, is solved greedily.

    Args:
        scores: float64 (hypotheses,); those without a positive score are never chosen.
        resources: int64 (hypotheses, resources), at least one for each, padded with NO_RESOURCE.
        time_limit_s: of one integer linear program.

    Returns:
        Indices of the chosen hypotheses, increasing.
    """
    positive = np.flatnonzero(scores > 0)
    scores, resources = scores[positive], _renumber(resources[positive])
    remaining, chosen = np.arange(len(positive)), []
    for _ in range(MAX_FIXING_ROUNDS):
        if not len(remaining):
            break
        matrix, score = _resource_matrix(resources[remaining]), scores[remaining]
        hypothesis_of = np.repeat(np.arange(len(remaining)), np.diff(matrix.indptr))
        rival_scores = best_and_rival(matrix.indices, score[hypothesis_of])[1]
        rivals = np.bincount(hypothesis_of, rival_scores, minlength=len(remaining))
        certain = np.flatnonzero(score >= rivals)
        if not len(certain):
            break
        # Two that exclude each other and have equal scores are both certain; the first one is taken.
        certain = certain[_without_conflicts(resources[remaining[certain]])]
        chosen.append(remaining[certain])
        taken = np.isin(np.arange(len(remaining)), certain).astype(float)
        remaining = remaining[~(matrix @ (matrix.T @ taken) > 0)]
    for group in _independent_groups(resources[remaining]) if len(remaining) else ():
        members = remaining[group]
        chosen.append(members[_solve(scores[members], resources[members], time_limit_s)])
    return np.sort(positive[np.concatenate(chosen)]) if chosen else positive


def _independent_groups(resources: Indices) -> list[Indices]:
    """Positions of hypotheses, in groups that share no resource."""
    matrix = _resource_matrix(_renumber(resources))
    count, group = connected_components(block_array([[None, matrix], [matrix.T, None]]), directed=False)
    order = np.argsort(group[: len(resources)], kind="stable")
    sizes = np.bincount(group[: len(resources)], minlength=count)
    ends = np.cumsum(sizes)
    program = (ends - sizes) // HYPOTHESES_PER_PROGRAM
    return np.split(order, ends[:-1][np.diff(program) > 0])


def _renumber(resources: Indices) -> Indices:
    """The same resources, numbered from 0."""
    used = resources != NO_RESOURCE
    numbers = np.full(resources.shape, NO_RESOURCE)
    numbers[used] = np.unique(resources[used], return_inverse=True)[1]
    return numbers


def _resource_matrix(resources: Indices) -> Any:
    """Which hypothesis needs which resource: sparse float64 (hypotheses, resources)."""
    hypothesis, column = np.nonzero(resources != NO_RESOURCE)
    used = resources[hypothesis, column]
    starts = np.append(0, np.cumsum(np.bincount(hypothesis, minlength=len(resources))))
    return csr_array((np.ones(len(hypothesis)), used, starts), shape=(len(resources), int(used.max(initial=-1)) + 1))


def _without_conflicts(resources: Indices) -> Indices:
    """Positions of the hypotheses that share no resource with an earlier one that is kept."""
    matrix = _resource_matrix(resources)
    contested = np.flatnonzero(matrix @ (matrix.sum(axis=0) - 1) > 0)
    kept, taken = np.ones(len(resources), bool), set[int]()
    for position in contested.tolist():
        needed = set(resources[position].tolist()) - {NO_RESOURCE}
        kept[position] = not needed & taken
        if kept[position]:
            taken |= needed
    return np.flatnonzero(kept)


def _solve(scores: Floats, resources: Indices, time_limit_s: float) -> Indices:
    """Positions of the best hypotheses of one group."""
    order = np.argsort(-scores, kind="stable")
    if len(scores) > MAX_HYPOTHESES_PER_PROGRAM:
        return order[_without_conflicts(resources[order])]
    matrix = _resource_matrix(_renumber(resources))
    solution = milp(
        -scores,
        integrality=np.ones(len(scores), int),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix.T.tocsr(), -np.inf, 1),
        options={"time_limit": time_limit_s, "mip_rel_gap": 0},
    )
    if solution.x is not None:
        return np.flatnonzero(solution.x > 0.5)
    return order[_without_conflicts(resources[order])]
