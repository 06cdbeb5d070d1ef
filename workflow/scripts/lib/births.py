"""Births: what speaks for two objects being the daughters of a third, by where, how large, how bright and how long."""

import numpy as np

from .links import NONE, density_of
from .motions import TEMPER, light_evidence, log_growth, log_shift, log_sizes, log_t, spread_of

SUM_SPREAD = 0.25  # of the logarithm of the daughters' sizes together over the mother's
RATIO_SPREAD = 0.45  # of the logarithm of one daughter's size over the other's
CUT_SPREAD = 0.8  # more of both where the border cuts one of them
APART_SPREAD = 0.5  # of the logarithm of the daughters' distance over the sum of their radii
SIZE_LIMITS = (-8.0, 6.0)
RARELY_LOST = 0.01  # of the objects go, or come, for no reason
REASONS = ("prior", "place", "size", "light", "overlap", "persistence", "age", "missed", "newcomer")


def weigh_births(objects, motion, found, chains):
    """What speaks for families, against a mother that goes on as the heir and one that is new by chance.

    Args:
        objects: Detections.
        motion: Motion.
        found: has `mother`, `heir` and `new`, rows (families,) of mothers, of the daughters that may be their next
            selves, and of the new ones, of the same frame as the heirs or later.
        chains: Chains.

    Returns:
        float64 (families, REASONS), log-likelihood ratios; 0 for the prior.
    """
    if not len(found.mother):
        return np.zeros((0, len(REASONS)))
    times, radii = objects.times, objects.radii
    mother, heir, new = found.mother, found.heir, found.new
    fresh = chains.before[heir] == NONE
    density = np.array([density_of(objects, t) for t in range(objects.frames)])[times[new]]
    terms = np.zeros((len(mother), len(REASONS)))
    terms[:, 1] = _place(objects, motion, found, chains.before, times, radii, density, fresh)
    terms[:, 2] = _size(objects, motion, found, fresh, objects.logs[np.unique(new)], objects.logs[mother])
    terms[:, 3] = 0.5 * light_evidence(objects.lights[heir], objects.lights[new], motion)
    terms[:, 4] = _overlap(objects, motion, found, times)
    life = np.minimum(_life(chains.on, heir), _life(chains.on, new))
    seen = objects.frames - times[new]  # frames that are left, this one included
    short = np.where(life >= np.minimum(seen, 3), 0.5, np.where(life == 1, -3.0, -1.5))
    gone = objects.cut[heir] | objects.cut[new]
    terms[:, 5] = np.where(gone, np.maximum(short, 0), short)
    terms[:, 8] = -2.0 * fresh
    back = chains.back.copy()
    back[heir[(TEMPER * terms.sum(1) > SURE) & (times[new] - times[mother] == 1)]] = NONE
    terms[:, 2] = _size(objects, motion, found, fresh, objects.logs[np.unique(new)], _lasting(objects, back, mother, motion.growth))
    age = _life(back if AGE else chains.back, mother)
    born = times[mother] - age + 1
    terms[:, 6] = np.where((age <= 2) & (born > 0), -2.0, 0.0)
    terms[:, 7] = np.where(times[new] - times[mother] > 1, np.log(motion.missed), 0.0)
    terms *= TEMPER
    # Those that are both new may be any two.
    terms[:, 8] = -fresh.astype(float)
    return terms


def _place(objects, motion, found, before, times, radii, density, fresh):
    """Daughters lie about the mother's place, side by side; against one that goes on and one that is new by chance."""
    mother, heir, new = found.mother, found.heir, found.new
    earlier = before[mother]
    speed = np.where(
        (earlier >= 0)[:, None],
        objects.centres[mother] - objects.centres[np.maximum(earlier, 0)] - objects.drifts[times[mother]],
        0,
    )
    moved = np.cumsum(objects.drifts, axis=0)
    stays = objects.centres[mother] + moved[times[heir]] - moved[times[mother]]
    beside = objects.centres[new] - moved[times[new]] + moved[times[heir]]
    expected = stays + motion.persistence * speed
    share = (objects.sizes[heir] / (objects.sizes[heir] + objects.sizes[new]))[:, None]
    middle = share * objects.centres[heir] + (1 - share) * beside
    dimensions = motion.dimensions
    wide = np.hypot(motion.shift * np.sqrt(times[new] - times[mother]), 0.3 * radii[mother])
    # A cell that divides may stop for it; and where two cells were merged, the last step says little.
    off = np.minimum(np.linalg.norm(middle - expected, axis=1), np.linalg.norm(middle - stays, axis=1))
    apart = np.maximum(np.linalg.norm(beside - objects.centres[heir], axis=1), 0.1)
    reach = radii[heir] + radii[new]
    ring = log_t((np.log(apart / reach) / APART_SPREAD) ** 2) - np.log(APART_SPREAD)
    around = np.log(2 * np.pi) if dimensions == 2 else np.log(4 * np.pi)
    divided = log_shift(off, wide, dimensions) + ring - around - dimensions * np.log(apart)
    alone = log_shift(np.linalg.norm(objects.centres[heir] - expected, axis=1), motion.shift, dimensions)
    # One that is new as well: the mother was lost, and two came by chance.
    chance = np.log(RARELY_LOST) * 2 + np.log(density)
    return divided - np.where(fresh, chance, alone) - np.log(density)


import os
SURE=float(os.environ.get('SURE','2'))
AGE=int(os.environ.get('AGE','0'))


def _lasting(objects, links, rows, growth):
    sizes = [objects.logs[rows]]
    at = rows
    for _ in range(2):
        at = np.where(at >= 0, links[np.maximum(at, 0)], NONE)
        sizes.append(np.where((at >= 0) & ~objects.cut[at], objects.logs[at] - growth * (objects.times[at] - objects.times[rows]), np.nan))
    return np.nanmedian(np.stack(sizes), axis=0)


def _size(objects, motion, found, fresh, logs, mother):
    """Daughters add up to the mother, softly; against one that stays as large and any new one."""
    heir, new = objects.logs[found.heir], objects.logs[found.new]
    both = np.logaddexp(heir, new) - mother
    spread = np.hypot(SUM_SPREAD, motion.size_spread)
    cut_mother, cut_heir, cut_new = (objects.cut[rows] for rows in (found.mother, found.heir, found.new))
    spread = np.hypot(spread, np.where(cut_mother | cut_heir | cut_new, CUT_SPREAD, 0))
    divided = log_t(((both - motion.growth) / spread) ** 2) - np.log(spread)
    spread = np.hypot(RATIO_SPREAD, np.where(cut_heir | cut_new, CUT_SPREAD, 0))
    divided += log_t(((heir - new) / spread) ** 2) - np.log(spread)
    anyone = [
        np.where(cut, log_sizes(size, True, motion), _any_size(size, motion, logs))
        for size, cut in ((heir, cut_heir), (new, cut_new))
    ]
    same = log_growth(heir - mother, cut_mother | cut_heir, motion)
    evidence = motion.size_tells * np.clip(divided - np.where(fresh, anyone[0], same) - anyone[1], *SIZE_LIMITS)
    # What the border cuts can speak against a division, hardly for it.
    cut = cut_mother | cut_heir | cut_new
    return np.where(cut, np.minimum(evidence, 0.25 * evidence), evidence)


def _any_size(sizes, motion, newborn):
    """Logarithm of the density of the sizes of newcomers: as all objects, or as all that are new, half and half."""
    middle = np.median(newborn)
    kinds = (motion.sizes, (middle, max(spread_of(newborn - middle, 0.25), 0.25)))
    return np.logaddexp(*(log_t(((sizes - at) / wide) ** 2) - np.log(wide) for at, wide in kinds)) - np.log(2)


def _overlap(objects, motion, found, times):
    """Where cells move little, a daughter lies where her mother was; a bud or a newcomer does not."""
    count = len(objects.labels) + 1
    keys = np.concatenate([np.zeros(0, int), *(one * count + two for one, two, _ in objects.overlaps)])
    pixels = np.concatenate([np.zeros(0, int), *(shared for *_, shared in objects.overlaps), [0]])
    order = np.argsort(keys)
    wanted = found.mother * count + found.new
    at = np.searchsorted(keys, wanted, sorter=order)
    hit = np.append(keys, NONE)[np.append(order, len(keys))[at]] == wanted
    shared = np.where(hit, pixels[np.append(order, len(keys))[at]], 0)
    part = shared / objects.sizes[found.new]
    said = np.select([part < 0.1, part < 0.35, part < 0.6], [-3.0, -1.0, 0.5], 2.0)
    # Of frames that do not follow each other it is not known.
    return np.where(times[found.new] - times[found.mother] > 1, 0, said * motion.usual_overlap)


def _life(links, rows):
    """How many frames a chain lasts from `rows` on, in the direction of `links`; ten at most."""
    life = np.ones(len(rows), int)
    at = rows.copy()
    for _ in range(9):
        at = np.where(at >= 0, links[np.maximum(at, 0)], NONE)
        life += at >= 0
    return life
