"""The selected hypotheses have the largest total score of all sets in which no resource is used twice."""

import itertools

import numpy as np
import pytest

from tessera.tracking.division_candidates import MIN_DIVISION_LLR, DivisionCandidates
from tessera.tracking.division_scores import EVIDENCE_TERMS
from tessera.tracking.frame_linking import CandidateLinks, LinkedFrames
from tessera.tracking.hypotheses import (
    NO_RESOURCE,
    Hypotheses,
    UncertainLinks,
    division_hypotheses,
    link_hypotheses,
    repair_hypotheses,
    select,
    select_hypotheses,
)
from tessera.tracking.split_merge_repair import Repair


def draw_hypotheses(seed, count=9, n_resources=7):
    """Scores (hypotheses,), some negative, and the resources that each needs, (hypotheses, 3), padded."""
    rng = np.random.default_rng(seed)
    resources = np.full((count, 3), NO_RESOURCE)
    for row in resources:
        needed = rng.choice(n_resources, rng.integers(1, 4), replace=False)
        row[: len(needed)] = needed
    return rng.normal(1, 2, count).round(2), resources


def has_no_conflict(chosen, resources):
    needed = [resource for hypothesis in chosen for resource in resources[hypothesis] if resource != NO_RESOURCE]
    return len(needed) == len(set(needed))


@pytest.mark.parametrize("seed", range(40))
def test_selection_has_the_largest_total_score(seed):
    scores, resources = draw_hypotheses(seed)
    chosen = select(scores, resources)
    assert has_no_conflict(chosen, resources)
    subsets = (each for size in range(10) for each in itertools.combinations(range(9), size))
    best = max(scores[list(each)].sum() for each in subsets if has_no_conflict(each, resources))
    assert scores[chosen].sum() == pytest.approx(best)


def test_selection_is_greedy_after_the_time_limit():
    scores, resources = draw_hypotheses(0, count=4000, n_resources=900)
    chosen = select(np.abs(scores), resources, time_limit_s=0)
    assert has_no_conflict(chosen, resources)
    others = [hypothesis for hypothesis in range(4000) if hypothesis not in set(chosen.tolist())]
    assert not any(has_no_conflict([*chosen, hypothesis], resources) for hypothesis in others[:50])


def test_duplicate_hypotheses_are_selected_once():
    resources = np.array([[1, 2], [1, 2], [3, NO_RESOURCE]])
    assert select(np.ones(3), resources).tolist() == [0, 2]
    assert select(np.ones(2), np.array([[0], [0]])).tolist() == [0]


def test_selection_without_positive_hypotheses_is_empty():
    assert len(select(np.zeros(0), np.zeros((0, 2), int))) == 0
    assert len(select(np.array([-1.0]), np.array([[0, 1]]))) == 0


def test_kinds_of_different_widths_compete_and_keep_their_positions():
    pairs = Hypotheses(np.array([2.0, 1.0, 3.0]), np.array([[0, 1], [2, 3], [4, 5]]))
    triples = Hypotheses(np.array([-1.0, 4.0]), np.array([[6, 7, 8], [0, 1, 2]]))
    nothing = Hypotheses(np.zeros(0), np.zeros((0, 1), int))
    # The second triple excludes the first two pairs, which score 3 together.
    assert [each.tolist() for each in select_hypotheses([pairs, nothing, triples])] == [[2], [], [1]]


def chains():
    """LinkedFrames of 6 detections: 0 -> 2 -> 4 and 1 -> 3 -> 5, with uncertain links 0 -> 2, 1 -> 3 and 0 -> 3."""
    after, before = np.array([2, 3, 4, 5, -1, -1]), np.array([-1, -1, 0, 1, 2, 3])
    uncertain = CandidateLinks(np.array([0, 1, 0]), np.array([2, 3, 3]), np.zeros(3))
    open_ends, open_starts = np.isin(np.arange(6), [0, 1, 4, 5]), np.isin(np.arange(6), [0, 1, 2, 3])
    return LinkedFrames(after, before, open_ends, open_starts, uncertain, after, before)


def test_uncertain_links_of_tracks_are_distinguished_from_other_candidates():
    linked = chains()
    uncertain = UncertainLinks(linked.uncertain, linked)
    assert uncertain.in_tracks.tolist() == [True, True, False]


def test_hypotheses_keep_the_score_of_links_both_ends_of_which_they_explain():
    linked = chains()
    links = CandidateLinks(linked.uncertain.before, linked.uncertain.after, np.array([1.5, -2.0, 9.0]))
    uncertain = UncertainLinks(links, linked)
    resources = np.array([
        [6 + 0, 2, NO_RESOURCE],  # end of 0 and start of 2: the link 0 -> 2
        [6 + 1, 3, NO_RESOURCE],  # the link 1 -> 3, whose score is negative
        [6 + 0, 3, NO_RESOURCE],  # the end and the start of different links
        [2, 3, 6 + 0],  # 0 -> 2 again, and another start
    ])  # fmt: skip
    assert uncertain.kept_score(resources).tolist() == [1.5, 0, 0, 1.5]


def test_resources_of_links_divisions_and_repairs_are_their_ends_and_starts():
    linked = chains()
    uncertain = UncertainLinks(CandidateLinks(*(np.zeros(0, int),) * 2, np.zeros(0)), linked)
    assert link_hypotheses(CandidateLinks(np.array([0]), np.array([3]), np.array([7.0])), 6).resources.tolist() == [
        [6, 3]
    ]
    terms = np.zeros((1, len(EVIDENCE_TERMS)))
    terms[0, :2] = 1.0, 2.0
    division = DivisionCandidates(np.array([0]), np.array([2]), np.array([3]), terms, np.zeros(1))
    hypotheses = division_hypotheses(division, uncertain, 6)
    assert hypotheses.resources.tolist() == [[6, 2, 3]]
    assert hypotheses.scores.tolist() == [3.0 - MIN_DIVISION_LLR]
    split = Repair(before=(0,), chain=[2], second_chain=[3], after=(4,), score=2.0)
    merged = Repair(before=(0, 1), chain=[2], second_chain=[], after=(4, 5), score=1.0)
    hypotheses = repair_hypotheses([split, merged], uncertain, 6)
    assert [sorted(set(row) - {NO_RESOURCE}) for row in hypotheses.resources.tolist()] == [
        [2, 3, 4, 6, 8, 9],
        [2, 4, 5, 6, 7, 8],
    ]
    assert hypotheses.scores.tolist() == [2.0, 1.0]
    assert repair_hypotheses([], uncertain, 6).resources.shape == (0, 1)
