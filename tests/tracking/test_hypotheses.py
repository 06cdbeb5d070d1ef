"""Decisions: the chosen hypotheses gain as much as any that exclude noresource of each other."""

import itertools

import numpy as np
import pytest

from tessera.tracking.hypotheses import NO_RESOURCE, select


def draw_hypotheses(seed, hypotheses=9, n_resources=7):
    """Gains (hypotheses,), some negative, and what each hypothesis resources (hypotheses, 3), padded."""
    rng = np.random.default_rng(seed)
    resources = np.full((hypotheses, 3), NO_RESOURCE)
    for row in resources:
        used = rng.choice(n_resources, rng.integers(1, 4), replace=False)
        row[: len(used)] = used
    return rng.normal(1, 2, hypotheses).round(2), resources


def allowed(chosen, resources):
    used = [resource for hypothesis in chosen for resource in resources[hypothesis] if resource != NO_RESOURCE]
    return len(used) == len(set(used))


@pytest.mark.parametrize("seed", range(40))
def test_no_other_choice_scores_more(seed):
    scores, resources = draw_hypotheses(seed)
    chosen = select(scores, resources)
    assert allowed(chosen, resources)
    every = (each for size in range(10) for each in itertools.combinations(range(9), size))
    best = max(scores[list(each)].sum() for each in every if allowed(each, resources))
    assert scores[chosen].sum() == pytest.approx(best)


def test_what_is_not_solved_in_time_is_taken_greedily():
    scores, resources = draw_hypotheses(0, hypotheses=4000, n_resources=900)
    chosen = select(np.abs(scores), resources, time_limit_s=0)
    assert allowed(chosen, resources)
    left = [hypothesis for hypothesis in range(4000) if hypothesis not in set(chosen.tolist())]
    assert not any(allowed([*chosen, hypothesis], resources) for hypothesis in left[:50])


def test_the_same_hypotheses_twice_are_taken_once():
    resources = np.array([[1, 2], [1, 2], [3, NO_RESOURCE]])
    assert select(np.ones(3), resources).tolist() == [0, 2]
    assert select(np.ones(2), np.array([[0], [0]])).tolist() == [0]


def test_without_hypotheses_noresource_is_chosen():
    assert len(select(np.zeros(0), np.zeros((0, 2), int))) == 0
    assert len(select(np.array([-1.0]), np.array([[0, 1]]))) == 0
