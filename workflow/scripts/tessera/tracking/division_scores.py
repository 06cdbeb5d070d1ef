"""Births: what speaks for two objects being the daughters of a third, by where, how large, how bright and how long."""

import numpy as np

from tessera.tracking.daughter_geometry import Partings, Places
from tessera.tracking.link_scores import NONE
from tessera.tracking.motion_model import (
    TEMPER,
    intensity_evidence,
    log_growth,
    log_sizes,
    log_t,
    shape_evidence,
    spread_of,
)

SUM_SPREAD = 0.25  # of the logarithm of the daughters' sizes together over the mother's
RATIO_SPREAD = 0.45  # of the logarithm of one daughter's size over the other's
CUT_SPREAD = 0.8  # more of both where the border cuts one of them
SIZE_LIMITS = (-8.0, 6.0)
SISTERS = 3.0  # times that their intensities differ more than those of one cell from frame to frame
ROUNDS_UP = -1.0  # evidence for each mother to be smaller in her last frame than she is
LASTING = 3  # frames from which on a chain counts as one that lasts
SURE = 2.0  # evidence from which on a chain is taken to begin with a division
JUST_BORN = -3.0  # evidence for one that was just born to divide
REASONS = ("prior", "place", "size", "intensity", "overlap", "persistence", "age", "missed", "newcomer", "shape")


def weigh_births(objects, motion, found, chains, *, learn=True):
    """What speaks for families, against a mother that goes on as the heir and one that is new by chance.

    Args:
        objects: Detections.
        motion: Motion.
        found: has `mother`, `heir` and `new`, rows (families,) of mothers, of the daughters that may be their next
            selves, and of the new ones, of the same frame as the heirs or later.
        chains: Chains.
        learn: whether to learn where daughters lie, and to look at the mothers' sizes as they were before.

    Returns:
        float64 (families, REASONS), log-likelihood ratios; 0 for the prior. float64 (families,), what the frames of the
        three say alone.
    """
    if not len(found.mother):
        return np.zeros((0, len(REASONS))), np.zeros(0)
    mother, heir, new = found.mother, found.heir, found.new
    fresh = chains.before[heir] == NONE
    terms = np.zeros((len(REASONS), len(mother))).T  # each reason on end: quicker to fill and to add up
    places = Places(objects, motion, found, chains.before)
    terms[:, 1] = places.weigh(Partings())
    terms[:, 2] = _size(objects, motion, found, objects.logs[mother], fresh)
    terms[:, 3] = 0.5 * intensity_evidence(objects.intensities[heir], objects.intensities[new], motion, SISTERS)
    terms[:, 4] = _overlap(objects, motion, found)
    terms[:, 5] = _persistence(objects, found, chains)
    age = _life(chains.back, mother)
    born = objects.times[mother] - age + 1
    terms[:, 6] = np.where((age < LASTING) & (born > 0), -2.0, 0.0)
    terms[:, 7] = np.where(_later(objects, found), np.log(motion.missed), 0.0)
    # One that is as the mother was is she, and no daughter; that one is not says little.
    terms[:, 9] = np.where(fresh, 0.0, np.minimum(-shape_evidence(objects.shapes, mother, heir, motion), 0.0))
    terms *= TEMPER
    # Those that are both new may be any two.
    terms[:, 8] = -fresh.astype(float)
    if learn:
        partings = places.learn(new, terms.sum(1))
        terms[:, 1] = TEMPER * places.weigh(partings)
        terms[:, 4] *= partings.overlap
    geometry = sum(terms[:, each] for each in (1, 2, 3, 4, 7))
    if learn:
        # One that was just born was never larger, and does not divide again.
        back, sure = chains.back.copy(), (terms.sum(1) > SURE) & ~_later(objects, found)
        back[heir[sure]] = NONE
        terms[_just_born(back, mother, np.concatenate([heir[sure], new[sure]])), 6] = JUST_BORN
        rounded = _size(objects, motion, found, _sizes_before(objects.logs, back, mother), fresh)
        terms[:, 2] = np.maximum(terms[:, 2], TEMPER * (rounded + ROUNDS_UP))
    return terms, geometry


def _later(objects, found):
    """Whether the new ones are not of the frame after the mothers' (families,)."""
    return objects.times[found.new] - objects.times[found.mother] > 1


def _persistence(objects, found, chains):
    """Both daughters go on for a while, as far as the movie does (families,)."""
    life = np.minimum(_life(chains.on, found.heir), _life(chains.on, found.new))
    seen = objects.frames - objects.times[found.new]  # frames that are left, this one included
    short = np.where(life >= np.minimum(seen, LASTING), 0.5, np.where(life == 1, -3.0, -1.5))
    # Those that the border cuts may leave.
    return np.where(objects.cut[found.heir] | objects.cut[found.new], np.maximum(short, 0), short)


def _just_born(back, mother, daughters):
    """Whether mothers are `daughters` (rows), or were in the frame before (families,)."""
    born = np.zeros(len(back), bool)
    born[daughters] = True
    return born[mother] | born[np.where(back[mother] == NONE, mother, back[mother])]


def _sizes_before(logs, back, rows):
    """Logarithms of the sizes of rows, the median of three frames: cells may round up to divide (rows,)."""
    before = np.where(back[rows] == NONE, rows, back[rows])
    last, former = logs[rows], logs[before]
    # Of two the median is the mean.
    first = np.where(back[before] == NONE, (last + former) / 2, logs[back[before]])
    return np.maximum(np.minimum(last, former), np.minimum(np.maximum(last, former), first))


def _size(objects, motion, found, mother, fresh):
    """Daughters add up to the mother, softly; against one that stays as large and any new one.

    `mother` are logarithms of the mothers' sizes, `fresh` tells which heirs are new (families,).
    """
    heir, new, newborn = (objects.logs[rows] for rows in (found.heir, found.new, np.unique(found.new)))
    both = np.logaddexp(heir, new) - mother
    spread = np.hypot(SUM_SPREAD, motion.size_spread)
    cut_mother, cut_heir, cut_new = (objects.cut[rows] for rows in (found.mother, found.heir, found.new))
    spread = np.hypot(spread, np.where(cut_mother | cut_heir | cut_new, CUT_SPREAD, 0))
    divided = log_t(((both - motion.growth) / spread) ** 2) - np.log(spread)
    spread = np.hypot(RATIO_SPREAD, np.where(cut_heir | cut_new, CUT_SPREAD, 0))
    divided += log_t(((heir - new) / spread) ** 2) - np.log(spread)
    anyone = [
        np.where(cut, log_sizes(size, True, motion), _any_size(size, motion, newborn))
        for size, cut in ((heir, cut_heir), (new, cut_new))
    ]
    same = log_growth(heir - mother, cut_mother | cut_heir, motion)
    evidence = motion.sizes_tell * np.clip(divided - np.where(fresh, anyone[0], same) - anyone[1], *SIZE_LIMITS)
    # What the border cuts can speak against a division, hardly for it.
    cut = cut_mother | cut_heir | cut_new
    return np.where(cut, np.minimum(evidence, 0.25 * evidence), evidence)


def _any_size(sizes, motion, newborn):
    """Logarithm of the density of the sizes of newcomers: as all objects, or as all that are new, half and half."""
    middle = np.median(newborn)
    kinds = (motion.sizes, (middle, max(spread_of(newborn - middle, 0.25), 0.25)))
    return np.logaddexp(*(log_t(((sizes - at) / wide) ** 2) - np.log(wide) for at, wide in kinds)) - np.log(2)


def _overlap(objects, motion, found):
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
    return np.where(_later(objects, found), 0, said * motion.usual_overlap)


def _life(links, rows):
    """How many frames a chain lasts from `rows` on, in the direction of `links`; LASTING at most."""
    life = np.ones(len(rows), int)
    at = rows.copy()
    for _ in range(LASTING - 1):
        at = np.where(at >= 0, links[np.maximum(at, 0)], NONE)
        life += at >= 0
    return life
