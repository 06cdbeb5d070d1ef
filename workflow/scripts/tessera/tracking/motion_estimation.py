"""Habits: how the objects of a movie move and change, learned from the movie itself by linking a sample of it."""

from dataclasses import replace

import numpy as np

from tessera.tracking.frame_linking import link_frames
from tessera.tracking.link_scores import NONE
from tessera.tracking.motion_model import (
    LEAST_SHIFT_PX,
    OVERLAP_EDGES,
    T_MEDIANS,
    Motion,
    lengths_of,
    overlap_bins,
    spread_of,
    wide_spread_of,
)

SAMPLED = 12  # transitions that a movie's motion is learned from, at most
ENOUGH = 4000  # objects that it is learned from, where there are so many: of large frames a band is looked at
ROUNDS = 3
LEAST_SIZE_SPREAD = 0.03
LEAST_INTENSITY_SPREAD = 0.05
LEAST_SHAPE_SPREAD = 0.01
PRIOR_LINKS = 20.0  # links that the rates known beforehand count as
USUAL_LOST, USUAL_LOST_CUT = 0.02, 0.15
USUAL_SIZE_SPREAD, USUAL_CUT_SPREAD, USUAL_INTENSITY_SPREAD = 0.15, 0.4, 0.5
FEW_LINKS = 12
# Links and neighbours known beforehand, by bins of OVERLAP_EDGES.
USUAL_LINKED = np.array([0.4, 0.5, 1, 1, 1, 1, 1, 1])
USUAL_APART = np.array([5, 1, 0.5, 0.3, 0.15, 0.05, 0.02, 0.01])
OVERLAP_COUNTS, MOST_OVERLAP = 0.7, 4.0  # nats: centres say part of what overlap says already
LASTING_SPREAD = 0.15  # of the logarithms of sizes that last, from which on they tell all they can


def learn_motion(objects):
    """What is usual in a movie, found by linking a sample of its frames a few times.

    Args:
        objects: Detections.

    Returns:
        Motion.
    """
    logs = np.log(np.maximum(objects.sizes, 1))
    middle = float(np.median(logs)) if len(logs) else 0.0
    spread = max(spread_of(logs - middle, 0.0), 0.25)
    cut = logs[objects.cut]
    middle_cut = float(np.median(cut)) if len(cut) else middle
    radius = float(np.median(objects.radii)) if len(logs) else 1.0
    motion = Motion(
        shift=max(radius, LEAST_SHIFT_PX),
        sizes=(middle, spread),
        cut_sizes=(middle_cut, max(spread_of(cut - middle_cut, 0.0), 0.5)),
        dimensions=objects.dimensions,
        lost=USUAL_LOST,
    )
    pairs = _sample(objects)
    if not pairs:
        return motion
    among = _band(objects, pairs)
    motion = replace(motion, shift=_first_shift(objects, pairs, among, radius), spacing=_spacing(objects, pairs, among))
    for _ in range(ROUNDS):
        motion = _learn(objects, motion, pairs, among, radius)
    return motion


def _sample(objects):
    """Transitions (t, t + 1) between frames that both have objects, in runs of two, so that speeds are seen to last."""
    counts = np.diff(objects.starts)
    full = [t for t in range(objects.frames - 1) if counts[t] and counts[t + 1]]
    typical = np.mean(counts[full]) if full else 1
    most = int(np.clip(ENOUGH / typical, 2, SAMPLED))
    if len(full) <= most:
        return full
    starts = np.linspace(0, len(full) - 2, most // 2).astype(int)
    return sorted({full[start + more] for start in starts for more in (0, 1)})


def _band(objects, pairs):
    """The objects that are looked at, bool (objects,): in rows of pixels about the middle, with ENOUGH of them."""
    rows = np.concatenate([objects.indices(t) for t in pairs])
    share = min(ENOUGH / len(rows), 1.0)
    heights = objects.centres[:, 1]
    low, high = np.quantile(heights[rows], [0.5 - share / 2, 0.5 + share / 2])
    return (heights >= low) & (heights <= high)


def _first_shift(objects, pairs, among, radius):
    """Scale of the displacements of objects that are each other's nearest and about as large."""
    found = []
    for t in pairs:
        one, two = objects.rows(t), objects.rows(t + 1)
        mine, drift = np.flatnonzero(among[one]), objects.drifts[t + 1]
        near, at = (column[:, 0] for column in objects.nearest(t + 1, objects.centres[one][mine] + drift, 1))
        back = objects.nearest(t, objects.centres[two][at] - drift, 1)[1][:, 0]
        ratio = np.abs(objects.logs[two][at] - objects.logs[one][mine])
        found.append(near[(back == mine) & (ratio < 0.5)])
    found = np.concatenate(found)
    # Wide at first: in the next rounds it can only be found to be less.
    return max(1.5 * float(np.median(found)) if len(found) else radius, 0.15 * radius, LEAST_SHIFT_PX)


def _spacing(objects, pairs, among):
    """Median distance from an object to the next one of its frame, 0 where each is alone."""
    found = []
    for t in pairs:
        centres, mine = objects.centres[objects.rows(t)], among[objects.rows(t)]
        if len(centres) > 1 and mine.any():
            found.append(objects.nearest(t, centres[mine], 2)[0][:, 1])
    return float(np.median(np.concatenate(found))) if found else 0.0


def _learn(objects, motion, pairs, among, radius):
    """What the links show that are made with `motion`."""
    chains = link_frames(objects, motion, pairs, among)
    one = np.flatnonzero(chains.after >= 0)
    if len(one) < 2:
        return motion
    two = chains.after[one]
    cut = objects.cut[one] | objects.cut[two]
    whole = ~cut if (~cut).sum() > FEW_LINKS else np.ones(len(one), bool)
    shift, persistence = _learn_steps(objects, motion, one, two, chains.before[one], whole)
    lost, lost_cut = (
        _lost(objects, chains.after, pairs, among & (objects.cut == at_border), usual)
        for at_border, usual in ((False, USUAL_LOST), (True, USUAL_LOST_CUT))
    )
    overlap, usual_overlap = _learn_overlap(objects, chains.after, pairs, among)
    return replace(
        motion,
        shift=max(shift, LEAST_SHIFT_PX, 0.02 * radius),
        persistence=persistence,
        overlap=overlap,
        usual_overlap=usual_overlap,
        lost=lost,
        lost_cut=lost_cut,
        **_learn_changes(objects, one, two, cut, whole),
    )


def _learn_steps(objects, motion, one, two, earlier, whole):
    """Scale of the displacements that remain when they are foreseen, and the share of each that is made again.

    Args:
        objects, motion: Detections, Motion.
        one, two, earlier: rows (links,) of objects, of their next and of their former selves; NONE.
        whole: bool (links,), those that are looked at.
    """
    steps, known = _steps(objects, one, two), earlier != NONE
    if known.sum() <= FEW_LINKS:
        return _scale(steps[whole], motion), 0.0
    past, now, whole = _steps(objects, earlier[known], one[known]), steps[known], whole[known]
    whole = whole if whole.any() else ~whole
    persistence = _share_that_lasts(past, now)
    scales = [_scale((now - share * past)[whole], motion) for share in (0, persistence)]
    return (scales[1], persistence) if scales[1] <= 0.95 * scales[0] else (scales[0], 0.0)


def _steps(objects, one, two):
    """Ways (links, 3) from objects to their next selves, less what the frame moved."""
    return objects.centres[two] - objects.centres[one] - objects.drifts[objects.times[two]]


def _learn_changes(objects, one, two, cut, whole):
    """What is usual of changes of size and intensity, of links from rows `one` to `two`: fields of Motion.

    `cut` are those that the border cuts, `whole` those that are looked at: bool (links,).
    """
    ratios = objects.logs[two] - objects.logs[one]
    growth = float(np.median(ratios[whole]))
    changes = (objects.intensities[two] - objects.intensities[one])[whole]
    intensity_spread = None
    if np.isfinite(changes).all():
        intensity_spread = _blend(spread_of(changes, LEAST_INTENSITY_SPREAD), USUAL_INTENSITY_SPREAD, len(one))
    spread = wide_spread_of(ratios[whole] - growth, LEAST_SIZE_SPREAD)
    return {
        "growth": growth,
        "size_spread": _blend(spread, USUAL_SIZE_SPREAD, len(one)),
        "cut_spread": _blend(spread_of(ratios[cut], LEAST_SIZE_SPREAD), USUAL_CUT_SPREAD, cut.sum()),
        "intensity_spread": intensity_spread,
        **_learn_shapes(objects.shapes[one], objects.shapes[two]),
        "sizes_tell": _sizes_tell(objects.logs[one][whole], objects.logs[two][whole]),
    }


def _learn_shapes(before, after):
    """What is usual of `shapes` (links, 2) of objects and of their next selves: fields of Motion."""
    known = np.isfinite(before + after).all(1)
    if known.sum() <= FEW_LINKS:
        return {"shape_lasting": 0.0}
    middle = np.median(after[known], axis=0)
    before, after = before[known] - middle, after[known] - middle
    lasting = _share_that_lasts(before, after)
    change, spread = (
        max(float(np.median(lengths_of(ways))) / T_MEDIANS[2], LEAST_SHAPE_SPREAD)
        for ways in (after - lasting * before, after)
    )
    change = _blend(change, spread, known.sum())
    return {"shape_lasting": lasting, "shape_spread": change, "shapes": (middle, spread)}


def _share_that_lasts(before, after):
    """Median share of `before` that `after` has, 0 to 1, of the longer half of vectors (links, 3 or 2).

    Outliers are wrong links; a median is not moved by them.
    """
    length = lengths_of(before)
    long = length >= np.median(length)
    shares = np.einsum("ij,ij->i", before, after)[long] / np.maximum(length[long] ** 2, 1e-9)
    return float(np.clip(np.median(shares), 0, 1))


def _scale(steps, motion):
    """Scale of Student's t in each direction, from the median length of displacements."""
    if not len(steps):
        return LEAST_SHIFT_PX
    return float(np.median(lengths_of(steps))) / T_MEDIANS[motion.dimensions]


def _blend(spread, usual, links):
    """A spread that so many links show, drawn to the usual one where they are few."""
    weight = links / (links + PRIOR_LINKS)
    return float(spread**weight * usual ** (1 - weight))


def _sizes_tell(before, after):
    """How much of what divisions do to sizes would be seen, 0 to 1.

    Args:
        before, after: logarithms of the sizes of objects and of their next selves.
    """
    one, two = (np.clip(logs - np.median(logs), -1, 1) for logs in (before, after))
    # What they have in common is what lasts; at least so much, as far as it can be known from so many.
    shared = (one - one.mean()) * (two - two.mean())
    return float(np.clip((shared.mean() - shared.std() / np.sqrt(len(shared))) / LASTING_SPREAD**2, 0, 1))


def _lost(objects, after, pairs, mine, usual):
    """Share of the objects that are `mine` that have no successor; a prior keeps it from being none."""
    rows = np.concatenate([objects.indices(t) for t in pairs])
    rows = rows[mine[rows]]
    lost = (after[rows] == NONE).sum() + usual * PRIOR_LINKS
    return float(np.clip(lost / (len(rows) + PRIOR_LINKS), 0.005, 0.3))


def _learn_overlap(objects, after, pairs, among):
    """Log-likelihood ratio of each bin of the intersection over union of links against neighbours'; its median."""
    linked, apart = np.full((2, len(OVERLAP_EDGES)), 0.0)
    shares = []
    for t in pairs:
        one, two, shared = (column[among[objects.overlaps[t][0]]] for column in objects.overlaps[t])
        same = after[one] == two
        bins = overlap_bins(shared, objects.sizes[one], objects.sizes[two])
        linked += np.bincount(bins[same], minlength=len(linked))
        apart += np.bincount(bins[~same], minlength=len(apart))
        count = (after[objects.rows(t)] >= 0).sum()
        linked[0] += count - same.sum()
        # Of an object's neighbours that it is not linked with, most share no pixel.
        apart[0] += max(4 * count - (~same).sum(), 0)
        ious = shared[same] / (objects.sizes[one] + objects.sizes[two] - shared)[same]
        shares.append(np.concatenate([ious, np.zeros(max(count - same.sum(), 0))]))
    shares = np.concatenate(shares)
    linked, apart = linked + USUAL_LINKED, apart + USUAL_APART
    ratios = np.log(linked / linked.sum()) - np.log(apart / apart.sum())
    # More overlap never speaks less for a link.
    ratios = np.maximum.accumulate(ratios)
    return OVERLAP_COUNTS * np.clip(ratios, -MOST_OVERLAP, MOST_OVERLAP), float(np.median(shares)) if len(
        shares
    ) else 0.0
