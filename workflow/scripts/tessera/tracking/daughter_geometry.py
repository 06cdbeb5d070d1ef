"""Partings: where daughters lie after a division, about their mother's place and apart from each other."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from tessera.tracking.link_scores import NONE, density_of
from tessera.tracking.motion_model import RARELY_LOST, T_MEDIANS, lengths_of, log_shift, log_t

APART_SPREAD = 0.5  # of the logarithm of the daughters' distance over the sum of their radii
OFF_SHARE = 0.3  # of the mother's radius that the middle of the daughters is off her place
SLACK = 0.25  # of the daughters' distance that their middle is not known by, where sizes tell nothing
USUAL_COUNTS = 10.0  # divisions that what is usual in any movie counts as
LIKELY = 3.0  # evidence of a division that counts half
SPREADS, OFFS = (0.1, 1.0), (0.3, 3.0)  # limits of what is learned


@dataclass(frozen=True)
class Partings:
    """How the daughters of a movie part.

    Attributes:
        apart, spread: middle and scale of the logarithm of the daughters' distance over the sum of their radii; more
            than 0 where masks are smaller than cells, as markers are.
        off: how far their middle is off the mother's place, over what `Places` takes to be usual.
    """

    apart: float = 0.0
    spread: float = APART_SPREAD
    off: float = 1.0

    @property
    def overlap(self):
        """How much of what overlaps say counts: nothing where daughters lie apart by more than their masks."""
        return float(np.clip(1 - 2 * self.apart, 0, 1))


class Places:
    """Where the daughters of families lie.

    Args:
        objects: Detections.
        motion: Motion.
        found: has `mother`, `heir` and `new`, rows (families,).
        before: int64 (objects,), rows of former selves; NONE.

    Attributes:
        off: float64 (families,), pixels from the mother's place to the middle of the daughters.
        usual: float64 (families,), pixels that this is wide.
        distance: float64 (families,), pixels between the daughters.
        apart: float64 (families,), logarithm of their distance over the sum of their radii.
        chance: float64 (families,), log-likelihood of the daughters' places if one is the mother's next self, or both
            are new, and lie where they do by chance.
    """

    def __init__(self, objects, motion, found, before):
        mother, heir, new = found.mother, found.heir, found.new
        times, radii, centres = objects.times, objects.radii, objects.centres
        self._dimensions = motion.dimensions
        moved = np.cumsum(objects.drifts, axis=0)
        earlier = before[mother]
        # `take` is ten times quicker than an index where rows are short.
        place, later = centres.take(mother, axis=0), centres.take(heir, axis=0)
        stays = place + (moved[times[heir]] - moved[times[mother]])
        expected = stays
        if motion.persistence > 0:
            speed = place - centres.take(np.maximum(earlier, 0), axis=0) - objects.drifts[times[mother]]
            expected = stays + np.where((earlier >= 0)[:, None], motion.persistence * speed, 0)
        beside = centres.take(new, axis=0) + (moved[times[heir]] - moved[times[new]])
        between = later - beside
        length = lengths_of(between)
        self.distance = np.maximum(length, 0.1)
        self.apart = np.log(self.distance / (radii[heir] + radii[new]))
        share = (objects.sizes[heir] / (objects.sizes[heir] + objects.sizes[new]))[:, None]
        middle = share * later + (1 - share) * beside
        slack = SLACK * (1 - motion.sizes_tell) * length
        # A cell that divides may stop for it; and where two cells were merged, the last step says little.
        self.off = np.minimum(*(_away(middle - place, between, length, slack) for place in (expected, stays)))
        self.usual = np.hypot(motion.shift * np.sqrt(times[new] - times[mother]), OFF_SHARE * radii[mother])
        alone = log_shift(lengths_of(later - expected), motion.shift, motion.dimensions)
        density = np.log([density_of(objects, t) for t in range(objects.frames)])[times[new]]
        # One that is new as well: the mother was lost, and two came by chance.
        self.chance = np.where(before[heir] == NONE, np.log(RARELY_LOST) * 2 + density, alone) + density

    def weigh(self, partings):
        """What the places say for divisions: log-likelihood ratios (families,)."""
        beside = log_beside(self.distance, self.apart, self._dimensions, partings)
        return log_shift(self.off, partings.off * self.usual, self._dimensions) + beside - self.chance

    def learn(self, new, evidence):
        """How daughters part in this movie, from the divisions that are likely.

        Args:
            new: rows (families,) of the daughters that are new; of several families of one the likeliest counts.
            evidence: log-likelihood ratios (families,).

        Returns:
            Partings.
        """
        best = np.full(new.max(initial=0) + 1, -np.inf)
        np.maximum.at(best, new, evidence)
        rows = np.flatnonzero(evidence == best[new])
        weights = expit(evidence[rows] - LIKELY)
        total = float(weights.sum())
        if total < 1:
            return Partings()
        known = total / (total + USUAL_COUNTS)
        apart = known * _median(self.apart[rows], weights)
        spread = _median(np.abs(self.apart[rows] - apart), weights) / T_MEDIANS[1]
        off = _median(self.off[rows] / self.usual[rows], weights) / T_MEDIANS[self._dimensions]
        spread, off = (float(np.clip(value, *limits)) for value, limits in ((spread, SPREADS), (off, OFFS)))
        return Partings(apart, spread**known * APART_SPREAD ** (1 - known), off**known)


def log_beside(distance, apart, dimensions, partings):
    """Logarithm of the density of where one daughter lies, seen from the other, in any direction (families,).

    Args:
        distance, apart: float64 (families,), as of `Places`.
        dimensions: 2 or 3.
        partings: Partings.
    """
    ring = log_t(((apart - partings.apart) / partings.spread) ** 2) - np.log(partings.spread)
    around = np.log(2 * np.pi if dimensions == 2 else 4 * np.pi)
    return ring - around - dimensions * np.log(distance)


def _median(values, weights):
    return float(np.quantile(values, 0.5, weights=weights, method="inverted_cdf"))


def _away(ways, between, length, slack):
    """Lengths of `ways` (families, 3), shorter by `slack` at most in the direction of `between`, `length` long."""
    along = np.einsum("ij,ij->i", ways, between) / np.maximum(length, 0.1)
    across = np.sqrt(np.maximum(np.einsum("ij,ij->i", ways, ways) - along**2, 0))
    return np.hypot(across, np.maximum(np.abs(along) - slack, 0))
