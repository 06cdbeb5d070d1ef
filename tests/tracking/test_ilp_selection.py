"""Decisions: the chosen events gain as much as any that exclude nothing of each other."""

import itertools

import numpy as np
import pytest

from tessera.tracking.ilp_selection import choose
from tessera.tracking.link_scores import NONE


def draw_events(seed, events=9, things=7):
    """Gains (events,), some negative, and what each event uses (events, 3), padded."""
    rng = np.random.default_rng(seed)
    uses = np.full((events, 3), NONE)
    for row in uses:
        used = rng.choice(things, rng.integers(1, 4), replace=False)
        row[: len(used)] = used
    return rng.normal(1, 2, events).round(2), uses


def allowed(chosen, uses):
    used = [thing for event in chosen for thing in uses[event] if thing != NONE]
    return len(used) == len(set(used))


@pytest.mark.parametrize("seed", range(40))
def test_no_other_choice_gains_more(seed):
    gains, uses = draw_events(seed)
    chosen = choose(gains, uses)
    assert allowed(chosen, uses)
    every = (each for size in range(10) for each in itertools.combinations(range(9), size))
    best = max(gains[list(each)].sum() for each in every if allowed(each, uses))
    assert gains[chosen].sum() == pytest.approx(best)


def test_what_is_not_solved_in_time_is_taken_greedily():
    gains, uses = draw_events(0, events=4000, things=900)
    chosen = choose(np.abs(gains), uses, seconds=0)
    assert allowed(chosen, uses)
    left = [event for event in range(4000) if event not in set(chosen.tolist())]
    assert not any(allowed([*chosen, event], uses) for event in left[:50])


def test_the_same_events_twice_are_taken_once():
    uses = np.array([[1, 2], [1, 2], [3, NONE]])
    assert choose(np.ones(3), uses).tolist() == [0, 2]
    assert choose(np.ones(2), np.array([[0], [0]])).tolist() == [0]


def test_without_events_nothing_is_chosen():
    assert len(choose(np.zeros(0), np.zeros((0, 2), int))) == 0
    assert len(choose(np.array([-1.0]), np.array([[0, 1]]))) == 0
