"""Decisions: which of the events that may have happened did, where no two can be about the same end or start."""

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_array, csr_array
from scipy.sparse.csgraph import connected_components

from tessera.tracking.linear_assignment import weigh_rivals
from tessera.tracking.link_scores import NONE

ROUNDS = 10  # of taking what is certain; few events are left then
BATCH = 2000  # events that are decided in one program, or more where more hang together
MOST = 10_000  # events of one program


def choose(gains, uses, seconds=20.0):
    """The events that gain most together, each thing used by one at most.

    Events that are certain are taken first: one that gains no less than the best others that want what it uses, one for
    each thing, is in a best choice. What is left falls into groups that have nothing in common. HiGHS solves them as
    integer programs, each exactly where that takes no more than `seconds`; else its best so far counts. Only then does
    the machine's speed matter. Of more than MOST events that hang together, as no movie of cells has, those that gain
    most are taken first.

    Args:
        gains: float64 (events,); events without a gain are left out.
        uses: int64 (events, things), what each event uses, one thing at least, NONE where it uses less.
        seconds: that an integer program may take.

    Returns:
        Indices of the chosen events, rising.
    """
    kept = np.flatnonzero(gains > 0)
    gains, uses = gains[kept], _renumbered(uses[kept])
    left, chosen = np.arange(len(kept)), []
    for _ in range(ROUNDS):
        if not len(left):
            break
        used, gain = _table(uses[left]), gains[left]
        events = np.repeat(np.arange(len(left)), np.diff(used.indptr))
        rivals = np.bincount(events, weigh_rivals(used.indices, gain[events])[1], minlength=len(left))
        sure = np.flatnonzero(gain >= rivals)
        if not len(sure):
            break
        # Of two that exclude each other and gain the same, both are certain; the first is as good as the second.
        sure = sure[_first_of_each(uses[left[sure]])]
        chosen.append(left[sure])
        excluded = used @ (used.T @ np.isin(np.arange(len(left)), sure).astype(float)) > 0
        left = left[~excluded]
    for group in _groups(uses[left]) if len(left) else ():
        events = left[group]
        chosen.append(events[_solve(gains[events], uses[events], seconds)])
    return np.sort(kept[np.concatenate(chosen)]) if chosen else kept


def _groups(uses):
    """Positions of events, in groups with nothing in common: [int64 (events,), ...]."""
    used = _table(_renumbered(uses))
    count, group = connected_components(block_array([[None, used], [used.T, None]]), directed=False)
    order = np.argsort(group[: len(uses)], kind="stable")
    sizes = np.bincount(group[: len(uses)], minlength=count)
    ends = np.cumsum(sizes)
    batch = (ends - sizes) // BATCH
    return np.split(order, ends[:-1][np.diff(batch) > 0])


def _renumbered(uses):
    """The same, the things that are used numbered from 0."""
    used = uses != NONE
    numbers = np.full(uses.shape, NONE)
    numbers[used] = np.unique(uses[used], return_inverse=True)[1]
    return numbers


def _table(uses):
    """Which event uses what: sparse (events, things)."""
    events, columns = np.nonzero(uses != NONE)
    things = uses[events, columns]
    starts = np.append(0, np.cumsum(np.bincount(events, minlength=len(uses))))
    return csr_array((np.ones(len(events)), things, starts), shape=(len(uses), int(things.max(initial=NONE)) + 1))


def _first_of_each(uses):
    """Positions of the events of which no earlier one uses the same."""
    used = _table(uses)
    rivals = np.flatnonzero(used @ (used.sum(axis=0) - 1) > 0)
    kept, taken = np.ones(len(uses), bool), set()
    for place in rivals.tolist():
        mine = set(uses[place].tolist()) - {NONE}
        kept[place] = not mine & taken
        if kept[place]:
            taken |= mine
    return np.flatnonzero(kept)


def _solve(gains, uses, seconds):
    order = np.argsort(-gains, kind="stable")
    if len(gains) > MOST:
        return order[_first_of_each(uses[order])]
    used = _table(_renumbered(uses))
    solved = milp(
        -gains,
        integrality=np.ones(len(gains)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(used.T.tocsr(), -np.inf, 1),
        options={"time_limit": seconds, "mip_rel_gap": 0},
    )
    if solved.x is not None:
        return np.flatnonzero(solved.x > 0.5)
    return order[_first_of_each(uses[order])]
