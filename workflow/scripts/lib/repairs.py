"""Repairs: cells that fall apart or are merged for some frames, seen by looking along time.

A merger of two cells is a division seen backwards. So a cell that falls apart is a division after which the parts merge
again, and two cells that are merged for a while are a merger after which the whole divides again.
"""

from dataclasses import dataclass, replace

import numpy as np

from .births import RARELY_LOST
from .detections import Detections
from .divisions import find_divisions, geometry
from .links import NONE
from .motions import TEMPER

LONGEST = 3  # frames that cells are merged for, or in pieces
USUAL = 0.01  # of the objects are merged, or pieces
LASTING = 0.3  # of those that are go on to be in the next frame
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


def reverse(objects):
    """The movie backwards; row r becomes row -1 - r."""
    count = len(objects.labels)
    fields = {name: getattr(objects, name)[::-1] for name in ("labels", "centres", "sizes", "lights", "boxes", "cut")}
    overlaps = [(count - 1 - two, count - 1 - one, shared) for one, two, shared in reversed(objects.overlaps)]
    drifts = np.zeros_like(objects.drifts)
    drifts[1:] = -objects.drifts[:0:-1]
    return Detections(
        starts=count - objects.starts[::-1], drifts=drifts, overlaps=overlaps, steps=objects.steps,
        shape=objects.shape, **fields,
    )  # fmt: skip


def find_mergers(objects, motion, after, before, *, missed=0):
    """Mergers of two objects into one that may be: Candidates, of which `mother` is the one and the others the two.

    Args:
        objects, motion, after, before, missed: see `find_divisions`.
    """
    count = len(objects.labels)
    turn = [np.where(links == NONE, NONE, count - 1 - links)[::-1] for links in (before, after)]
    backwards = replace(motion, growth=-motion.growth, persistence=0.0)
    found = find_divisions(reverse(objects), backwards, *turn, missed=missed)
    return replace(found, mother=count - 1 - found.mother, heir=count - 1 - found.heir, new=count - 1 - found.new)


def find_repairs(objects, motion, divisions, mergers, after):
    """Objects that may be pieces of one cell, or two cells, for some frames.

    Args:
        objects: Detections.
        motion: Motion.
        divisions, mergers: Candidates.
        after: of `lib.chains.link_frames`.

    Returns:
        Splits and mergers: lists of Repair.
    """
    return _find_splits(objects, motion, divisions, mergers, after), _find_merged(
        objects, motion, divisions, mergers, after
    )


def _find_splits(objects, motion, divisions, mergers, after):
    count = len(objects.labels)
    parts, whole = geometry(divisions), geometry(mergers)
    prior, chance = _priors(objects, motion)
    known = {}
    for place, (one, two) in enumerate(zip(mergers.heir.tolist(), mergers.new.tolist(), strict=True)):
        known[min(one, two) * count + max(one, two)] = place
    found = []
    here = np.flatnonzero(parts > HOPELESS)
    pairs = np.stack([divisions.heir, divisions.new], 1)[here]
    chains = [np.stack([divisions.heir, divisions.new], 1)]
    for frames in range(1, LONGEST + 1):
        keys = pairs.min(1) * count + pairs.max(1)
        for at, key in zip(here.tolist(), keys.tolist(), strict=True):
            if key in known:
                place = known[key]
                rows = np.stack([chain[at] for chain in chains])
                gain = parts[at] + whole[place] + prior[frames - 1] + chance[rows[0, 1]] + chance[rows[-1, 1]]
                first, last = (int(divisions.mother[at]),), (int(mergers.mother[place]),)
                if gain > 0:
                    found.append(Repair(first, rows[:, 0].tolist(), rows[:, 1].tolist(), last, float(gain)))
        nexts = after[pairs]
        going = (nexts != NONE).all(1)
        here, pairs = here[going], nexts[going]
        chain = np.full((len(parts), 2), NONE)
        chain[here] = pairs
        chains.append(chain)
    return found


def _find_merged(objects, motion, divisions, mergers, after):
    parts, whole = geometry(divisions), geometry(mergers)
    prior, chance = _priors(objects, motion)
    leaving = {}
    for place in np.flatnonzero(parts > HOPELESS).tolist():
        leaving.setdefault(int(divisions.mother[place]), []).append(place)
    found = []
    for place in np.flatnonzero(whole > HOPELESS).tolist():
        holders = [int(mergers.mother[place])]
        while True:
            for at in leaving.get(holders[-1], ()):
                gain = whole[place] + parts[at] + prior[len(holders) - 1]
                gain += chance[mergers.new[place]] + chance[divisions.new[at]]
                if gain > 0:
                    first, last = _two(mergers, place), _two(divisions, at)
                    found.append(Repair(first, list(holders), [], last, float(gain)))
            following = int(after[holders[-1]])
            if following == NONE or len(holders) == LONGEST:
                break
            holders.append(following)
    return found


def _two(candidates, place):
    return int(candidates.heir[place]), int(candidates.new[place])


def _priors(objects, motion):
    """How usual it is to be mended for 1, 2, ... frames, and what each object says by being lost or new (objects,)."""
    prior = TEMPER * (np.log(USUAL) + np.arange(LONGEST) * np.log(LASTING))
    return prior, -TEMPER * np.log(np.where(objects.cut, motion.lost_cut, RARELY_LOST))
