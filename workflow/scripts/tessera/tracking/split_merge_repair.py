"""Repairs: cells that fall apart or are merged for some frames, seen by looking along time.

A merger of two cells is a division seen backwards. So a cell that falls apart is a division after which the parts merge
again, and two cells that are merged for a while are a merger after which the whole divides again.
"""

from dataclasses import dataclass, replace

import numpy as np

from tessera.tracking.daughter_geometry import Partings, log_beside
from tessera.tracking.division_candidates import find_divisions
from tessera.tracking.division_scores import RATIO_SPREAD
from tessera.tracking.link_scores import NONE
from tessera.tracking.motion_model import RARELY_LOST, TEMPER, lengths_of, log_shift, log_t

LONGEST = 3  # frames that cells are merged for, or in pieces
USUAL = 0.01  # of the objects are merged, or pieces
LASTING = 0.3  # of those that are go on to be in the next frame
MOST_MEMORY = 6.0  # nats that what the two were before a merger can say
HOPELESS = -8.0  # evidence of a division or merger that nothing else makes good


@dataclass
class Repair:
    """Two chains of objects of the same frames that come from one and become one, or of the one that two are in.

    Attributes:
        first, last: rows before and after: of the whole, or (pairs) of the two.
        one, two: rows frame after frame: of the pieces; `two` is empty where the two are merged, and `one` holds them.
        gain: log-likelihood ratio against chance.
    """

    first: tuple
    one: list
    two: list
    last: tuple
    gain: float


def find_mergers(objects, motion, chains, *, missed=0, reach=None):
    """Mergers of two objects into one that may be: Candidates, of which `mother` is the one and the others the two.

    Args:
        objects, motion, chains, missed, reach: see `find_divisions`.
    """
    last = len(objects.labels) - 1
    backwards = replace(motion, growth=-motion.growth, persistence=0.0)
    found = find_divisions(objects.reversed(), backwards, chains.reversed(), missed=missed, reach=reach, learn=False)
    return replace(found, mother=last - found.mother, heir=last - found.heir, new=last - found.new)


def find_splits(objects, motion, divisions, mergers, after):
    """Objects that may be pieces of one cell for some frames: [Repair, ...].

    Args:
        objects: Detections.
        motion: Motion.
        divisions, mergers: Candidates.
        after: of Chains.
    """
    parts, whole = divisions.geometry, mergers.geometry
    prior, chance = _priors(objects, motion)
    found = []
    # A piece is one beside the other, not one a frame after it.
    here = np.flatnonzero((parts > HOPELESS) & (objects.times[divisions.heir] == objects.times[divisions.new]))
    chains = np.stack([divisions.heir, divisions.new], 1)[here][:, None]
    merging = np.sort(np.stack([mergers.heir, mergers.new], 1), axis=1)
    for frames in range(1, LONGEST + 1):
        pairs = np.sort(chains[:, -1], axis=1)
        of, place = _equal(pairs[:, 0], merging[:, 0])
        same = pairs[of, 1] == merging[place, 1]
        of, place = of[same], place[same]
        at = here[of]
        gains = parts[at] + whole[place] + prior[frames - 1] + chance[divisions.new[at]] + chance[mergers.new[place]]
        for pick in np.flatnonzero(gains > 0):
            first, last = (int(divisions.mother[at[pick]]),), (int(mergers.mother[place[pick]]),)
            found.append(Repair(first, *chains[of[pick]].T.tolist(), last, float(gains[pick])))
        nexts = after[chains[:, -1]]
        going = (nexts != NONE).all(1)
        here, chains = here[going], np.concatenate([chains[going], nexts[going][:, None]], axis=1)
    return found


def find_merged(objects, motion, divisions, mergers, after):
    """Objects that may be two cells for some frames: [Repair, ...]; arguments as of `find_splits`."""
    parts, whole = divisions.geometry, mergers.geometry
    prior, chance = _priors(objects, motion)
    leaving, here = np.flatnonzero(parts > HOPELESS), np.flatnonzero(whole > HOPELESS)
    holders, found = mergers.mother[here][:, None], []
    for frames in range(1, LONGEST + 1):
        of, at = _equal(holders[:, -1], divisions.mother[leaving])
        place, at = here[of], leaving[at]
        first = np.stack([mergers.heir[place], mergers.new[place]], 1)
        last = np.stack([divisions.heir[at], divisions.new[at]], 1)
        gains = whole[place] + parts[at] + prior[frames - 1] + chance[first[:, 1]] + chance[last[:, 1]]
        likely = np.flatnonzero(gains > -TEMPER * MOST_MEMORY)
        gains[likely] += _remember(objects, motion, first[likely], last[likely], frames)
        for pick in likely[gains[likely] > 0]:
            two, again = (tuple(rows[pick].tolist()) for rows in (first, last))
            found.append(Repair(two, holders[of[pick]].tolist(), [], again, float(gains[pick])))
        nexts = after[holders[:, -1]]
        going = nexts != NONE
        here, holders = here[going], np.column_stack([holders[going], nexts[going]])
    return found


def _equal(wanted, keys):
    """Positions in both of all that are equal, non-negative integers: (matches,) each."""
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=wanted.max(initial=-1) + 1)
    found, low = counts[wanted], (np.cumsum(counts) - counts)[wanted]
    of = np.repeat(np.arange(len(wanted)), found)
    rank = np.arange(len(of)) - np.repeat(np.cumsum(found) - found, found)
    return of, order[low[of] + rank]


def _remember(objects, motion, first, last, frames):
    """What speaks for two being side by side after a merger as they were before, against any two that divide.

    Args:
        first, last: rows (pairs, 2) of the two before and after.
        frames: that they are merged for.

    Returns:
        Log-likelihood ratios (pairs,).
    """
    moved = np.cumsum(objects.drifts, axis=0)
    (was, ratio_was), (now, ratio_now) = (
        (at[:, 0] - at[:, 1], objects.logs[rows[:, 0]] - objects.logs[rows[:, 1]])
        for rows, at in ((rows, objects.centres[rows] - moved[objects.times[rows]]) for rows in (first, last))
    )
    wide = np.sqrt(2) * motion.shift_after(frames + 1)
    spread = np.sqrt(2 * (frames + 1)) * motion.size_spread
    cut = objects.cut[first].any(1) | objects.cut[last].any(1)
    distance = np.maximum(lengths_of(now), 0.1)
    apart = np.log(distance / objects.radii[last].sum(1))
    any_place = log_beside(distance, apart, motion.dimensions, Partings())
    any_size = log_t((ratio_now / RATIO_SPREAD) ** 2) - np.log(RATIO_SPREAD)
    ways = []
    for sign in (-1, 1):
        same = log_shift(lengths_of(now + sign * was), wide, motion.dimensions) - any_place
        size = log_t(((ratio_now + sign * ratio_was) / spread) ** 2) - np.log(spread) - any_size
        ways.append(same + np.where(cut, 0, size))
    return TEMPER * np.clip(np.logaddexp(*ways) - np.log(2), -MOST_MEMORY, MOST_MEMORY)


def _priors(objects, motion):
    """How usual it is to be mended for 1, 2, ... frames, and what each object says by being lost or new (objects,)."""
    prior = TEMPER * (np.log(USUAL) + np.arange(LONGEST) * np.log(LASTING))
    return prior, -TEMPER * np.log(np.where(objects.cut, motion.lost_cut, RARELY_LOST))
