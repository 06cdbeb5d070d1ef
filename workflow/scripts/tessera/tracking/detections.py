"""Detections: position, size, shape and brightness of every object of a movie, and overlaps between frames.

The movie is read frame by frame; two frames are in memory at a time. Everything after `detect` works on these tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from tessera.common.run_length import count_shared_pixels, encode_runs
from tessera.tracking.array_types import Bools, Floats, Indices, Labels
from tessera.tracking.drift_correction import MAX_ALIGNED_OBJECTS, align_foreground, estimate_drift

NO_DETECTION = -1  # in arrays of indices: there is no such detection


class FrameOverlaps(NamedTuple):
    """Pairs of detections of consecutive frames that share pixels once the drift is removed.

    Attributes:
        before: int64 (pairs,), indices of detections of the earlier frame.
        after: int64 (pairs,), indices of detections of the later frame.
        pixels: int64 (pairs,), numbers of shared pixels.
    """

    before: Indices
    after: Indices
    pixels: Indices


@dataclass
class Detections:
    """The detections of a movie, sorted by frame and within a frame by label.

    Lengths are in pixels of x: positions along z and y are multiplied by the voxel size relative to x.

    Attributes:
        frame_starts: int64 (frames + 1,); the detections of frame t have the indices frame_starts[t] to
            frame_starts[t + 1] - 1.
        labels: int64 (detections,), ids in the labels of their own frame.
        centers: float64 (detections, 3), centroids (z, y, x) in pixels of x.
        sizes: float64 (detections,), numbers of pixels (voxels).
        intensities: float64 (detections,), mean intensity minus the mean of all objects of the frame, divided by the
            standard deviation over the movie; NaN if unknown.
        elongations: float64 (detections, 2), see `measure_elongations`; NaN for objects that touch the border.
        boxes: int32 (detections, 6), bounding boxes z0, y0, x0, z1, y1, x1 in pixels, half-open.
        touches_border: bool (detections,), whether the object touches the border of the image in y or x.
        drifts: float64 (frames, 3), displacement (z, y, x) of the whole frame since the previous frame, in pixels of x.
        overlaps: one FrameOverlaps for each pair of consecutive frames.
        voxel_size: float64 (3,), size of a voxel along z, y, x relative to x.
        frame_shape: (z, y, x) pixels of a frame.
    """

    frame_starts: Indices
    labels: Indices
    centers: Floats
    sizes: Floats
    intensities: Floats
    elongations: Floats
    boxes: NDArray[np.int32]
    touches_border: Bools
    drifts: Floats
    overlaps: list[FrameOverlaps]
    voxel_size: Floats
    frame_shape: tuple[int, ...]
    _trees: dict[int, Any] = field(default_factory=dict, init=False, repr=False)
    _time_reversed: "Detections | None" = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.frame_starts) - 1

    @cached_property
    def frames(self) -> NDArray[np.int32]:
        """Frame of each detection: int32 (detections,)."""
        return np.repeat(np.arange(self.n_frames, dtype=np.int32), np.diff(self.frame_starts))

    @cached_property
    def log_sizes(self) -> Floats:
        """Logarithms of the sizes: float64 (detections,)."""
        return np.log(self.sizes)

    @cached_property
    def n_dims(self) -> int:
        """Number of spatial dimensions: 3 if the detections have different depths, else 2."""
        depths = self.centers[:, 0]
        return 3 if self.frame_shape[0] > 1 and len(depths) and np.ptp(depths) > 0 else 2

    @cached_property
    def radii(self) -> Floats:
        """Radius of the disc (2-D) or ball (3-D) of the same size, in pixels of x: float64 (detections,)."""
        sizes = self.sizes * np.prod(self.voxel_size[-self.n_dims :])
        if self.n_dims == 2:
            # In a stack in which all objects span the same planes, the radius is that of the mean cross-section.
            sizes = sizes / (self.boxes[:, 3] - self.boxes[:, 0]).clip(1)
        return np.sqrt(sizes / np.pi) if self.n_dims == 2 else np.cbrt(3 * sizes / (4 * np.pi))

    def frame_slice(self, t: int) -> slice:
        """The detections of frame t as a slice of indices."""
        return slice(self.frame_starts[t], self.frame_starts[t + 1])

    def frame_indices(self, t: int) -> Indices:
        """The detections of frame t: int64 indices."""
        return np.arange(self.frame_starts[t], self.frame_starts[t + 1])

    def density(self, t: int) -> float:
        """Detections of frame t per area (2-D) or volume (3-D) of the image, in pixels of x squared or cubed."""
        centers = self.centers[self.frame_slice(t)][:, -self.n_dims :]
        span = np.array(self.frame_shape, float)[-self.n_dims :] * self.voxel_size[-self.n_dims :]
        return max(len(centers), 1) / float(np.prod(span))

    def nearest(self, t: int, positions: Floats, k: int, max_distance: float = np.inf) -> tuple[Floats, Indices]:
        """Find the detections of frame t whose centers are nearest to positions.

        Args:
            t: a frame with at least one detection.
            positions: float64 (positions, 3), z, y, x in pixels of x.
            k: detections for each position.
            max_distance: pixels of x.

        Returns:
            Distances float64 (positions, min(k, detections of t)), increasing, inf beyond `max_distance`; and the
            places int64 of the detections within the frame, the frame's number of detections where the distance is inf.
        """
        if self._time_reversed is not None:
            distances, places = self._time_reversed.nearest(self.n_frames - 1 - t, positions, k, max_distance)
            count = int(self.frame_starts[t + 1] - self.frame_starts[t])
            return distances, np.where(places < count, count - 1 - places, count)
        if t not in self._trees:
            self._trees[t] = build_tree(self.centers[self.frame_slice(t)])
        return query_tree(self._trees[t], positions, k, max_distance)

    def reversed(self) -> "Detections":
        """The movie played backwards; detection i becomes detection -1 - i."""
        count = len(self)
        columns = {
            name: getattr(self, name)[::-1]
            for name in ("labels", "centers", "sizes", "intensities", "elongations", "boxes", "touches_border")
        }
        drifts = np.zeros_like(self.drifts)
        drifts[1:] = -self.drifts[:0:-1]
        overlaps = [
            FrameOverlaps(count - 1 - each.after, count - 1 - each.before, each.pixels)
            for each in reversed(self.overlaps)
        ]
        result = Detections(
            **columns,
            frame_starts=count - self.frame_starts[::-1],
            drifts=drifts,
            overlaps=overlaps,
            voxel_size=self.voxel_size,
            frame_shape=self.frame_shape,
        )
        result._time_reversed = self
        return result


def build_tree(centers: Floats) -> Any:
    """A KD-tree of centers (detections, 3); it is not balanced, which is faster to build for evenly spread objects."""
    return cKDTree(centers, balanced_tree=False, compact_nodes=False)


def query_tree(tree: Any, positions: Floats, k: int, max_distance: float) -> tuple[Floats, Indices]:
    """As `Detections.nearest`, for the centers of a KD-tree."""
    k = min(k, tree.n)
    distances, places = tree.query(positions, k=k, distance_upper_bound=max_distance)
    return distances.reshape(len(positions), k), places.reshape(len(positions), k)


def detect(
    frames: Iterable[tuple[Labels, NDArray[Any] | None]], *, voxel_size: ArrayLike = (1.0, 1.0, 1.0)
) -> Detections:
    """Measure the objects of a movie, its drift, and the overlaps between consecutive frames.

    Args:
        frames: for each frame its labels, integers (z, y, x), and its pixels (c, z, y, x) or None.
        voxel_size: size of a voxel along z, y, x; only the ratios matter.
    """
    steps = np.asarray(voxel_size, float)
    steps = steps / steps[-1]
    tables: list[dict[str, NDArray[Any]]] = []
    overlaps, drifts, previous = [], [], None
    first, frame_shape = 0, (0, 0, 0)
    for labels, pixels in frames:
        frame_shape = labels.shape
        table = measure_frame(labels, pixels, steps)
        drift = np.zeros(3)
        if previous is not None:
            last = tables[-1]
            drift = estimate_drift(last["centers"], table["centers"], last["sizes"], table["sizes"], steps)
            if min(len(last["labels"]), len(table["labels"])) < MAX_ALIGNED_OBJECTS:
                drift = steps * align_foreground(previous, labels, drift / steps)
            before, after, shared = overlap_frames(previous, labels, np.rint(drift / steps).astype(int))
            before = first - len(last["labels"]) + np.searchsorted(last["labels"], before)
            after = first + np.searchsorted(table["labels"], after)
            overlaps.append(FrameOverlaps(before, after, shared))
        first += len(table["labels"])
        tables.append(table)
        drifts.append(drift)
        previous = labels
    counts = [len(table["labels"]) for table in tables]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return Detections(
        frame_starts=np.concatenate([[0], np.cumsum(counts)]),
        intensities=_standardize(columns.pop("intensity"), counts),
        drifts=np.array(drifts),
        overlaps=overlaps,
        voxel_size=steps,
        frame_shape=frame_shape,
        **columns,
    )


def measure_frame(labels: Labels, pixels: NDArray[Any] | None, voxel_size: Floats) -> dict[str, NDArray[Any]]:
    """Measure the objects of one frame.

    Args:
        labels: integers (z, y, x), 0 is background.
        pixels: (c, z, y, x) or None.
        voxel_size: size of a voxel along z, y, x relative to x.

    Returns:
        {name: array (objects, ...)}: labels, centers, sizes, elongations, boxes and touches_border as in `Detections`,
        and intensity, the mean over the object's pixels and all channels.
    """
    _, height, width = labels.shape
    runs = encode_runs(np.ascontiguousarray(labels).reshape(-1, width))
    foreground = runs.values > 0
    ids, object_of = np.unique(runs.values[foreground], return_inverse=True)
    count, lengths = len(ids), runs.lengths[foreground]
    line, x = np.divmod(runs.starts[foreground], width)
    z, y = np.divmod(line, height)
    sizes: Floats = np.bincount(object_of, lengths, count).astype(float, copy=False)
    sums = [np.bincount(object_of, lengths * values, count) for values in (z, y, x + (lengths - 1) / 2)]
    low = np.full((count, 3), np.iinfo(np.int32).max, np.int32)
    high = np.zeros((count, 3), np.int32)
    for axis, (start, stop) in enumerate(((z, z + 1), (y, y + 1), (x, x + lengths))):
        np.minimum.at(low[:, axis], object_of, start.astype(np.int32))
        np.maximum.at(high[:, axis], object_of, stop.astype(np.int32))
    intensity = np.full(count, np.nan)
    if pixels is not None and count:
        mean = np.zeros(count)
        for channel in pixels:
            values = np.nan_to_num(channel.astype(np.float64, copy=False), nan=0, posinf=0, neginf=0)
            of_runs = np.add.reduceat(values.ravel(), runs.starts)[foreground]
            mean += np.bincount(object_of, of_runs, count) / sizes
        intensity = mean / len(pixels)
    touches_border = (low[:, 1:] == 0).any(1) | (high[:, 1] == height) | (high[:, 2] == width)
    elongations = measure_elongations(object_of, lengths, y, x + (lengths - 1) / 2, sizes, voxel_size)
    elongations[touches_border] = np.nan
    return {
        "labels": ids.astype(np.int64),
        "centers": np.stack(sums, axis=1).reshape(-1, 3) / sizes[:, None] * voxel_size,
        "sizes": sizes,
        "intensity": intensity,
        "elongations": elongations,
        "boxes": np.concatenate([low, high], axis=1),
        "touches_border": touches_border,
    }


def measure_elongations(
    object_of: Indices, lengths: Indices, y: NDArray[Any], x: NDArray[Any], sizes: Floats, voxel_size: Floats
) -> Floats:
    """Elongation and orientation of objects in the y-x plane, from second central moments.

    The result is (yy - xx, 2 xy) / (yy + xx), where yy, xx and xy are the second central moments: its length is 0 for
    a disc and 1 for a line, and it rotates by twice the angle by which the object rotates. Stacks are seen from above.

    Args:
        object_of: int64 (runs,), object of each run of pixels along x.
        lengths: int64 (runs,), pixels of each run.
        y, x: (runs,), middles of the runs in pixels.
        sizes: float64 (objects,), pixels.
        voxel_size: size of a voxel along z, y, x.

    Returns:
        float64 (objects, 2); NaN for objects of a single pixel.
    """
    count = len(sizes)
    middle_y, middle_x = (np.bincount(object_of, lengths * values, count) / sizes for values in (y, x))
    y, x = (y - middle_y[object_of]) * voxel_size[1], (x - middle_x[object_of]) * voxel_size[2]
    within_run = (lengths**2 - 1) / 12 * voxel_size[2] ** 2  # variance of a run's pixels about its middle
    yy, xx, xy = (np.bincount(object_of, lengths * values, count) for values in (y * y, x * x + within_run, x * y))
    with np.errstate(invalid="ignore"):
        result: Floats = np.stack([yy - xx, 2 * xy], axis=1) / (yy + xx)[:, None]
        return result


def overlap_frames(before: Labels, after: Labels, shift: Indices) -> Indices:
    """Find the pairs of objects that share pixels once the later frame is moved back by the drift.

    Args:
        before, after: labels, integers (z, y, x).
        shift: drift (z, y, x) in whole pixels.

    Returns:
        int64 (3, pairs): labels before, labels after, shared pixels.
    """
    region_before, region_after = [], []
    for offset, size in zip(shift, before.shape, strict=True):
        region_before.append(slice(max(-offset, 0), max(size - max(offset, 0), 0)))
        region_after.append(slice(max(offset, 0), max(size + min(offset, 0), 0)))
    return count_shared_pixels(before[tuple(region_before)], after[tuple(region_after)])


def _standardize(intensity: Floats, counts: list[int]) -> Floats:
    """Subtract the mean of each frame and divide by the standard deviation of the remainder; NaN if any is unknown."""
    frame = np.repeat(np.arange(len(counts)), counts)
    known = np.isfinite(intensity)
    if not known.all() or not len(intensity):
        return np.full(len(intensity), np.nan)
    mean = np.bincount(frame, intensity, len(counts)) / np.maximum(counts, 1)
    residuals = intensity - mean[frame]
    deviation = residuals.std()
    return residuals / deviation if deviation > 0 else np.zeros(len(residuals))
