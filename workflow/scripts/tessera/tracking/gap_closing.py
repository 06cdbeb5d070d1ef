"""Gap closing: link an object to a later one over frames in which it was missed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tessera.tracking.array_types import Floats, Indices
from tessera.tracking.detections import NO_DETECTION, Detections, build_tree, query_tree
from tessera.tracking.frame_linking import CandidateLinks, LinkedFrames
from tessera.tracking.linear_assignment import assign
from tessera.tracking.motion_model import (
    LIKELIHOOD_TEMPERATURE,
    UNEXPLAINED_RATE,
    MotionModel,
    log_displacement_density,
    log_likelihood_ratio_intensity,
    log_likelihood_ratio_shape,
    log_likelihood_ratio_size,
    log_size_density,
)

MAX_NEIGHBORS = 4  # candidates for each detection that ends
PRIOR_OBJECTS = 10.0  # with so few objects, a frame without objects may be good or bad


@dataclass(frozen=True)
class _Gap:
    """One combination of a last frame before a gap and a first frame after it.

    Attributes:
        before, after: int64, the open ends of the frame before the gap and the open starts of the frame after it.
        n_missing: frames in between.
        drift: float64 (3,), drift from the frame before the gap to the frame after it.
        log_missed: log probability that an object is missed in all frames in between.
        density: detections per area of the frame after the gap.
    """

    before: Indices
    after: Indices
    n_missing: int
    drift: Floats
    log_missed: float
    density: float


def rescore_uncertain_links(detections: Detections, model: MotionModel, linked: LinkedFrames) -> CandidateLinks:
    """The uncertain links, with scores that are comparable with those of gaps and divisions.

    The linker compares a link with the loss of one object and the gain of another, at the rates of the movie. Here the
    alternatives are hypotheses of their own, so only the rate of unexplained losses and gains counts.
    """
    uncertain = linked.uncertain
    scores = uncertain.scores
    for indices in (uncertain.before, uncertain.after):
        offset = max(np.log(model.death_rate / UNEXPLAINED_RATE), 0)
        scores = scores + np.where(detections.touches_border[indices], 0, offset)
    return CandidateLinks(uncertain.before, uncertain.after, LIKELIHOOD_TEMPERATURE * scores)


def find_gaps(
    detections: Detections,
    model: MotionModel,
    linked: LinkedFrames,
    *,
    max_gap_frames: int,
    max_distance_px: float | None = None,
) -> CandidateLinks:
    """Pairs of an open end and an open start, at least two frames later, that may be the same object.

    Args:
        detections: Detections.
        model: MotionModel.
        linked: LinkedFrames.
        max_gap_frames: largest number of frames in which an object may be missed.
        max_distance_px: largest distance from the predicted position for each frame, in pixels of x; None: no limit.

    Returns:
        CandidateLinks; scores are log-likelihood ratios against an unexplained loss and gain.
    """
    found, counts = [], np.diff(detections.frame_starts)
    ends = [
        detections.frame_starts[t] + np.flatnonzero(linked.open_ends[detections.frame_slice(t)])
        for t in range(detections.n_frames)
    ]
    for t in range(2, detections.n_frames):
        frame = detections.frame_slice(t)
        starts = frame.start + np.flatnonzero(linked.open_starts[frame])
        if not len(starts):
            continue
        density = detections.density(t)
        drift = detections.drifts[t].copy()
        for n_missing in range(1, min(max_gap_frames, t - 1) + 1):
            last = t - 1 - n_missing
            drift += detections.drifts[last + 1]
            if not len(ends[last]):
                continue
            log_missed = _log_missed(counts[last + 1 : t], min(counts[last], counts[t]), model)
            gap = _Gap(ends[last], starts, n_missing, drift, log_missed, density)
            found.append(_score_gap(detections, model, linked.before, gap, max_distance_px))
    return CandidateLinks.concatenate(found) if found else CandidateLinks.none()


def close_gaps(linked: LinkedFrames, gaps: CandidateLinks) -> LinkedFrames:
    """Close the likely gaps between detections that no link explains: sets `after_gaps` and `before_gaps`."""
    free = np.flatnonzero((linked.after[gaps.before] == NO_DETECTION) & (linked.before[gaps.after] == NO_DETECTION))
    free = free[assign(gaps.before[free], gaps.after[free], gaps.scores[free])]
    after, before = linked.after_gaps.copy(), linked.before_gaps.copy()
    after[gaps.before[free]], before[gaps.after[free]] = gaps.after[free], gaps.before[free]
    return replace(linked, after_gaps=after, before_gaps=before)


def _log_missed(counts: Sequence[int] | Indices, expected: int, model: MotionModel) -> float:
    """Log probability that an object is missed in all frames with these numbers of detections.

    A frame with less than half of the `expected` detections is taken for a failed frame, in which most are missed.
    """
    missing = [(expected - count) / (expected + PRIOR_OBJECTS) if 2 * count < expected else 0 for count in counts]
    return float(sum(np.log(max(share, model.miss_rate)) for share in missing))


def _score_gap(
    detections: Detections, model: MotionModel, predecessors: Indices, gap: _Gap, max_distance_px: float | None
) -> CandidateLinks:
    """Candidate links over one gap; `predecessors` is `LinkedFrames.before`."""
    centers, log_sizes, touches_border = detections.centers, detections.log_sizes, detections.touches_border
    n_steps = gap.n_missing + 1
    previous = predecessors[gap.before]
    last_drift = detections.drifts[detections.frames[gap.before][0]]
    velocity = centers[gap.before] - centers[np.maximum(previous, 0)] - last_drift
    persistence = sum(model.velocity_persistence**step for step in range(1, n_steps + 1))
    predicted = centers[gap.before] + gap.drift + np.where((previous >= 0)[:, None], persistence * velocity, 0)
    scale = model.displacement_scale_after(n_steps)
    max_distance = 3 * float(np.median(detections.radii[gap.before])) + 6 * scale
    if max_distance_px is not None:
        max_distance = min(max_distance, max_distance_px * n_steps)
    distances, places = query_tree(build_tree(centers[gap.after]), predicted, MAX_NEIGHBORS, max_distance)
    end, rank = np.nonzero(np.isfinite(distances))
    before, after = gap.before[end], gap.after[places[end, rank]]
    scores = log_displacement_density(distances[end, rank], scale, model.n_dims) - np.log(gap.density)
    log_ratios = (log_sizes[after] - log_sizes[before] - model.growth * gap.n_missing) / np.sqrt(n_steps)
    log_density_any = log_size_density(log_sizes[after], touches_border[after], model)
    at_border = touches_border[before] | touches_border[after]
    scores += log_likelihood_ratio_size(log_ratios, log_density_any, at_border, model)
    scores += log_likelihood_ratio_shape(detections.elongations, before, after, model, n_steps)
    scores += log_likelihood_ratio_intensity(detections.intensities[before], detections.intensities[after], model)
    death, birth = (
        np.where(touches_border[indices], model.border_death_rate, UNEXPLAINED_RATE) for indices in (before, after)
    )
    scores += gap.log_missed - np.log(death) - np.log(birth)
    return CandidateLinks(before, after, LIKELIHOOD_TEMPERATURE * scores)
