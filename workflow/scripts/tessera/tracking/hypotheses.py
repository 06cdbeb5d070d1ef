"""Outcomes: what may have become of the ends and starts of chains, what each gains, and which of them it explains."""

from dataclasses import dataclass

import numpy as np

from tessera.tracking.link_scores import NONE


@dataclass
class Outcomes:
    """Outcomes of one kind; no two that are chosen explain the same.

    Attributes:
        gains: float64 (outcomes,), log-likelihood ratios.
        uses: int64 (outcomes, things), what each explains: rows of objects that start, and rows of objects that end, to
            which the number of all objects is added; NONE where it explains less.
    """

    gains: np.ndarray
    uses: np.ndarray


class Doubts:
    """Links in doubt, which other outcomes may keep.

    Args:
        chains: Chains.
        gains: float64 (pairs,), what `chains.doubts` gain.

    Attributes:
        first, second, gains: rows before, rows after and gains (pairs,).
        linked: bool (pairs,), those that the chains go through.
    """

    def __init__(self, chains, gains):
        self.first, self.second, _ = chains.doubts
        self.gains, self._before = gains, chains.before
        self.linked = chains.after[self.first] == self.second
        self._worth = np.zeros(len(chains.before))
        self._worth[self.second[self.linked]] = np.maximum(gains[self.linked], 0)

    def kept(self, uses):
        """What outcomes gain by the links of chains that are in doubt and that they keep (outcomes,).

        Those are the links both ends of which the outcome explains.
        """
        count, gains = len(self._worth), np.zeros(len(uses))
        for starts in uses.T:
            rows = np.where(starts < count, starts, NONE)
            linked = np.flatnonzero((rows != NONE) & (self._worth[rows] > 0))
            rows = rows[linked]
            both = (uses[linked] == (count + self._before[rows])[:, None]).any(1)
            gains[linked] += np.where(both, self._worth[rows], 0)
        return gains


def of_pairs(first, second, gains, count):
    """Outcomes in which an object goes on as a later one; `count` is of all objects."""
    return Outcomes(gains, np.stack([count + first, second], 1))


def of_families(found, least, doubts, count):
    """Outcomes in which objects divide, of Candidates that need at least so much evidence."""
    uses = np.stack([count + found.mother, found.heir, found.new], 1)
    return Outcomes(found.evidence - least + doubts.kept(uses), uses)


def of_repairs(repairs, doubts, count):
    """Outcomes in which cells were in pieces or merged, of a list of Repair."""
    rows = []
    for each in repairs:
        used = [count + row for row in each.first] + list(each.last)
        for chain in filter(None, (each.one, each.two)):
            used += chain + [count + row for row in chain]
        rows.append(used)
    width = max(map(len, rows), default=1)
    uses = np.array([[*used, *[NONE] * (width - len(used))] for used in rows], int).reshape(-1, width)
    return Outcomes(np.array([each.gain for each in repairs]) + doubts.kept(uses), uses)


def gather(kinds):
    """Outcomes of several kinds as one.

    Args:
        kinds: [Outcomes, ...].

    Returns:
        Outcomes, and for each its kind and its place among those of its kind: int64 (outcomes,).
    """
    width = max(each.uses.shape[1] for each in kinds)
    uses = [np.pad(each.uses, ((0, 0), (0, width - each.uses.shape[1])), constant_values=NONE) for each in kinds]
    counts = [len(each.gains) for each in kinds]
    kind = np.repeat(np.arange(len(kinds)), counts)
    place = np.concatenate([np.arange(count) for count in counts])
    return Outcomes(np.concatenate([each.gains for each in kinds]), np.concatenate(uses)), kind, place
