"""Decisions: which of the events that may have happened did, where no two can be about the same end or start."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from .links import NONE

ROUNDS = 5  # of taking what is certain; few events are left then


def choose(gains, uses, seconds=20.0):
    """The events that gain most together, each thing used by one at most.

    Events that are certain are taken first: one that gains no less than all together that it excludes is in a best
    choice. What is left is solved as an integer program by HiGHS, exactly where that takes no more than `seconds`; else
    its best so far counts, or what gains most is taken first. Only then does the machine's speed matter.

    Args:
        gains: float64 (events,); events without a gain are left out.
        uses: int64 (events, things), what each event uses, NONE where it uses less.
        seconds: that the integer program may take.

    Returns:
        Indices of the chosen events, rising.
    """
    left = np.flatnonzero(gains > 0)
    chosen = []
    for _ in range(ROUNDS):
        if not len(left):
            break
        used, gain = _table(uses[left]), gains[left]
        rivals = used @ (used.T @ gain) - used.sum(axis=1) * gain
        sure = np.flatnonzero(gain >= rivals)
        if not len(sure):
            break
        # Of two that exclude each other and gain the same, both are certain; the first is as good as the second.
        sure = sure[_first_of_each(uses[left[sure]])]
        chosen.append(left[sure])
        excluded = used @ (used.T @ np.isin(np.arange(len(left)), sure).astype(float)) > 0
        left = left[~excluded]
    if len(left):
        chosen.append(left[_solve(gains[left], uses[left], seconds)])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)


def _table(uses):
    """Which event uses what: sparse (events, things), the things numbered anew."""
    events, columns = np.nonzero(uses != NONE)
    things = np.unique(uses[events, columns], return_inverse=True)[1]
    shape = (len(uses), int(things.max(initial=-1)) + 1)
    return csr_array((np.ones(len(events)), (events, things)), shape=shape)


def _first_of_each(uses):
    """Positions of the events of which no earlier one uses the same."""
    taken, kept = set(), []
    for place, used in enumerate(uses.tolist()):
        mine = {thing for thing in used if thing != NONE}
        if not mine & taken:
            kept.append(place)
            taken |= mine
    return kept


def _solve(gains, uses, seconds):
    used = _table(uses)
    solved = milp(
        -gains,
        integrality=np.ones(len(gains)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(used.T.tocsr(), -np.inf, 1),
        options={"time_limit": seconds, "mip_rel_gap": 0},
    )
    if solved.x is not None:
        return np.flatnonzero(solved.x > 0.5)
    order = np.argsort(-gains, kind="stable")
    return order[_first_of_each(uses[order])]
