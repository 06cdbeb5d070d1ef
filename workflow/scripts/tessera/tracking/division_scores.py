"""Division scores: the evidence that two objects are the daughters of a third one.

A score compares a division with a mother that goes on as daughter A while daughter B appears by chance. It is a sum of
the EVIDENCE_TERMS, from position, size, intensity, overlap and the tracks before and after.

Where daughters lie, apart from each other and around the mother's position, is learned from the likely divisions of
the movie, and sizes count as much as they persist from frame to frame: so masks may be markers, smaller than cells and
of any size. The size of a mother is the median of her last three frames if that fits better, because cells round up
before mitosis. Newborn cells, and cells that keep their shape, are unlikely to divide.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from tessera.tracking.array_types import Bools, Floats, Indices
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.frame_linking import LinkedFrames
from tessera.tracking.motion_model import (
    LIKELIHOOD_TEMPERATURE,
    T_MEDIAN_LENGTHS,
    UNEXPLAINED_RATE,
    MotionModel,
    log_displacement_density,
    log_likelihood_ratio_intensity,
    log_likelihood_ratio_shape,
    log_size_change_density,
    log_size_density,
    log_t_density,
    robust_scale,
    vector_lengths,
)

EVIDENCE_TERMS = (
    "prior", "position", "size", "intensity", "overlap", "persistence", "age", "missed", "newcomer", "shape"
)  # fmt: skip
TERM = {name: column for column, name in enumerate(EVIDENCE_TERMS)}
# Size
SIZE_SUM_SCALE = 0.25  # of the log of the daughters' total size over the mother's size
SIZE_RATIO_SCALE = 0.45  # of the log of one daughter's size over the other's
BORDER_SIZE_SCALE = 0.8  # added to both if mother or daughters touch the border
SIZE_LLR_LIMITS = (-8.0, 6.0)
SISTER_INTENSITY_FACTOR = 3.0  # sisters differ this many times more than one cell does from frame to frame
MITOTIC_ROUNDING_LLR = -1.0  # for a mother that is smaller in her last frame than before
# Tracks
LONG_TRACK_FRAMES = 3  # a track of so many frames counts as a long one
SURE_DIVISION_LLR = 2.0  # daughters of a division with more evidence are newborn cells
NEWBORN_LLR = -3.0  # for a newborn cell that divides
# Geometry
LOG_DISTANCE_SCALE = 0.5  # of the log of the daughters' distance over the sum of their radii
OFFSET_SHARE = 0.3  # distance of the daughters' midpoint from the mother's position, over her radius
MIDPOINT_SLACK = 0.25  # uncertainty of the midpoint over the daughters' distance, if sizes are not informative
PRIOR_DIVISIONS = 10.0  # number of divisions that the prior geometry counts as
LIKELY_DIVISION_LLR = 3.0  # evidence at which a division has weight 0.5 when geometry is learned
SCALE_LIMITS, OFFSET_LIMITS = (0.1, 1.0), (0.3, 3.0)  # of the learned geometry


@dataclass(frozen=True)
class DivisionTriples:
    """Mothers with two daughters each.

    Attributes:
        mother: int64 (candidates,), indices of detections.
        daughter_a: int64 (candidates,), the mother's successor if there were no division, or a new object.
        daughter_b: int64 (candidates,), an object without a certain predecessor, of the same frame or one later.
    """

    mother: Indices
    daughter_a: Indices
    daughter_b: Indices


@dataclass(frozen=True)
class DaughterDistribution:
    """Where the daughters of a movie lie.

    Attributes:
        log_distance_median, log_distance_scale: of the log of the daughters' distance over the sum of their radii; the
            median is above 0 if masks are smaller than cells, as markers are.
        offset_factor: distance of their midpoint from the mother's position, over `DaughterGeometry.offset_scale`.
    """

    log_distance_median: float = 0.0
    log_distance_scale: float = LOG_DISTANCE_SCALE
    offset_factor: float = 1.0

    @property
    def overlap_weight(self) -> float:
        """Weight of the overlap term: 0 if daughters lie apart by more than their masks."""
        return float(np.clip(1 - 2 * self.log_distance_median, 0, 1))


class DaughterGeometry:
    """Positions of daughters relative to each other and to the mother.

    Attributes:
        offset: float64 (candidates,), distance of the daughters' midpoint from the mother's position, in pixels of x.
        offset_scale: float64 (candidates,), usual size of that distance.
        distance: float64 (candidates,), between the daughters.
        log_distance: float64 (candidates,), log of the distance over the sum of the radii.
        log_chance: float64 (candidates,), log density of the positions if daughter A is the mother's successor, or new,
            and daughter B is there by chance.
    """

    def __init__(
        self, detections: Detections, model: MotionModel, triples: DivisionTriples, predecessors: Indices
    ) -> None:
        """Measure all candidates; `predecessors` is `LinkedFrames.before`."""
        mother, daughter_a, daughter_b = triples.mother, triples.daughter_a, triples.daughter_b
        frames, radii, centers = detections.frames, detections.radii, detections.centers
        self._n_dims = model.n_dims
        total_drift = np.cumsum(detections.drifts, axis=0)
        previous = predecessors[mother]
        # `take` is ten times faster than indexing for short rows.
        position, position_a = centers.take(mother, axis=0), centers.take(daughter_a, axis=0)
        at_rest = position + (total_drift[frames[daughter_a]] - total_drift[frames[mother]])
        predicted = at_rest
        if model.velocity_persistence > 0:
            velocity = position - centers.take(np.maximum(previous, 0), axis=0) - detections.drifts[frames[mother]]
            step = np.where((previous >= 0)[:, None], model.velocity_persistence * velocity, 0)
            predicted = at_rest + step
        drift_between = total_drift[frames[daughter_a]] - total_drift[frames[daughter_b]]
        position_b = centers.take(daughter_b, axis=0) + drift_between
        between = position_a - position_b
        length = vector_lengths(between)
        self.distance = np.maximum(length, 0.1)
        self.log_distance = np.log(self.distance / (radii[daughter_a] + radii[daughter_b]))
        sizes = detections.sizes
        share = (sizes[daughter_a] / (sizes[daughter_a] + sizes[daughter_b]))[:, None]
        midpoint = share * position_a + (1 - share) * position_b
        slack = MIDPOINT_SLACK * (1 - model.size_informativeness) * length
        # A cell may stop to divide; and the last step says little if two cells were merged in it.
        self.offset = np.minimum(
            *(_lengths_with_slack(midpoint - place, between, length, slack) for place in (predicted, at_rest))
        )
        n_steps = frames[daughter_b] - frames[mother]
        self.offset_scale = np.hypot(model.displacement_scale * np.sqrt(n_steps), OFFSET_SHARE * radii[mother])
        log_successor = log_displacement_density(
            vector_lengths(position_a - predicted), model.displacement_scale, model.n_dims
        )
        log_densities = np.log([detections.density(t) for t in range(detections.n_frames)])[frames[daughter_b]]
        # If daughter A is new as well, the mother is lost and two objects appear by chance.
        both_new = np.log(UNEXPLAINED_RATE) * 2 + log_densities
        is_new = predecessors[daughter_a] == NO_DETECTION
        self.log_chance = np.where(is_new, both_new, log_successor) + log_densities

    def log_likelihood_ratio(self, distribution: DaughterDistribution) -> Floats:
        """Log-likelihood ratio of the positions (candidates,): a division against chance."""
        beside = log_sister_density(self.distance, self.log_distance, self._n_dims, distribution)
        scale = distribution.offset_factor * self.offset_scale
        result: Floats = log_displacement_density(self.offset, scale, self._n_dims) + beside - self.log_chance
        return result

    def learn(self, daughter_b: Indices, llr: Floats) -> DaughterDistribution:
        """Learn the distribution from the likely divisions.

        Args:
            daughter_b: int64 (candidates,); only the best candidate of each counts.
            llr: float64 (candidates,), total log-likelihood ratios.
        """
        best = np.full(daughter_b.max(initial=0) + 1, -np.inf)
        np.maximum.at(best, daughter_b, llr)
        indices = np.flatnonzero(llr == best[daughter_b])
        weights = expit(llr[indices] - LIKELY_DIVISION_LLR)
        total = float(weights.sum())
        if total < 1:
            return DaughterDistribution()
        share = total / (total + PRIOR_DIVISIONS)
        median = share * _weighted_median(self.log_distance[indices], weights)
        scale = _weighted_median(np.abs(self.log_distance[indices] - median), weights) / T_MEDIAN_LENGTHS[1]
        offsets = self.offset[indices] / self.offset_scale[indices]
        factor = _weighted_median(offsets, weights) / T_MEDIAN_LENGTHS[self._n_dims]
        scale, factor = float(np.clip(scale, *SCALE_LIMITS)), float(np.clip(factor, *OFFSET_LIMITS))
        return DaughterDistribution(median, scale**share * LOG_DISTANCE_SCALE ** (1 - share), factor**share)


def log_sister_density(
    distance: Floats, log_distance: Floats, n_dims: int, distribution: DaughterDistribution
) -> Floats:
    """Log density of the position of one daughter seen from the other, in any direction (candidates,).

    Args:
        distance, log_distance: float64 (candidates,), of `DaughterGeometry`.
        n_dims: 2 or 3.
        distribution: DaughterDistribution.
    """
    scale = distribution.log_distance_scale
    ring = log_t_density(((log_distance - distribution.log_distance_median) / scale) ** 2) - np.log(scale)
    directions = np.log(2 * np.pi if n_dims == 2 else 4 * np.pi)
    density: Floats = ring - directions - n_dims * np.log(distance)
    return density


def _weighted_median(values: Floats, weights: Floats) -> float:
    return float(np.quantile(values, 0.5, weights=weights, method="inverted_cdf"))


def _lengths_with_slack(vectors: Floats, between: Floats, length: Floats, slack: Floats) -> Floats:
    """Lengths of vectors (candidates, 3), up to `slack` shorter along the direction of `between`, of this length."""
    along = np.einsum("ij,ij->i", vectors, between) / np.maximum(length, 0.1)
    across = np.sqrt(np.maximum(np.einsum("ij,ij->i", vectors, vectors) - along**2, 0))
    result: Floats = np.hypot(across, np.maximum(np.abs(along) - slack, 0))
    return result


def score_divisions(
    detections: Detections, model: MotionModel, triples: DivisionTriples, linked: LinkedFrames, *, learn: bool = True
) -> tuple[Floats, Floats]:
    """Log-likelihood ratios of divisions against a mother that goes on as daughter A and a daughter B by chance.

    Args:
        detections: Detections.
        model: MotionModel.
        triples: DivisionTriples.
        linked: LinkedFrames.
        learn: whether to learn the distribution of daughters, and to use the mothers' sizes in earlier frames.

    Returns:
        float64 (candidates, EVIDENCE_TERMS), 0 for the prior; and float64 (candidates,), the part of them that depends
        on the frames of mother and daughters alone.
    """
    if not len(triples.mother):
        return np.zeros((0, len(EVIDENCE_TERMS))), np.zeros(0)
    mother, daughter_a, daughter_b = triples.mother, triples.daughter_a, triples.daughter_b
    intensities, log_sizes = detections.intensities, detections.log_sizes
    both_new = linked.before[daughter_a] == NO_DETECTION
    is_later = _has_missed_frame(detections, triples)
    terms = np.zeros((len(EVIDENCE_TERMS), len(mother))).T  # each term is contiguous: faster to fill and to add up
    geometry = DaughterGeometry(detections, model, triples, linked.before)
    terms[:, TERM["position"]] = geometry.log_likelihood_ratio(DaughterDistribution())
    terms[:, TERM["size"]] = _size_term(detections, model, triples, log_sizes[mother], both_new)
    terms[:, TERM["intensity"]] = 0.5 * log_likelihood_ratio_intensity(
        intensities[daughter_a], intensities[daughter_b], model, SISTER_INTENSITY_FACTOR
    )
    terms[:, TERM["overlap"]] = _overlap_term(detections, model, triples)
    terms[:, TERM["persistence"]] = _persistence_term(detections, triples, linked)
    age = _track_length(linked.before_gaps, mother)
    first_frame = detections.frames[mother] - age + 1
    terms[:, TERM["age"]] = np.where((age < LONG_TRACK_FRAMES) & (first_frame > 0), -2.0, 0.0)
    terms[:, TERM["missed"]] = np.where(is_later, np.log(model.miss_rate), 0.0)
    # A daughter A of the mother's shape is the mother; a different shape says little.
    shape = np.minimum(-log_likelihood_ratio_shape(detections.elongations, mother, daughter_a, model), 0.0)
    terms[:, TERM["shape"]] = np.where(both_new, 0.0, shape)
    terms *= LIKELIHOOD_TEMPERATURE
    # Two new objects may be any two.
    terms[:, TERM["newcomer"]] = -both_new.astype(float)
    if learn:
        distribution = geometry.learn(daughter_b, terms.sum(1))
        terms[:, TERM["position"]] = LIKELIHOOD_TEMPERATURE * geometry.log_likelihood_ratio(distribution)
        terms[:, TERM["overlap"]] *= distribution.overlap_weight
    in_these_frames = ("position", "size", "intensity", "overlap", "missed")
    geometry_llr: Floats = sum((terms[:, TERM[name]] for name in in_these_frames), np.zeros(len(mother)))
    if learn:
        predecessors, sure = linked.before_gaps.copy(), (terms.sum(1) > SURE_DIVISION_LLR) & ~is_later
        predecessors[daughter_a[sure]] = NO_DETECTION
        newborn = np.concatenate([daughter_a[sure], daughter_b[sure]])
        terms[_are_newborn(predecessors, mother, newborn), TERM["age"]] = NEWBORN_LLR
        earlier_sizes = _median_log_sizes(log_sizes, predecessors, mother)
        rounded = _size_term(detections, model, triples, earlier_sizes, both_new) + MITOTIC_ROUNDING_LLR
        terms[:, TERM["size"]] = np.maximum(terms[:, TERM["size"]], LIKELIHOOD_TEMPERATURE * rounded)
    return terms, geometry_llr


def _has_missed_frame(detections: Detections, triples: DivisionTriples) -> Bools:
    """Whether daughter B is not in the frame after the mother's (candidates,)."""
    return detections.frames[triples.daughter_b] - detections.frames[triples.mother] > 1


def _persistence_term(detections: Detections, triples: DivisionTriples, linked: LinkedFrames) -> Floats:
    """Both daughters exist for some frames, as far as the movie lasts (candidates,)."""
    a, b = triples.daughter_a, triples.daughter_b
    length = np.minimum(_track_length(linked.after_gaps, a), _track_length(linked.after_gaps, b))
    frames_left = detections.n_frames - detections.frames[b]  # including this one
    is_long = length >= np.minimum(frames_left, LONG_TRACK_FRAMES)
    llr = np.where(is_long, 0.5, np.where(length == 1, -3.0, -1.5))
    # Objects at the border may leave the image.
    at_border = detections.touches_border[a] | detections.touches_border[b]
    return np.where(at_border, np.maximum(llr, 0), llr)


def _are_newborn(predecessors: Indices, mother: Indices, newborn: Indices) -> Bools:
    """Whether mothers are among the `newborn` detections, or were in the frame before (candidates,)."""
    is_newborn = np.zeros(len(predecessors), bool)
    is_newborn[newborn] = True
    previous = np.where(predecessors[mother] == NO_DETECTION, mother, predecessors[mother])
    either: Bools = is_newborn[mother] | is_newborn[previous]
    return either


def _median_log_sizes(log_sizes: Floats, predecessors: Indices, indices: Indices) -> Floats:
    """Median log size of detections over their last three frames, or as many as there are."""
    previous = np.where(predecessors[indices] == NO_DETECTION, indices, predecessors[indices])
    last, second_last = log_sizes[indices], log_sizes[previous]
    # The median of two is their mean.
    mean = (last + second_last) / 2
    third_last = np.where(predecessors[previous] == NO_DETECTION, mean, log_sizes[predecessors[previous]])
    return np.maximum(np.minimum(last, second_last), np.minimum(np.maximum(last, second_last), third_last))


def _size_term(
    detections: Detections, model: MotionModel, triples: DivisionTriples, mother_log_sizes: Floats, both_new: Bools
) -> Floats:
    """The daughters' sizes add up to the mother's, roughly (candidates,).

    The alternative is a mother whose size persists, and a newcomer.

    Args:
        detections: Detections.
        model: MotionModel.
        triples: DivisionTriples.
        mother_log_sizes: float64 (candidates,).
        both_new: bool (candidates,), whether daughter A has no predecessor either.
    """
    size_a, size_b = detections.log_sizes[triples.daughter_a], detections.log_sizes[triples.daughter_b]
    newcomers = detections.log_sizes[np.unique(triples.daughter_b)]
    border_mother, border_a, border_b = (
        detections.touches_border[indices] for indices in (triples.mother, triples.daughter_a, triples.daughter_b)
    )
    at_border = border_mother | border_a | border_b
    log_sum = np.logaddexp(size_a, size_b) - mother_log_sizes
    scale = np.hypot(SIZE_SUM_SCALE, model.size_change_scale)
    scale = np.hypot(scale, np.where(at_border, BORDER_SIZE_SCALE, 0))
    divided = log_t_density(((log_sum - model.growth) / scale) ** 2) - np.log(scale)
    scale = np.hypot(SIZE_RATIO_SCALE, np.where(border_a | border_b, BORDER_SIZE_SCALE, 0))
    divided += log_t_density(((size_a - size_b) / scale) ** 2) - np.log(scale)
    newcomer_a, newcomer_b = (
        np.where(border, log_size_density(sizes, True, model), _newcomer_size_density(sizes, model, newcomers))
        for sizes, border in ((size_a, border_a), (size_b, border_b))
    )
    successor = log_size_change_density(size_a - mother_log_sizes, border_mother | border_a, model)
    llr = divided - np.where(both_new, newcomer_a, successor) - newcomer_b
    llr = model.size_informativeness * np.clip(llr, *SIZE_LLR_LIMITS)
    # Sizes of objects at the border are evidence against a division, but hardly for it.
    return np.where(at_border, np.minimum(llr, 0.25 * llr), llr)


def _newcomer_size_density(log_sizes: Floats, model: MotionModel, newcomers: Floats) -> Floats:
    """Log density of the log sizes of objects that appear by chance.

    It is the mean of the density of all objects and that of all objects without a predecessor, `newcomers`.
    """
    median = np.median(newcomers)
    scale = max(robust_scale(newcomers - median, 0.25), 0.25)
    all_objects, new_objects = (
        log_t_density(((log_sizes - middle) / width) ** 2) - np.log(width)
        for middle, width in ((model.log_size_median, model.log_size_scale), (median, scale))
    )
    result: Floats = np.logaddexp(all_objects, new_objects) - np.log(2)
    return result


def _overlap_term(detections: Detections, model: MotionModel, triples: DivisionTriples) -> Floats:
    """Daughter B overlaps the mother (candidates,): if cells move little, daughters do and newcomers do not."""
    count = len(detections) + 1
    no_pairs = np.zeros(0, int)
    keys = np.concatenate([no_pairs, *(each.before * count + each.after for each in detections.overlaps)])
    pixels = np.concatenate([no_pairs, *(each.pixels for each in detections.overlaps), [0]])
    order = np.argsort(keys)
    wanted = triples.mother * count + triples.daughter_b
    position = np.append(order, len(keys))[np.searchsorted(keys, wanted, sorter=order)]
    found = np.append(keys, NO_DETECTION)[position] == wanted
    shared = np.where(found, pixels[position], 0)
    share = shared / detections.sizes[triples.daughter_b]
    llr = np.select([share < 0.1, share < 0.35, share < 0.6], [-3.0, -1.0, 0.5], 2.0)
    # Overlaps are known between consecutive frames only.
    return np.where(_has_missed_frame(detections, triples), 0, llr * model.median_iou)


def _track_length(links: Indices, indices: Indices) -> Indices:
    """Number of frames of tracks from `indices` on, in the direction of `links`, at most LONG_TRACK_FRAMES."""
    length = np.ones(len(indices), int)
    current = indices.copy()
    for _ in range(LONG_TRACK_FRAMES - 1):
        current = np.where(current >= 0, links[np.maximum(current, 0)], NO_DETECTION)
        length += current >= 0
    return length
