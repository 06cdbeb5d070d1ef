"""The motion model of a movie: how its objects move and change from frame to frame, and the resulting likelihoods.

Displacements, and changes of size, intensity and shape follow Student's t distributions, whose heavy tails allow for
cells that do something unusual now and then. `tessera.tracking.motion_estimation` learns the parameters from the
movie, so that there is no setting per movie.

All evidence is given as log-likelihood ratios, "the same object" against "any object". Position, size, overlap and time
are not independent, so sums of such ratios are multiplied by LIKELIHOOD_TEMPERATURE.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from tessera.tracking.array_types import Bools, Floats, Indices

T_DEGREES_OF_FREEDOM = 3.0
# Median length of vectors of independent components with this distribution and scale 1, in 1 to 3 dimensions.
T_MEDIAN_LENGTHS = {1: 0.765, 2: 1.328, 3: 1.732}
IOU_BIN_EDGES = np.array([0.0, 1e-9, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85])  # bins of intersection over union
MIN_DISPLACEMENT_SCALE_PX = 0.3  # the precision of the centers of masks
LIKELIHOOD_TEMPERATURE = 0.5  # factor of sums of dependent log-likelihood ratios; found on simulated movies
USUAL_MISS_RATE = 0.02  # share of the objects of a frame that a segmentation misses
UNEXPLAINED_RATE = 0.01  # share of the objects that disappear or appear without any reason
MAX_LLR, MIN_LLR = 4.0, -6.0  # limits of the log-likelihood ratio of size, shape or intensity alone


@dataclass(frozen=True)
class MotionModel:
    """Parameters of the motion and the changes of the objects of a movie.

    Lengths are in pixels of x. A "scale" is the scale parameter of a Student's t distribution.

    Attributes:
        displacement_scale: scale of the difference between predicted and actual positions, along each axis.
        velocity_persistence: share of the last displacement that an object repeats, 0 to 1.
        growth: median log ratio of an object's sizes in consecutive frames.
        size_change_scale: scale of that log ratio.
        size_informativeness: 0 to 1, how much sizes tell about divisions: 0 if all objects have the same size, or if
            sizes change at random from frame to frame, as those of markers do.
        neighbor_distance: median distance from an object to its nearest neighbor.
        intensity_change_scale: scale of the change of `Detections.intensities`; None if intensities are unknown.
        elongation_persistence: share of its difference from the median elongation that an object keeps from frame to
            frame, 0 to 1; 0 if elongations are unknown.
        elongation_change_scale: scale of the difference between predicted and actual elongations.
        elongation_median: float64 (2,), median elongation of objects that do not touch the border.
        elongation_scale: scale of elongations around it.
        log_size_median, log_size_scale: of the log sizes of all objects.
        border_size_change_scale, border_log_size_median, border_log_size_scale: the same for objects that touch the
            border.
        iou_llr: float64 (bins,), log-likelihood ratio of each bin of IOU_BIN_EDGES; None if unknown.
        median_iou: median intersection over union of linked objects.
        death_rate: share of the objects that have no successor, away from the border.
        border_death_rate: the same for objects that touch the border.
        n_dims: 2 or 3.
    """

    displacement_scale: float
    velocity_persistence: float = 0.0
    growth: float = 0.0
    size_change_scale: float = 0.15
    size_informativeness: float = 1.0
    neighbor_distance: float = 0.0
    intensity_change_scale: float | None = None
    elongation_persistence: float = 0.0
    elongation_change_scale: float = 1.0
    elongation_median: Floats | None = None
    elongation_scale: float = 1.0
    log_size_median: float = 0.0
    log_size_scale: float = 0.5
    border_size_change_scale: float = 0.5
    border_log_size_median: float = 0.0
    border_log_size_scale: float = 1.0
    iou_llr: Floats | None = None
    median_iou: float = 0.0
    death_rate: float = 0.02
    border_death_rate: float = 0.2
    n_dims: int = 2

    @property
    def miss_rate(self) -> float:
        """Share of the objects that are missed in a frame; at most the share that has no successor."""
        return min(self.death_rate, USUAL_MISS_RATE)

    def displacement_scale_after(self, frames: int) -> float:
        """Scale of the difference between predicted and actual positions after several frames.

        A change of velocity persists like the velocity itself, so its effect accumulates.
        """
        steps = np.arange(frames)
        effect = np.cumsum(self.velocity_persistence**steps)
        return self.displacement_scale * float(np.sqrt((effect**2).sum()))


def log_t_density(squared_distances: Floats | float, n_dims: int = 1) -> Floats:
    """Log density of Student's t with scale 1 at the squares of distances from its middle."""
    nu = T_DEGREES_OF_FREEDOM
    constant = gammaln((nu + n_dims) / 2) - gammaln(nu / 2) - n_dims / 2 * np.log(nu * np.pi)
    density: Floats = constant - (nu + n_dims) / 2 * np.log1p(squared_distances / nu)
    return density


def log_displacement_density(distances: Floats | float, scale: Floats | float, n_dims: int) -> Floats:
    """Log density, per pixel of x squared or cubed, of displacements of these lengths."""
    density: Floats = log_t_density((distances / scale) ** 2, n_dims) - n_dims * np.log(scale)
    return density


def vector_lengths(vectors: Floats) -> Floats:
    """Lengths of vectors (vectors, 2 or 3); many times faster than `np.linalg.norm` along short rows."""
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths


def log_size_change_density(log_ratios: Floats, touches_border: Bools, model: MotionModel) -> Floats:
    """Log density of the size ratios of one object in consecutive frames.

    Args:
        log_ratios: float64 (pairs,), log of the later size over the earlier size.
        touches_border: bool (pairs,), whether the object touches the border in one of the frames.
        model: MotionModel.
    """
    scale, border_scale = model.size_change_scale, model.border_size_change_scale
    inside = log_t_density(((log_ratios - model.growth) / scale) ** 2) - np.log(scale)
    result: Floats = np.where(
        touches_border, log_t_density((log_ratios / border_scale) ** 2) - np.log(border_scale), inside
    )
    return result


def log_size_density(log_sizes: Floats, touches_border: Bools | bool, model: MotionModel) -> Floats:
    """Log density of log sizes (detections,) among all objects; objects that touch the border have their own."""
    border, inside = (
        log_t_density(((log_sizes - median) / scale) ** 2) - np.log(scale)
        for median, scale in (
            (model.border_log_size_median, model.border_log_size_scale),
            (model.log_size_median, model.log_size_scale),
        )
    )
    result: Floats = np.where(touches_border, border, inside)
    return result


def log_likelihood_ratio_size(
    log_ratios: Floats, log_density_any: Floats, touches_border: Bools, model: MotionModel
) -> Floats:
    """Log-likelihood ratios of size ratios: the same object against any object.

    Args:
        log_ratios: float64 (pairs,), log of the later size over the earlier size.
        log_density_any: float64 (pairs,), `log_size_density` of the later size.
        touches_border: bool (pairs,), whether the earlier or the later object touches the border.
        model: MotionModel.
    """
    return np.clip(log_size_change_density(log_ratios, touches_border, model) - log_density_any, MIN_LLR, MAX_LLR)


def log_likelihood_ratio_intensity(before: Floats, after: Floats, model: MotionModel, factor: float = 1.0) -> Floats:
    """Log-likelihood ratios of intensities (pairs,): the same object against any object; 0 where unknown.

    Args:
        before, after: float64 (pairs,), of `Detections.intensities`.
        model: MotionModel.
        factor: times the change of one object from frame to frame, for objects that differ more.
    """
    if model.intensity_change_scale is None:
        return np.zeros(len(before))
    scale = min(factor * model.intensity_change_scale, 1.0)
    same = log_t_density(((after - before) / scale) ** 2) - np.log(scale)
    ratios = np.clip(same - log_t_density(after**2), MIN_LLR, MAX_LLR)
    return np.where(np.isnan(ratios), 0.0, ratios)


def log_likelihood_ratio_shape(
    elongations: Floats, first: Indices, second: Indices, model: MotionModel, frames: int = 1
) -> Floats:
    """Log-likelihood ratios of elongations (pairs,): the same object against any two objects; 0 where unknown.

    Args:
        elongations: float64 (detections, 2), of `Detections`.
        first, second: int64 (pairs,), indices of detections.
        model: MotionModel.
        frames: frames from the first to the second detection.
    """
    if model.elongation_persistence == 0 or model.elongation_median is None:
        return np.zeros(len(first))
    persistence, scale = model.elongation_persistence, model.elongation_scale
    before, after = (elongations.take(indices, axis=0) - model.elongation_median for indices in (first, second))
    # In each frame the old difference shrinks by the persistence and a new one is added.
    added = model.elongation_change_scale * np.sqrt((persistence ** (2 * np.arange(frames))).sum())
    changes = vector_lengths(after - persistence**frames * before)
    same = log_displacement_density(changes, min(added, scale), 2)
    ratios = same - log_displacement_density(vector_lengths(after), scale, 2)
    return np.nan_to_num(np.clip(ratios, MIN_LLR, MAX_LLR), nan=0.0)


def iou_bins(shared: NDArray[np.generic], sizes_before: Floats, sizes_after: Floats) -> Indices:
    """Bin of IOU_BIN_EDGES of the intersection over union of pairs.

    Args:
        shared: (pairs,), shared pixels.
        sizes_before, sizes_after: float64 (pairs,), pixels.
    """
    bins = np.zeros(len(shared), int)
    overlapping = np.flatnonzero(shared)  # few pairs overlap
    intersection: Floats = shared[overlapping].astype(float)
    ious = intersection / (sizes_before[overlapping] + sizes_after[overlapping] - intersection)
    bins[overlapping] = np.searchsorted(IOU_BIN_EDGES, ious, side="left").clip(0, len(IOU_BIN_EDGES) - 1)
    return bins


def robust_scale(values: Floats, minimum: float) -> float:
    """Standard deviation around 0, estimated from the median absolute value; at least `minimum`."""
    return max(float(np.median(np.abs(values))) / 0.6745, minimum) if len(values) else minimum


def robust_wide_scale(values: Floats, minimum: float) -> float:
    """`robust_scale`, or more if a fifth of the values is farther out than a Student's t of that scale allows.

    If half of the values are almost equal, as when edges of masks move by one pixel, the median alone gives a scale
    that is far too small. 1.638 is the 80 % quantile of the absolute value for 3 degrees of freedom.
    """
    wide = float(np.quantile(np.abs(values), 0.8)) / 1.638 if len(values) else 0.0
    return max(wide, robust_scale(values, minimum))
