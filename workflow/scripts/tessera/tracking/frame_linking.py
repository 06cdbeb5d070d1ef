"""Frame-to-frame linking: candidate links, their log-likelihood ratios, and the choice between them.

The score of a link compares "the same object" with "one object that is lost and another one that is new". Candidates
come from a KD-tree and from overlaps of masks. For each pair of consecutive frames, the links with the largest total
score are chosen (`tessera.tracking.linear_assignment`). If velocities persist, frames are linked a second time: an
object without a predecessor has no velocity yet, so its motion in the next frame then tells where it came from.

A chosen link with little evidence is uncertain: its two ends stay open, and it competes with gaps, divisions, merges
and splits later (`tessera.tracking.hypotheses`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tessera.tracking.array_types import Bools, Floats, Indices
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.linear_assignment import assign
from tessera.tracking.motion_model import (
    T_DEGREES_OF_FREEDOM,
    MotionModel,
    iou_bins,
    log_displacement_density,
    log_likelihood_ratio_intensity,
    log_likelihood_ratio_shape,
    log_likelihood_ratio_size,
    log_size_density,
    vector_lengths,
)

MAX_NEIGHBORS = 4  # nearest detections that are candidates for each detection
# Lowest sum of the ratios of size, shape and intensity for objects that overlap, unless the size alone is worse: a mask
# that lost or gained a part still lies where the cell is.
MASK_ERROR_PENALTY = -2.5
# Links with a smaller log-likelihood ratio are uncertain. On simulated movies with segmentation errors, 2 % of all
# links and 30 % of the wrong ones have less; values from 3 to 6 work about as well.
MIN_CONFIDENT_LLR = 5.0


@dataclass(frozen=True)
class CandidateLinks:
    """Pairs of detections that may be the same object.

    Attributes:
        before, after: int64 (links,), indices of the earlier and the later detection.
        scores: float64 (links,), log-likelihood ratios.
    """

    before: Indices
    after: Indices
    scores: Floats

    @staticmethod
    def none() -> "CandidateLinks":
        """No links."""
        return CandidateLinks(np.zeros(0, int), np.zeros(0, int), np.zeros(0))

    @staticmethod
    def concatenate(parts: Sequence["CandidateLinks"]) -> "CandidateLinks":
        """All links of several objects, in order."""
        return CandidateLinks(
            np.concatenate([each.before for each in parts]),
            np.concatenate([each.after for each in parts]),
            np.concatenate([each.scores for each in parts]),
        )


@dataclass(frozen=True)
class LinkedFrames:
    """Detections linked from frame to frame.

    Attributes:
        after, before: int64 (detections,), index of the successor and predecessor in the adjacent frame; NO_DETECTION.
        open_ends, open_starts: bool (detections,), whether the successor, or the predecessor, is still to be decided:
            there is no link, or an uncertain one.
        uncertain: possible links between open ends and open starts; they include the uncertain links of `after`.
        after_gaps, before_gaps: as `after` and `before`, with likely gaps closed.
    """

    after: Indices
    before: Indices
    open_ends: Bools
    open_starts: Bools
    uncertain: CandidateLinks
    after_gaps: Indices
    before_gaps: Indices

    def reversed(self) -> "LinkedFrames":
        """The links of the movie played backwards, in which detection i is -1 - i; without uncertain links."""
        last = len(self.after) - 1
        after, before, after_gaps, before_gaps = (
            np.where(indices == NO_DETECTION, NO_DETECTION, last - indices)[::-1]
            for indices in (self.before, self.after, self.before_gaps, self.after_gaps)
        )
        open_ends, open_starts = self.open_starts[::-1], self.open_ends[::-1]
        return LinkedFrames(after, before, open_ends, open_starts, CandidateLinks.none(), after_gaps, before_gaps)


@dataclass(frozen=True)
class BackwardPrediction:
    """Predicted positions of the detections of frame t + 1 in frame t, from their motion after t + 1.

    Attributes:
        is_new: bool (n,), whether a detection of frame t has no predecessor, so that its velocity is unknown.
        positions: float64 (detections of frame t + 1, 3), z, y, x; NaN if unknown.
    """

    is_new: Bools
    positions: Floats


def link_frames(
    detections: Detections,
    model: MotionModel,
    *,
    transitions: Sequence[int] | None = None,
    included: Bools | None = None,
    max_distance_px: float | None = None,
) -> LinkedFrames:
    """Link the detections of each frame to those of the next frame.

    Args:
        detections: Detections.
        model: MotionModel.
        transitions: frames t that are linked with t + 1, increasing; None: all.
        included: bool (detections,), detections that are linked to later ones; None: all.
        max_distance_px: largest distance from the predicted position, in pixels of x; None: as the model implies.

    Returns:
        LinkedFrames; `after_gaps` and `before_gaps` equal `after` and `before`.
    """
    linked = _link(detections, model, transitions, included, max_distance_px)
    if transitions is None and model.velocity_persistence > 0:
        linked = _link(detections, model, transitions, included, max_distance_px, linked.after)
    return linked


def _link(
    detections: Detections,
    model: MotionModel,
    transitions: Sequence[int] | None,
    included: Bools | None,
    max_distance_px: float | None,
    first_pass: Indices | None = None,
) -> LinkedFrames:
    """As `link_frames`, once; `first_pass` is `LinkedFrames.after` of an earlier pass."""
    count = len(detections)
    after, before = np.full((2, count), NO_DETECTION)
    open_ends, open_starts = np.ones((2, count), bool)
    velocities, uncertain = np.zeros((count, 3)), [CandidateLinks.none()]
    centers, drifts = detections.centers, detections.drifts
    for t in range(detections.n_frames - 1) if transitions is None else transitions:
        indices = detections.frame_indices(t)
        indices = indices if included is None else indices[included[indices]]
        predicted = centers.take(indices, axis=0) + drifts[t + 1]
        if model.velocity_persistence > 0:
            predicted += model.velocity_persistence * velocities.take(indices, axis=0)
        backward = None
        if first_pass is not None:
            is_new = before[indices] == NO_DETECTION
            backward = BackwardPrediction(is_new, _predict_backward(detections, model, t + 1, first_pass))
        links = find_link_candidates(
            detections, model, t, indices, predicted, backward=backward, max_distance_px=max_distance_px
        )
        chosen = assign(links.before, links.after, links.scores)
        first, second = links.before[chosen], links.after[chosen]
        after[first], before[second] = second, first
        if model.velocity_persistence > 0:
            velocities[second] = centers[second] - centers[first] - drifts[t + 1]
        confident = links.scores[chosen] >= MIN_CONFIDENT_LLR
        open_ends[first[confident]], open_starts[second[confident]] = False, False
        still_open = np.flatnonzero((links.scores > 0) & open_ends[links.before] & open_starts[links.after])
        uncertain.append(CandidateLinks(links.before[still_open], links.after[still_open], links.scores[still_open]))
    return LinkedFrames(
        after, before, open_ends, open_starts, CandidateLinks.concatenate(uncertain), after, before
    )  # fmt: skip


def _predict_backward(detections: Detections, model: MotionModel, t: int, after: Indices) -> Floats:
    """Positions in frame t - 1 of the detections of frame t, predicted from their successors; NaN without one."""
    indices = detections.frame_indices(t)
    positions = np.full((len(indices), 3), np.nan)
    linked = np.flatnonzero(after[indices] != NO_DETECTION)
    here = detections.centers[indices[linked]]
    next_drift = detections.drifts[min(t + 1, detections.n_frames - 1)]
    velocity = detections.centers[after[indices[linked]]] - here - next_drift
    positions[linked] = here - model.velocity_persistence * velocity - detections.drifts[t]
    return positions


def find_link_candidates(
    detections: Detections,
    model: MotionModel,
    t: int,
    indices: Indices,
    predicted: Floats,
    *,
    backward: BackwardPrediction | None = None,
    max_distance_px: float | None = None,
) -> CandidateLinks:
    """Pairs of detections of frames t and t + 1 that may be the same object, with their log-likelihood ratios.

    Args:
        detections: Detections.
        model: MotionModel.
        t: the earlier frame.
        indices: int64 (n,), detections of frame t.
        predicted: float64 (n, 3), predicted positions of these in frame t + 1, z, y, x in pixels of x.
        backward: predictions for detections whose velocity is unknown.
        max_distance_px: largest distance from the predicted position; None: as the model implies.
    """
    next_frame = detections.frame_slice(t + 1)
    centers = detections.centers[next_frame]
    if not len(predicted) or not len(centers):
        return CandidateLinks.none()
    density = detections.density(t + 1)
    distances, places = detections.nearest(t + 1, predicted, MAX_NEIGHBORS, search_radius(model, density))
    # Pairs that overlap: `first` is a position in `indices`, `second` one in the next frame.
    first, second, pixels = _overlapping_pairs(detections, t, indices)
    among_nearest = places[first] == second[:, None]
    shared = np.zeros(distances.shape)
    pair, rank = np.nonzero(among_nearest)
    shared[first[pair], rank] = pixels[pair]
    further = ~among_nearest.any(1)
    first, second, pixels = first[further], second[further], pixels[further]
    near = np.flatnonzero(places < len(centers))
    offsets = centers[second] - predicted[first]
    first = np.concatenate([near // places.shape[1], first])
    second = np.concatenate([places.take(near), second])
    distance = np.concatenate([distances.take(near), vector_lengths(offsets)])
    shared_pixels = np.concatenate([shared.take(near), pixels])
    if max_distance_px is not None:
        close = distance <= max_distance_px
        first, second, distance, shared_pixels = first[close], second[close], distance[close], shared_pixels[close]
    before, after = indices[first], second + next_frame.start
    position = log_displacement_density(distance, model.displacement_scale, model.n_dims)
    if backward is not None:
        distance_back = vector_lengths(detections.centers.take(before, axis=0) - backward.positions[second])
        usable = backward.is_new[first] & np.isfinite(distance_back)
        position[usable] = log_displacement_density(distance_back[usable], model.displacement_scale, model.n_dims)
    others = log_likelihood_ratio_appearance(detections, model, t, before, after, shared_pixels)
    return CandidateLinks(before, after, position - np.log(density) + others)


def _overlapping_pairs(detections: Detections, t: int, indices: Indices) -> tuple[Indices, Indices, Indices]:
    """Overlaps of `indices`, detections of frame t: position in `indices`, place in frame t + 1, shared pixels."""
    overlaps = detections.overlaps[t]
    start, stop = detections.frame_starts[t], detections.frame_starts[t + 1]
    position = np.full(stop - start, NO_DETECTION)
    position[indices - start] = np.arange(len(indices))
    first = position[overlaps.before - start]
    included = first != NO_DETECTION
    return first[included], overlaps.after[included] - stop, overlaps.pixels[included]


def search_radius(model: MotionModel, density: float) -> float:
    """Distance from the predicted position at which a link scores 0 if everything else speaks for it (4 nats)."""
    slack = -np.log(model.death_rate**2 * density) + 4.0
    exponent = (T_DEGREES_OF_FREEDOM + model.n_dims) / 2
    top = log_displacement_density(0.0, model.displacement_scale, model.n_dims) + slack
    radius = np.sqrt(T_DEGREES_OF_FREEDOM * np.expm1(np.clip(top / exponent, 0.1, 12)))
    return float(model.displacement_scale * radius)


def log_likelihood_ratio_appearance(
    detections: Detections, model: MotionModel, t: int, before: Indices, after: Indices, shared: Floats
) -> Floats:
    """Log-likelihood ratio of pairs (pairs,), from size, shape, intensity, overlap and the rates of loss and gain.

    The position is not included.

    Args:
        detections: Detections.
        model: MotionModel.
        t: the earlier frame.
        before, after: int64 (pairs,), detections of frames t and t + 1.
        shared: (pairs,), shared pixels.
    """
    sizes, log_sizes, touches_border = detections.sizes, detections.log_sizes, detections.touches_border
    next_frame = detections.frame_slice(t + 1)
    log_density_any = log_size_density(log_sizes[next_frame], touches_border[next_frame], model)
    size = log_likelihood_ratio_size(
        log_sizes[after] - log_sizes[before],
        log_density_any[after - next_frame.start],
        touches_border[before] | touches_border[after],
        model,
    )
    looks = log_likelihood_ratio_shape(detections.elongations, before, after, model)
    looks += log_likelihood_ratio_intensity(detections.intensities[before], detections.intensities[after], model)
    limited = np.maximum(size + looks, np.minimum(size, MASK_ERROR_PENALTY))
    ratios = np.where(shared > 0, limited, size + looks)
    if model.iou_llr is not None:
        ratios += model.iou_llr[iou_bins(shared, sizes[before], sizes[after])]
    death, birth = (
        np.where(touches_border[indices], model.border_death_rate, model.death_rate) for indices in (before, after)
    )
    total: Floats = ratios + np.log1p(-death) - np.log(death) - np.log(birth)
    return total
