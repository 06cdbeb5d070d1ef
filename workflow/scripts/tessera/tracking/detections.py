"""Detections: where the objects of a movie are, how large and how bright, and which overlap from frame to frame."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from tessera.common.run_length import count_shared_pixels, encode_runs
from tessera.tracking.drift_correction import FEW, align_foreground, estimate_drift


@dataclass
class Detections:
    """The objects of a movie, frame after frame, and within a frame by rising label; lengths are in pixels of x.

    Attributes:
        starts: int64 (frames + 1,), the rows of frame t are starts[t] to starts[t + 1].
        labels: int64 (objects,), ids in their own frame.
        centres: float64 (objects, 3), z, y, x in pixels of x, so that they are as long in each direction.
        sizes: float64 (objects,), pixels.
        intensities: float64 (objects,), the mean of each less the mean of the frame's objects, over the deviation of
            all; NaN where it is unknown.
        shapes: float64 (objects, 2), see `elongations`; NaN of those that the border cuts.
        boxes: int32 (objects, 6), z0, y0, x0, z1, y1, x1 in pixels, half-open.
        cut: bool (objects,), whether the border of the image, in y or x, cuts it.
        drifts: float64 (frames, 3), how far everything moved since the frame before, in pixels of x.
        overlaps: for each frame but the first, three arrays (pairs,): row in the frame before, row, pixels that both
            have when the drift is taken back.
        steps: float64 (3,), size of a pixel in z, y, x over that in x.
        shape: (z, y, x) pixels of a frame.
    """

    starts: np.ndarray
    labels: np.ndarray
    centres: np.ndarray
    sizes: np.ndarray
    intensities: np.ndarray
    shapes: np.ndarray
    boxes: np.ndarray
    cut: np.ndarray
    drifts: np.ndarray
    overlaps: list
    steps: np.ndarray
    shape: tuple
    _trees: dict = field(default_factory=dict, init=False, repr=False)
    _forwards: "Detections" = field(default=None, init=False, repr=False)

    @property
    def frames(self):
        return len(self.starts) - 1

    @cached_property
    def times(self):
        """Frame of each object: int32 (objects,)."""
        return np.repeat(np.arange(self.frames, dtype=np.int32), np.diff(self.starts))

    @cached_property
    def logs(self):
        """Logarithms of the sizes: float64 (objects,)."""
        return np.log(self.sizes)

    @cached_property
    def dimensions(self):
        """2, or 3 where objects lie at more than one depth."""
        depths = self.centres[:, 0]
        return 3 if self.shape[0] > 1 and len(depths) and np.ptp(depths) > 0 else 2

    @cached_property
    def radii(self):
        """Of the disc or ball as large as each object, in pixels of x: float64 (objects,)."""
        sizes = self.sizes * np.prod(self.steps[-self.dimensions :])
        if self.dimensions == 2:
            # What goes through the planes of a stack alike is as wide as it is in one of them.
            sizes = sizes / (self.boxes[:, 3] - self.boxes[:, 0]).clip(1)
        return np.sqrt(sizes / np.pi) if self.dimensions == 2 else np.cbrt(3 * sizes / (4 * np.pi))

    def rows(self, t):
        """The rows of frame t, as a slice."""
        return slice(self.starts[t], self.starts[t + 1])

    def indices(self, t):
        """The rows of frame t, int64."""
        return np.arange(self.starts[t], self.starts[t + 1])

    def nearest(self, t, places, most, reach=np.inf):
        """The objects of frame t whose centres are nearest to places.

        Args:
            t: frame, which has objects.
            places: float64 (places, 3), z, y, x in pixels of x.
            most: objects for each place.
            reach: pixels of x.

        Returns:
            Distances (places, most, or all objects if these are fewer), rising, inf beyond `reach`; positions in the
            frame, then the number of its objects.
        """
        if self._forwards is not None:
            near, at = self._forwards.nearest(self.frames - 1 - t, places, most, reach)
            count = int(self.starts[t + 1] - self.starts[t])
            return near, np.where(at < count, count - 1 - at, count)
        if t not in self._trees:
            self._trees[t] = grow_tree(self.centres[self.rows(t)])
        return query_tree(self._trees[t], places, most, reach)

    def reversed(self):
        """The movie backwards; row r becomes row -1 - r."""
        count = len(self.labels)
        columns = {
            name: getattr(self, name)[::-1]
            for name in ("labels", "centres", "sizes", "intensities", "shapes", "boxes", "cut")
        }
        drifts = np.zeros_like(self.drifts)
        drifts[1:] = -self.drifts[:0:-1]
        overlaps = [(count - 1 - two, count - 1 - one, shared) for one, two, shared in reversed(self.overlaps)]
        told = {"starts": count - self.starts[::-1], "drifts": drifts, "overlaps": overlaps}
        result = Detections(**columns, **told, steps=self.steps, shape=self.shape)
        result._forwards = self
        return result


def grow_tree(centres):
    """A KD-tree that is not balanced: quicker to build, and objects lie evenly enough."""
    return cKDTree(centres, balanced_tree=False, compact_nodes=False)


def query_tree(tree, places, most, reach):
    """As `Detections.nearest`, of the centres that a tree holds."""
    most = min(most, tree.n)
    near, at = tree.query(places, k=most, distance_upper_bound=reach)
    return near.reshape(len(places), most), at.reshape(len(places), most)


def detect(frames, *, steps=(1.0, 1.0, 1.0)):
    """Find the objects of a movie; two frames are in memory at a time.

    Args:
        frames: pairs (labels integers (z, y, x), pixels (c, z, y, x) or None) of each frame.
        steps: size of a pixel in z, y, x; only their ratios count.

    Returns:
        Detections.
    """
    steps = np.asarray(steps, float) / steps[-1]
    parts, overlaps, drifts, before, shape = [], [], [], None, None
    first = 0
    for labels, pixels in frames:
        shape = labels.shape
        part = measure_frame(labels, pixels, steps)
        drift = np.zeros(3)
        if before is not None:
            drift = estimate_drift(parts[-1]["centres"], part["centres"], parts[-1]["sizes"], part["sizes"], steps)
            if min(len(parts[-1]["labels"]), len(part["labels"])) < FEW:
                drift = steps * align_foreground(before, labels, drift / steps)
            one, two, shared = overlap_frames(before, labels, np.rint(drift / steps).astype(int))
            one = first - len(parts[-1]["labels"]) + np.searchsorted(parts[-1]["labels"], one)
            overlaps.append((one, first + np.searchsorted(part["labels"], two), shared))
        first += len(part["labels"])
        parts.append(part)
        drifts.append(drift)
        before = labels
    counts = [len(part["labels"]) for part in parts]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Detections(
        starts=np.concatenate([[0], np.cumsum(counts)]),
        intensities=_standardise(whole.pop("intensity"), counts),
        drifts=np.array(drifts),
        overlaps=overlaps,
        steps=steps,
        shape=shape,
        **whole,
    )


def measure_frame(labels, pixels, steps):
    """Objects of one frame.

    Args:
        labels: integers (z, y, x), 0 is background.
        pixels: (c, z, y, x) or None.
        steps: size of a pixel in z, y, x.

    Returns:
        {name: array (objects, ...)} of labels, centres, sizes, intensity, shapes, boxes and cut, see `Detections`.
    """
    _, height, width = labels.shape
    runs = encode_runs(np.ascontiguousarray(labels).reshape(-1, width))
    inside = runs.values > 0
    ids, of = np.unique(runs.values[inside], return_inverse=True)
    count, n = len(ids), runs.lengths[inside]
    line, x = np.divmod(runs.starts[inside], width)
    z, y = np.divmod(line, height)
    sizes = np.bincount(of, n, count)
    sums = [np.bincount(of, n * values, count) for values in (z, y, x + (n - 1) / 2)]
    low = np.full((count, 3), np.iinfo(np.int32).max, np.int32)
    high = np.zeros((count, 3), np.int32)
    for axis, (start, stop) in enumerate(((z, z + 1), (y, y + 1), (x, x + n))):
        np.minimum.at(low[:, axis], of, start.astype(np.int32))
        np.maximum.at(high[:, axis], of, stop.astype(np.int32))
    intensity = np.full(count, np.nan)
    if pixels is not None and count:
        mean = np.zeros(count)
        for channel in pixels:
            values = np.nan_to_num(channel.astype(np.float64, copy=False), nan=0, posinf=0, neginf=0)
            mean += np.bincount(of, np.add.reduceat(values.ravel(), runs.starts)[inside], count) / sizes
        intensity = mean / len(pixels)
    cut = (low[:, 1:] == 0).any(1) | (high[:, 1] == height) | (high[:, 2] == width)
    shapes = elongations(of, n, y, x + (n - 1) / 2, sizes, steps)
    shapes[cut] = np.nan
    return {
        "labels": ids.astype(np.int64),
        "centres": np.stack(sums, axis=1).reshape(-1, 3) / sizes[:, None] * steps,
        "sizes": sizes,
        "intensity": intensity,
        "shapes": shapes,
        "boxes": np.concatenate([low, high], axis=1),
        "cut": cut,
    }


def elongations(of, lengths, y, x, sizes, steps):
    """How long objects are, and in which direction: the difference of the second central moments over their sum.

    That is (yy - xx, 2 xy) / (yy + xx): 0 of a disc, of length 1 of a line, and turned twice as far as the object is.

    Args:
        of: int64 (runs,), object of each run of pixels along x.
        lengths: pixels (runs,).
        y, x: of the middles of the runs, pixels (runs,).
        sizes: pixels (objects,).
        steps: size of a pixel in z, y, x.

    Returns:
        float64 (objects, 2); NaN of a single pixel.
    """
    count = len(sizes)
    middle_y, middle_x = (np.bincount(of, lengths * values, count) / sizes for values in (y, x))
    y, x = (y - middle_y[of]) * steps[1], (x - middle_x[of]) * steps[2]
    along = (lengths**2 - 1) / 12 * steps[2] ** 2  # of a run about its own middle
    yy, xx, xy = (np.bincount(of, lengths * squares, count) for squares in (y * y, x * x + along, x * y))
    with np.errstate(invalid="ignore"):
        return np.stack([yy - xx, 2 * xy], axis=1) / (yy + xx)[:, None]


def overlap_frames(before, after, shift):
    """Pairs of objects that share pixels when the later frame is moved back by `shift` (z, y, x) pixels.

    Args:
        before, after: integers (z, y, x).
        shift: whole pixels.

    Returns:
        Labels before, labels after, pixels: int64 (3, pairs).
    """
    ours, theirs = [], []
    for by, size in zip(shift, before.shape, strict=True):
        ours.append(slice(max(-by, 0), max(size - max(by, 0), 0)))
        theirs.append(slice(max(by, 0), max(size + min(by, 0), 0)))
    return count_shared_pixels(before[tuple(ours)], after[tuple(theirs)])


def _standardise(intensity, counts):
    """Intensities less the mean of their frame, over the deviation of all that remains."""
    frame = np.repeat(np.arange(len(counts)), counts)
    known = np.isfinite(intensity)
    if not known.all() or not len(intensity):
        return np.full(len(intensity), np.nan)
    mean = np.bincount(frame, intensity, len(counts)) / np.maximum(counts, 1)
    rest = intensity - mean[frame]
    spread = rest.std()
    return rest / spread if spread > 0 else np.zeros(len(rest))
