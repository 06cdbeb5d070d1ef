"""Estimation of the motion model: link a sample of the movie's frames a few times and learn from the links.

It is a module of its own, apart from `tessera.tracking.motion_model`, since it needs the linker, which needs the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tessera.tracking.array_types import Bools, Floats, Indices
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.frame_linking import LinkedFrames, link_frames
from tessera.tracking.motion_model import (
    IOU_BIN_EDGES,
    MIN_DISPLACEMENT_SCALE_PX,
    T_MEDIAN_LENGTHS,
    MotionModel,
    iou_bins,
    robust_scale,
    robust_wide_scale,
    vector_lengths,
)

MAX_SAMPLED_TRANSITIONS = 12  # pairs of consecutive frames that are linked to learn from
MAX_SAMPLED_OBJECTS = 4000  # objects to learn from; of large frames, only a band of rows is used
N_ROUNDS = 3
MIN_SIZE_CHANGE_SCALE = 0.03
MIN_INTENSITY_CHANGE_SCALE = 0.05
MIN_ELONGATION_SCALE = 0.01
PRIOR_LINKS = 20.0  # number of links that the prior values count as
PRIOR_DEATH_RATE, PRIOR_BORDER_DEATH_RATE = 0.02, 0.15
PRIOR_SIZE_CHANGE_SCALE, PRIOR_BORDER_SIZE_CHANGE_SCALE, PRIOR_INTENSITY_CHANGE_SCALE = 0.15, 0.4, 0.5
MIN_LINKS = 12  # with fewer links, velocity persistence and elongations are not estimated
# Pseudo-counts of linked pairs and of other neighbors in each bin of IOU_BIN_EDGES.
PRIOR_LINKED_IOU = np.array([0.4, 0.5, 1, 1, 1, 1, 1, 1])
PRIOR_UNLINKED_IOU = np.array([5, 1, 0.5, 0.3, 0.15, 0.05, 0.02, 0.01])
IOU_WEIGHT, MAX_IOU_LLR = 0.7, 4.0  # the weight is below 1 since positions carry part of the same information
INFORMATIVE_SIZE_SPREAD = 0.15  # spread of persistent log sizes from which on sizes are fully informative


@dataclass(frozen=True)
class _Sample:
    """The part of a movie that is linked to learn from.

    Attributes:
        transitions: frames t that are linked with t + 1, increasing.
        included: bool (detections,), detections that are linked to later ones.
        median_radius: of all detections, pixels of x.
    """

    transitions: Sequence[int]
    included: Bools
    median_radius: float


@dataclass(frozen=True)
class _Links:
    """Links of the sample.

    Attributes:
        before, after: int64 (links,), indices of the linked detections.
        previous: int64 (links,), index of the predecessor of `before`; NO_DETECTION.
        at_border: bool (links,), whether one of the two touches the border.
        used: bool (links,), links to learn from: those away from the border, or all if these are few.
    """

    before: Indices
    after: Indices
    previous: Indices
    at_border: Bools
    used: Bools


def learn_motion(detections: Detections) -> MotionModel:
    """Learn the motion model of a movie by linking a sample of its frames N_ROUNDS times."""
    log_sizes = np.log(np.maximum(detections.sizes, 1))
    median = float(np.median(log_sizes)) if len(log_sizes) else 0.0
    border_log_sizes = log_sizes[detections.touches_border]
    border_median = float(np.median(border_log_sizes)) if len(border_log_sizes) else median
    radius = float(np.median(detections.radii)) if len(log_sizes) else 1.0
    model = MotionModel(
        displacement_scale=max(radius, MIN_DISPLACEMENT_SCALE_PX),
        log_size_median=median,
        log_size_scale=max(robust_scale(log_sizes - median, 0.0), 0.25),
        border_log_size_median=border_median,
        border_log_size_scale=max(robust_scale(border_log_sizes - border_median, 0.0), 0.5),
        n_dims=detections.n_dims,
        death_rate=PRIOR_DEATH_RATE,
    )
    transitions = _sample_transitions(detections)
    if not transitions:
        return model
    sample = _Sample(transitions, _middle_band(detections, transitions), radius)
    model = replace(
        model,
        displacement_scale=_initial_displacement_scale(detections, sample),
        neighbor_distance=_median_neighbor_distance(detections, sample),
    )
    for _ in range(N_ROUNDS):
        model = _refine(detections, model, sample)
    return model


def _sample_transitions(detections: Detections) -> list[int]:
    """Frames t such that t and t + 1 have objects, in runs of two, so that persistent velocities can be seen."""
    counts = np.diff(detections.frame_starts)
    transitions = [t for t in range(detections.n_frames - 1) if counts[t] and counts[t + 1]]
    mean_count = np.mean(counts[transitions]) if transitions else 1
    maximum = int(np.clip(MAX_SAMPLED_OBJECTS / mean_count, 2, MAX_SAMPLED_TRANSITIONS))
    if len(transitions) <= maximum:
        return transitions
    starts = np.linspace(0, len(transitions) - 2, maximum // 2).astype(int)
    return sorted({transitions[start + offset] for start in starts for offset in (0, 1)})


def _middle_band(detections: Detections, transitions: Sequence[int]) -> Bools:
    """Detections in a horizontal band around the middle that holds MAX_SAMPLED_OBJECTS: bool (detections,)."""
    indices = np.concatenate([detections.frame_indices(t) for t in transitions])
    share = min(MAX_SAMPLED_OBJECTS / len(indices), 1.0)
    y = detections.centers[:, 1]
    low, high = np.quantile(y[indices], [0.5 - share / 2, 0.5 + share / 2])
    result: Bools = (y >= low) & (y <= high)
    return result


def _initial_displacement_scale(detections: Detections, sample: _Sample) -> float:
    """Scale of the displacements between objects of similar size that are each other's nearest neighbor."""
    distances = []
    for t in sample.transitions:
        before, after = detections.frame_slice(t), detections.frame_slice(t + 1)
        included, drift = np.flatnonzero(sample.included[before]), detections.drifts[t + 1]
        moved = detections.centers[before][included] + drift
        distance, place = (column[:, 0] for column in detections.nearest(t + 1, moved, 1))
        back = detections.nearest(t, detections.centers[after][place] - drift, 1)[1][:, 0]
        log_ratio = np.abs(detections.log_sizes[after][place] - detections.log_sizes[before][included])
        distances.append(distance[(back == included) & (log_ratio < 0.5)])
    distance = np.concatenate(distances)
    scale = 1.5 * float(np.median(distance)) if len(distance) else sample.median_radius
    # It is wide, since later rounds only find links within the reach that it allows.
    return max(scale, 0.15 * sample.median_radius, MIN_DISPLACEMENT_SCALE_PX)


def _median_neighbor_distance(detections: Detections, sample: _Sample) -> float:
    """Median distance from an object to its nearest neighbor in the same frame; 0 if frames have single objects."""
    distances = []
    for t in sample.transitions:
        frame = detections.frame_slice(t)
        centers, included = detections.centers[frame], sample.included[frame]
        if len(centers) > 1 and included.any():
            distances.append(detections.nearest(t, centers[included], 2)[0][:, 1])
    return float(np.median(np.concatenate(distances))) if distances else 0.0


def _refine(detections: Detections, model: MotionModel, sample: _Sample) -> MotionModel:
    """Link the sample with `model` and estimate the parameters from the links."""
    linked = link_frames(detections, model, transitions=sample.transitions, included=sample.included)
    before = np.flatnonzero(linked.after >= 0)
    if len(before) < 2:
        return model
    after = linked.after[before]
    at_border = detections.touches_border[before] | detections.touches_border[after]
    used = ~at_border if (~at_border).sum() > MIN_LINKS else np.ones(len(before), bool)
    links = _Links(before, after, linked.before[before], at_border, used)
    scale, velocity_persistence = _displacement_parameters(detections, model, links)
    iou_llr, median_iou = _iou_parameters(detections, linked, sample)
    model = replace(
        model,
        displacement_scale=max(scale, MIN_DISPLACEMENT_SCALE_PX, 0.02 * sample.median_radius),
        velocity_persistence=velocity_persistence,
        iou_llr=iou_llr,
        median_iou=median_iou,
        death_rate=_death_rate(detections, linked, sample, at_border=False),
        border_death_rate=_death_rate(detections, linked, sample, at_border=True),
    )
    model = _with_size_parameters(model, detections, links)
    model = _with_intensity_parameters(model, detections, links)
    return with_elongation_parameters(model, detections.elongations[before], detections.elongations[after])


def _displacement_parameters(detections: Detections, model: MotionModel, links: _Links) -> tuple[float, float]:
    """Scale of the prediction errors of positions, and the velocity persistence that makes them smallest."""
    displacements = _displacements(detections, links.before, links.after)
    known = links.previous != NO_DETECTION
    if known.sum() <= MIN_LINKS:
        return _displacement_scale(displacements[links.used], model), 0.0
    previous = _displacements(detections, links.previous[known], links.before[known])
    current, used = displacements[known], links.used[known]
    used = used if used.any() else ~used
    persistence = _median_persistence(previous, current)
    without, with_persistence = (
        _displacement_scale((current - share * previous)[used], model) for share in (0, persistence)
    )
    return (with_persistence, persistence) if with_persistence <= 0.95 * without else (without, 0.0)


def _displacements(detections: Detections, before: Indices, after: Indices) -> Floats:
    """Displacements (links, 3) between linked detections, without the drift."""
    drifts = detections.drifts[detections.frames[after]]
    displacements: Floats = detections.centers[after] - detections.centers[before] - drifts
    return displacements


def _displacement_scale(displacements: Floats, model: MotionModel) -> float:
    """Scale along each axis of a Student's t, from the median length of displacements (links, 3)."""
    if not len(displacements):
        return MIN_DISPLACEMENT_SCALE_PX
    return float(np.median(vector_lengths(displacements))) / T_MEDIAN_LENGTHS[model.n_dims]


def _with_size_parameters(model: MotionModel, detections: Detections, links: _Links) -> MotionModel:
    before, after = detections.log_sizes[links.before], detections.log_sizes[links.after]
    log_ratios = after - before
    growth = float(np.median(log_ratios[links.used]))
    scale = robust_wide_scale(log_ratios[links.used] - growth, MIN_SIZE_CHANGE_SCALE)
    border_scale = robust_scale(log_ratios[links.at_border], MIN_SIZE_CHANGE_SCALE)
    return replace(
        model,
        growth=growth,
        size_change_scale=_shrink_to_prior(scale, PRIOR_SIZE_CHANGE_SCALE, len(before)),
        border_size_change_scale=_shrink_to_prior(border_scale, PRIOR_BORDER_SIZE_CHANGE_SCALE, links.at_border.sum()),
        size_informativeness=_size_informativeness(before[links.used], after[links.used]),
    )


def _with_intensity_parameters(model: MotionModel, detections: Detections, links: _Links) -> MotionModel:
    changes = (detections.intensities[links.after] - detections.intensities[links.before])[links.used]
    if not np.isfinite(changes).all():
        return replace(model, intensity_change_scale=None)
    scale = robust_scale(changes, MIN_INTENSITY_CHANGE_SCALE)
    scale = _shrink_to_prior(scale, PRIOR_INTENSITY_CHANGE_SCALE, len(links.before))
    return replace(model, intensity_change_scale=scale)


def with_elongation_parameters(model: MotionModel, before: Floats, after: Floats) -> MotionModel:
    """The model with the parameters of elongations.

    Args:
        model: MotionModel.
        before, after: float64 (links, 2), elongations of linked detections; NaN if unknown.
    """
    known = np.isfinite(before + after).all(1)
    if known.sum() <= MIN_LINKS:
        return replace(model, elongation_persistence=0.0)
    median = np.median(after[known], axis=0)
    before, after = before[known] - median, after[known] - median
    persistence = _median_persistence(before, after)
    change_scale, scale = (
        max(float(np.median(vector_lengths(vectors))) / T_MEDIAN_LENGTHS[2], MIN_ELONGATION_SCALE)
        for vectors in (after - persistence * before, after)
    )
    return replace(
        model,
        elongation_persistence=persistence,
        elongation_change_scale=_shrink_to_prior(change_scale, scale, known.sum()),
        elongation_median=median,
        elongation_scale=scale,
    )


def _median_persistence(before: Floats, after: Floats) -> float:
    """Median share of vectors `before` that `after` repeats, 0 to 1, among the longer half (links, 3 or 2).

    A median, since wrong links are outliers.
    """
    lengths = vector_lengths(before)
    long = lengths >= np.median(lengths)
    shares = np.einsum("ij,ij->i", before, after)[long] / np.maximum(lengths[long] ** 2, 1e-9)
    return float(np.clip(np.median(shares), 0, 1))


def _shrink_to_prior(scale: float, prior: float, n_links: int) -> float:
    """Geometric mean of a scale and its prior, weighted by the number of links and PRIOR_LINKS."""
    weight = n_links / (n_links + PRIOR_LINKS)
    return float(scale**weight * prior ** (1 - weight))


def _size_informativeness(log_sizes_before: Floats, log_sizes_after: Floats) -> float:
    """How much sizes tell about divisions, 0 to 1: the variance of log sizes that persists from frame to frame."""
    before, after = (np.clip(sizes - np.median(sizes), -1, 1) for sizes in (log_sizes_before, log_sizes_after))
    # The covariance is the persistent part; one standard error is subtracted, so that few links give a low value.
    products = (before - before.mean()) * (after - after.mean())
    persistent = products.mean() - products.std() / np.sqrt(len(products))
    return float(np.clip(persistent / INFORMATIVE_SIZE_SPREAD**2, 0, 1))


def _death_rate(detections: Detections, linked: LinkedFrames, sample: _Sample, *, at_border: bool) -> float:
    """Share of the objects inside, or at the border, that have no successor; a prior keeps it above 0."""
    indices = np.concatenate([detections.frame_indices(t) for t in sample.transitions])
    indices = indices[(sample.included & (detections.touches_border == at_border))[indices]]
    prior = PRIOR_BORDER_DEATH_RATE if at_border else PRIOR_DEATH_RATE
    n_lost = (linked.after[indices] == NO_DETECTION).sum() + prior * PRIOR_LINKS
    return float(np.clip(n_lost / (len(indices) + PRIOR_LINKS), 0.005, 0.3))


def _iou_parameters(detections: Detections, linked: LinkedFrames, sample: _Sample) -> tuple[Floats, float]:
    """Log-likelihood ratio of each bin of IOU_BIN_EDGES, links against other neighbors; and the median IoU of links."""
    n_linked, n_other = np.full((2, len(IOU_BIN_EDGES)), 0.0)
    ious_of_links = []
    sizes = detections.sizes
    for t in sample.transitions:
        overlaps = detections.overlaps[t]
        included = sample.included[overlaps.before]
        before, after, shared = (column[included] for column in overlaps)
        same = linked.after[before] == after
        bins = iou_bins(shared, sizes[before], sizes[after])
        n_linked += np.bincount(bins[same], minlength=len(n_linked))
        n_other += np.bincount(bins[~same], minlength=len(n_other))
        n_links = (linked.after[detections.frame_slice(t)] >= 0).sum()
        n_linked[0] += n_links - same.sum()
        # Of about four other neighbors of an object, most share no pixel with it.
        n_other[0] += max(4 * n_links - (~same).sum(), 0)
        ious = shared[same] / (sizes[before] + sizes[after] - shared)[same]
        ious_of_links.append(np.concatenate([ious, np.zeros(max(n_links - same.sum(), 0))]))
    ious = np.concatenate(ious_of_links)
    n_linked, n_other = n_linked + PRIOR_LINKED_IOU, n_other + PRIOR_UNLINKED_IOU
    ratios = np.log(n_linked / n_linked.sum()) - np.log(n_other / n_other.sum())
    # A larger overlap is never weaker evidence for a link.
    ratios = np.maximum.accumulate(ratios)
    ratios = IOU_WEIGHT * np.clip(ratios, -MAX_IOU_LLR, MAX_IOU_LLR)
    return ratios, float(np.median(ious)) if len(ious) else 0.0
