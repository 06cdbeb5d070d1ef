"""Motions: how the objects of a movie move and change from frame to frame, learned from the movie itself."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

TAIL = 3.0  # degrees of freedom of Student's t: cells now and then do what most do not
T_MEDIANS = {1: 0.765, 2: 1.328, 3: 1.732}  # of the length of what is distributed so, in 1 to 3 dimensions
OVERLAP_EDGES = np.array([0.0, 1e-9, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85])  # bins of intersection over union
LEAST_SHIFT_PX = 0.3  # centres of masks are not known better than that
# What place, size, overlap and time say is not independent, so that all together say less than their sum; found by
# trial on simulated movies.
TEMPER = 0.5
USUAL_MISSED = 0.02  # of the objects of a frame
RARELY_LOST = 0.01  # of the objects go, or come, for no reason
MOST_EVIDENCE, LEAST_EVIDENCE = 4.0, -6.0  # nats that size, shape or intensity alone can say


@dataclass(frozen=True)
class Motion:
    """What is usual in a movie.

    Attributes:
        shift: scale of the displacements that remain when the motion was foreseen, in pixels of x.
        persistence: share of the last displacement that a cell makes again, 0 to 1.
        growth, size_spread: median and scale of the logarithm of the ratio of sizes, from frame to frame.
        sizes_tell: how much sizes tell of divisions, 0 to 1: nothing where all are alike, or none lasts, as of markers.
        spacing: median distance from an object to the next one, pixels of x.
        intensity_spread: scale of the change of `intensities`; None where they are unknown.
        shape_lasting: share of its difference from the median shape that an object keeps, 0 to 1; 0: it is unknown.
        shape_spread: scale of the difference that remains when the shape was foreseen.
        shapes: median (2,) and scale of the shapes of objects that the border does not cut.
        sizes: median and scale of the logarithm of the sizes of all objects.
        cut_spread, cut_sizes: `size_spread` and `sizes` of objects that the border cuts.
        overlap: float64 (bins,), log-likelihood ratio of each bin of the intersection over union.
        usual_overlap: median intersection over union of linked objects.
        lost, lost_cut: share of objects that have no successor, away from the border and at it.
        dimensions: 2 or 3.
    """

    shift: float
    persistence: float = 0.0
    growth: float = 0.0
    size_spread: float = 0.15
    sizes_tell: float = 1.0
    spacing: float = 0.0
    intensity_spread: float = None
    shape_lasting: float = 0.0
    shape_spread: float = 1.0
    shapes: tuple = (np.zeros(2), 1.0)
    sizes: tuple = (0.0, 0.5)
    cut_spread: float = 0.5
    cut_sizes: tuple = (0.0, 1.0)
    overlap: np.ndarray = None
    usual_overlap: float = 0.0
    lost: float = 0.02
    lost_cut: float = 0.2
    dimensions: int = 2

    @property
    def missed(self):
        """Share of the objects that are missed in a frame: usually few, and no more than have no successor."""
        return min(self.lost, USUAL_MISSED)

    def shift_after(self, frames):
        """Scale of the displacement that remains after so many frames: a change of speed lasts as speeds do."""
        steps = np.arange(frames)
        lasting = np.cumsum(self.persistence**steps)
        return self.shift * float(np.sqrt((lasting**2).sum()))


def log_t(squares, dimensions=1):
    """Logarithm of the density of Student's t with TAIL degrees of freedom and scale 1, at the squares of distances."""
    constant = gammaln((TAIL + dimensions) / 2) - gammaln(TAIL / 2) - dimensions / 2 * np.log(TAIL * np.pi)
    return constant - (TAIL + dimensions) / 2 * np.log1p(squares / TAIL)


def log_shift(distances, scale, dimensions):
    """Logarithm of the density of a displacement of that length."""
    return log_t((distances / scale) ** 2, dimensions) - dimensions * np.log(scale)


def lengths_of(ways):
    """Lengths of vectors (vectors, 3), far quicker than `np.linalg.norm`, which goes through short rows one by one."""
    return np.sqrt(np.einsum("ij,ij->i", ways, ways))


def log_growth(ratios, cut, motion):
    """Logarithm of the density of the ratios of sizes of one object.

    Args:
        ratios: logarithms of the later size over the earlier, for the growth of one frame.
        cut: whether the border cuts the object in one of the frames.
        motion: Motion.
    """
    whole = log_t(((ratios - motion.growth) / motion.size_spread) ** 2) - np.log(motion.size_spread)
    return np.where(cut, log_t((ratios / motion.cut_spread) ** 2) - np.log(motion.cut_spread), whole)


def log_sizes(sizes, cut, motion):
    """Logarithm of the density of sizes (logarithms) among all objects, those that the border cuts by themselves."""
    found = (
        log_t(((sizes - middle) / spread) ** 2) - np.log(spread) for middle, spread in (motion.cut_sizes, motion.sizes)
    )
    return np.where(cut, *found)


def size_evidence(ratios, anyone, cut, motion):
    """What the ratios of sizes say for one object rather than any: log-likelihood ratios.

    Args:
        ratios: logarithms of the later size over the earlier.
        anyone: `log_sizes` of the later size.
        cut: whether the border cuts the earlier or the later object.
        motion: Motion.
    """
    return np.clip(log_growth(ratios, cut, motion) - anyone, LEAST_EVIDENCE, MOST_EVIDENCE)


def intensity_evidence(before, after, motion, times=1.0):
    """What two intensities say for one object rather than any: log-likelihood ratios, 0 where they are unknown.

    `times` is how many times more they differ than those of one object from frame to frame.
    """
    if motion.intensity_spread is None:
        return np.zeros(len(before))
    spread = min(times * motion.intensity_spread, 1.0)
    usual = log_t(((after - before) / spread) ** 2) - np.log(spread)
    evidence = np.clip(usual - log_t(after**2), LEAST_EVIDENCE, MOST_EVIDENCE)
    return np.where(np.isnan(evidence), 0.0, evidence)


def shape_evidence(shapes, first, second, motion, frames=1):
    """What shapes say for pairs being one object rather than any two: log-likelihood ratios, 0 where they are unknown.

    Args:
        shapes: of Detections.
        first, second: rows (pairs,).
        motion: Motion.
        frames: from the first to the second.
    """
    if motion.shape_lasting == 0:
        return np.zeros(len(first))
    middle, spread = motion.shapes
    before, after = (shapes.take(rows, axis=0) - middle for rows in (first, second))
    # What is left of a difference gets less with each frame, and what was added since adds up.
    added = motion.shape_spread * np.sqrt((motion.shape_lasting ** (2 * np.arange(frames))).sum())
    changes = lengths_of(after - motion.shape_lasting**frames * before)
    evidence = log_shift(changes, min(added, spread), 2) - log_shift(lengths_of(after), spread, 2)
    return np.nan_to_num(np.clip(evidence, LEAST_EVIDENCE, MOST_EVIDENCE), nan=0.0)


def overlap_bins(shared, one, two):
    """Bin of OVERLAP_EDGES of the intersection over union of objects of the sizes `one` and `two`."""
    bins = np.zeros(len(shared), int)
    both = np.flatnonzero(shared)  # few pairs overlap
    ious = shared[both] / (one[both] + two[both] - shared[both])
    bins[both] = np.searchsorted(OVERLAP_EDGES, ious, side="left").clip(0, len(OVERLAP_EDGES) - 1)
    return bins


def spread_of(values, least):
    """Scale of values around 0, not less than `least`: their median size over that of a normal distribution's."""
    return max(float(np.median(np.abs(values))) / 0.6745, least) if len(values) else least


def wide_spread_of(values, least):
    """`spread_of`, or more where a fifth of the values are farther out than Student's t tells.

    Where half of the values are nearly alike, as where edges jump by a pixel, the median alone would be far too sure.
    """
    return max(float(np.quantile(np.abs(values), 0.8)) / 1.638 if len(values) else 0, spread_of(values, least))
