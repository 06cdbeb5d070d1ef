"""Repair of segmentation errors: cells that are split into fragments, or merged, for some frames.

A merger of two cells is a division of the movie played backwards, so divisions and mergers are scored by the same code.
A split cell is a division after which the fragments merge again. Merged cells are a merger after which the merged
object divides again; if the two cells after it look like the two before it, they are not newborn daughters.
"""

from dataclasses import dataclass, replace

import numpy as np

from tessera.tracking.array_types import Floats, Indices
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.division_candidates import DivisionCandidates, find_divisions
from tessera.tracking.division_scores import SIZE_RATIO_SCALE, DaughterDistribution, log_sister_density
from tessera.tracking.frame_linking import LinkedFrames
from tessera.tracking.motion_model import (
    LIKELIHOOD_TEMPERATURE,
    UNEXPLAINED_RATE,
    MotionModel,
    log_displacement_density,
    log_t_density,
    vector_lengths,
)

MAX_FRAMES = 3  # for which cells are merged or split
MERGE_SPLIT_RATE = 0.01  # share of the objects that are merged cells or fragments
PERSISTENCE_RATE = 0.3  # share of merged or split cells that are so in the next frame as well
MAX_MEMORY_LLR = 6.0  # limit of the evidence from the two cells before and after a merger
MIN_LLR = -8.0  # divisions and mergers with less evidence are not combined to repairs


@dataclass(frozen=True)
class Repair:
    """A cell that is split for some frames, or two cells that are merged.

    Attributes:
        before, after: indices of the detections before and after: one if a cell is split, two if cells are merged.
        chain: indices of the fragments, or of the merged objects, frame by frame.
        second_chain: indices of the other fragments; empty if two cells are merged.
        score: log-likelihood ratio against chance.
    """

    before: tuple[int, ...]
    chain: list[int]
    second_chain: list[int]
    after: tuple[int, ...]
    score: float


def find_mergers(
    detections: Detections,
    model: MotionModel,
    linked: LinkedFrames,
    *,
    max_missed_frames: int = 0,
    max_distance_px: float | None = None,
) -> DivisionCandidates:
    """Possible mergers of two objects: DivisionCandidates whose `mother` is the merged object.

    Args:
        detections, model, linked, max_missed_frames, max_distance_px: see
            `tessera.tracking.division_candidates.find_divisions`.
    """
    last = len(detections) - 1
    found = find_divisions(
        detections.reversed(),
        replace(model, growth=-model.growth, velocity_persistence=0.0),
        linked.reversed(),
        max_missed_frames=max_missed_frames,
        max_distance_px=max_distance_px,
        learn=False,
    )
    return replace(
        found, mother=last - found.mother, daughter_a=last - found.daughter_a, daughter_b=last - found.daughter_b
    )


def find_splits(
    detections: Detections,
    model: MotionModel,
    divisions: DivisionCandidates,
    mergers: DivisionCandidates,
    successors: Indices,
) -> list[Repair]:
    """Objects that may be fragments of one cell for some frames; `successors` is `LinkedFrames.after`."""
    prior, loss = _priors(detections, model)
    repairs = []
    # Fragments are in the same frame.
    frames = detections.frames
    start = np.flatnonzero(
        (divisions.geometry_llr > MIN_LLR) & (frames[divisions.daughter_a] == frames[divisions.daughter_b])
    )
    chains = np.stack([divisions.daughter_a, divisions.daughter_b], 1)[start][:, None]
    merging = np.sort(np.stack([mergers.daughter_a, mergers.daughter_b], 1), axis=1)
    for n_frames in range(1, MAX_FRAMES + 1):
        pairs = np.sort(chains[:, -1], axis=1)
        chain, merger = _matches(pairs[:, 0], merging[:, 0])
        same = pairs[chain, 1] == merging[merger, 1]
        chain, merger = chain[same], merger[same]
        division = start[chain]
        scores = divisions.geometry_llr[division] + mergers.geometry_llr[merger] + prior[n_frames - 1]
        scores = scores + loss[divisions.daughter_b[division]] + loss[mergers.daughter_b[merger]]
        for pick in np.flatnonzero(scores > 0):
            before, after = int(divisions.mother[division[pick]]), int(mergers.mother[merger[pick]])
            fragments, other_fragments = chains[chain[pick]].T.tolist()
            repairs.append(Repair((before,), fragments, other_fragments, (after,), float(scores[pick])))
        nexts = successors[chains[:, -1]]
        goes_on = (nexts != NO_DETECTION).all(1)
        start, chains = start[goes_on], np.concatenate([chains[goes_on], nexts[goes_on][:, None]], axis=1)
    return repairs


def find_merged(
    detections: Detections,
    model: MotionModel,
    divisions: DivisionCandidates,
    mergers: DivisionCandidates,
    successors: Indices,
) -> list[Repair]:
    """Objects that may be two merged cells for some frames; `successors` is `LinkedFrames.after`."""
    prior, loss = _priors(detections, model)
    repairs = []
    likely_divisions = np.flatnonzero(divisions.geometry_llr > MIN_LLR)
    start = np.flatnonzero(mergers.geometry_llr > MIN_LLR)
    chains = mergers.mother[start][:, None]
    for n_frames in range(1, MAX_FRAMES + 1):
        chain, position = _matches(chains[:, -1], divisions.mother[likely_divisions])
        merger, division = start[chain], likely_divisions[position]
        before = np.stack([mergers.daughter_a[merger], mergers.daughter_b[merger]], 1)
        after = np.stack([divisions.daughter_a[division], divisions.daughter_b[division]], 1)
        scores = mergers.geometry_llr[merger] + divisions.geometry_llr[division] + prior[n_frames - 1]
        scores = scores + loss[before[:, 1]] + loss[after[:, 1]]
        likely = np.flatnonzero(scores > -LIKELIHOOD_TEMPERATURE * MAX_MEMORY_LLR)
        scores[likely] += _log_likelihood_ratio_memory(detections, model, before[likely], after[likely], n_frames)
        for pick in likely[scores[likely] > 0]:
            two_before, two_after = tuple(before[pick].tolist()), tuple(after[pick].tolist())
            repairs.append(Repair(two_before, chains[chain[pick]].tolist(), [], two_after, float(scores[pick])))
        nexts = successors[chains[:, -1]]
        goes_on = nexts != NO_DETECTION
        start, chains = start[goes_on], np.column_stack([chains[goes_on], nexts[goes_on]])
    return repairs


def _matches(wanted: Indices, keys: Indices) -> tuple[Indices, Indices]:
    """Positions in `wanted` and in `keys`, non-negative integers, of all equal pairs: (matches,) each."""
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys, minlength=wanted.max(initial=-1) + 1)
    n_matches, first = counts[wanted], (np.cumsum(counts) - counts)[wanted]
    position = np.repeat(np.arange(len(wanted)), n_matches)
    rank = np.arange(len(position)) - np.repeat(np.cumsum(n_matches) - n_matches, n_matches)
    return position, order[first[position] + rank]


def _log_likelihood_ratio_memory(
    detections: Detections, model: MotionModel, before: Indices, after: Indices, n_frames: int
) -> Floats:
    """Log-likelihood ratio that two cells lie side by side after a merger as before it, against a division (pairs,).

    Args:
        detections: Detections.
        model: MotionModel.
        before, after: int64 (pairs, 2), the two cells before and after.
        n_frames: for which they are merged.
    """
    vector_before, log_ratio_before = _arrangement(detections, before)
    vector_after, log_ratio_after = _arrangement(detections, after)
    displacement_scale = np.sqrt(2) * model.displacement_scale_after(n_frames + 1)
    size_scale = np.sqrt(2 * (n_frames + 1)) * model.size_change_scale
    at_border = detections.touches_border[before].any(1) | detections.touches_border[after].any(1)
    distance = np.maximum(vector_lengths(vector_after), 0.1)
    log_distance = np.log(distance / detections.radii[after].sum(1))
    sisters = log_sister_density(distance, log_distance, model.n_dims, DaughterDistribution())
    sister_sizes = log_t_density((log_ratio_after / SIZE_RATIO_SCALE) ** 2) - np.log(SIZE_RATIO_SCALE)
    ratios = []
    for sign in (-1, 1):  # the two in the same order, and exchanged
        error = vector_lengths(vector_after + sign * vector_before)
        position = log_displacement_density(error, displacement_scale, model.n_dims) - sisters
        size_error = (log_ratio_after + sign * log_ratio_before) / size_scale
        size = log_t_density(size_error**2) - np.log(size_scale) - sister_sizes
        ratios.append(position + np.where(at_border, 0, size))
    mean = np.logaddexp(*ratios) - np.log(2)
    result: Floats = LIKELIHOOD_TEMPERATURE * np.clip(mean, -MAX_MEMORY_LLR, MAX_MEMORY_LLR)
    return result


def _arrangement(detections: Detections, pairs: Indices) -> tuple[Floats, Floats]:
    """Vector from the second to the first of two cells, without drift (pairs, 3), and log ratio of sizes (pairs,)."""
    total_drift = np.cumsum(detections.drifts, axis=0)
    positions = detections.centers[pairs] - total_drift[detections.frames[pairs]]
    log_sizes = detections.log_sizes
    return positions[:, 0] - positions[:, 1], log_sizes[pairs[:, 0]] - log_sizes[pairs[:, 1]]


def _priors(detections: Detections, model: MotionModel) -> tuple[Floats, Floats]:
    """Log prior of repairs of 1, 2, ... frames (MAX_FRAMES,), and score of a lost or new object (detections,)."""
    log_rates = np.log(MERGE_SPLIT_RATE) + np.arange(MAX_FRAMES) * np.log(PERSISTENCE_RATE)
    rates = np.where(detections.touches_border, model.border_death_rate, UNEXPLAINED_RATE)
    return LIKELIHOOD_TEMPERATURE * log_rates, -LIKELIHOOD_TEMPERATURE * np.log(rates)
