"""Mask interpolation: labels with track ids, with masks for cells that were missed or merged with others.

The mask of a missed cell is interpolated between the masks before and after. A merged object is divided between its
cells. Frames are written one after the other, and only the masks of the cells in question are read again.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from tessera.tracking.array_types import Bools, Floats, Indices, Labels
from tessera.tracking.detections import NO_DETECTION, Detections
from tessera.tracking.tracker import TrackGraph

Region = tuple[slice, ...]


@dataclass(frozen=True)
class _MissingCell:
    """A cell that has no object of its own in a frame.

    Attributes:
        before, after: detections that give its shape and position.
        merged_into: the detection of the frame that it is part of; None if it was missed.
    """

    before: int
    after: int
    merged_into: int | None


@dataclass(frozen=True)
class _PlacedMask:
    """A mask, bool, and the region (z, y, x) of the frame that it covers; `track` is its track."""

    track: int
    region: Region
    mask: Bools


def interpolate_mask(
    first: Bools, last: Bools, fraction: float, voxel_size: Sequence[float] | Floats | None = None
) -> Bools:
    """Interpolate between two masks of one cell: the average of the signed distances to the outlines is positive.

    Raya and Udupa (1990), Shape-based interpolation of multidimensional objects, IEEE Trans. Med. Imaging 9, 32-42.

    Args:
        first, last: bool arrays of the same shape.
        fraction: 0 gives the first mask, 1 the last one.
        voxel_size: size of a voxel along each axis; None: all equal.
    """
    distance = (1 - fraction) * _signed_distance(first, voxel_size) + fraction * _signed_distance(last, voxel_size)
    mask: Bools = distance > 0
    return mask


def _signed_distance(mask: Bools, voxel_size: Sequence[float] | Floats | None) -> Floats:
    """Distance to the outline, positive inside."""
    padded = np.pad(mask, 1)
    inside = ndimage.distance_transform_edt(padded, sampling=voxel_size)
    outside = ndimage.distance_transform_edt(~padded, sampling=voxel_size)
    distance: Floats = (inside - outside)[tuple([slice(1, -1)] * mask.ndim)]
    return distance


def relabel(labels: Labels, old: Indices, new: Indices, dtype: DTypeLike) -> NDArray[np.integer]:
    """Replace the increasing ids `old` by `new`; background and all other ids become 0."""
    if not len(old):
        return np.zeros(labels.shape, dtype)
    first = int(old[0])
    lookup = np.zeros(int(old[-1]) - first + 3, dtype)
    lookup[old - first + 1] = new
    result: NDArray[np.integer] = lookup[(labels.astype(np.int64) - (first - 1)).clip(0, len(lookup) - 1)]
    return result


class TrackLabels:
    """Labels with track ids, frame by frame."""

    def __init__(
        self,
        detections: Detections,
        graph: TrackGraph,
        tracks: Indices,
        read: Callable[[int, Region], Labels],
        *,
        interpolate_gaps: bool = True,
    ) -> None:
        """Find out which cells are missing in which frame.

        Args:
            detections: Detections.
            graph: TrackGraph.
            tracks: int64 (detections,), of `tessera.tracking.lineage.number_tracks`.
            read: read(t, region) returns the original labels (z, y, x) of a region (slices) of frame t.
            interpolate_gaps: whether missed cells get masks.
        """
        self._detections, self._tracks, self._read = detections, tracks, read
        self._merged = set(graph.merged_into.values())
        self._fragments: dict[int, list[int]] = defaultdict(list)
        for fragment in np.flatnonzero(graph.fragment_of != NO_DETECTION).tolist():
            self._fragments[int(graph.fragment_of[fragment])].append(fragment)
        self._missing: dict[int, list[_MissingCell]] = defaultdict(list)
        frames = detections.frames
        for after in graph.gaps:
            before = int(graph.before[after])
            for t in range(frames[before] + 1, frames[after]):
                merged_into = graph.merged_into.get((after, t))
                if merged_into is not None or interpolate_gaps:
                    self._missing[t].append(_MissingCell(*self._shape_sources(before, after), merged_into))
        # A mother or a daughter that was missed at the division gets the mask in which it was seen last or first.
        for division in graph.divisions if interpolate_gaps else ():
            daughters = (division.daughter_a, division.daughter_b)
            first_frame = min(frames[list(daughters)])
            for t in range(frames[division.mother] + 1, first_frame):
                self._missing[t].append(_MissingCell(division.mother, division.mother, None))
            for daughter in daughters:
                for t in range(first_frame, frames[daughter]):
                    self._missing[t].append(_MissingCell(daughter, daughter, None))

    def frame(self, t: int, labels: Labels, dtype: DTypeLike) -> NDArray[np.integer]:
        """Labels with track ids of frame t, (z, y, x); `labels` are the original ones."""
        frame = self._detections.frame_slice(t)
        result = relabel(labels, self._detections.labels[frame], self._tracks[frame], dtype)
        merged_cells: dict[int, list[_PlacedMask]] = defaultdict(list)
        for cell in self._missing[t]:
            placed = self._interpolate(cell, t)
            if placed is None:
                continue
            if cell.merged_into is None:
                result[placed.region][placed.mask & (result[placed.region] == 0)] = placed.track
            else:
                merged_cells[int(cell.merged_into)].append(placed)
        for merged, cells in merged_cells.items():
            self._divide_merged(result, labels, merged, cells)
        return result

    def _shape_sources(self, before: int, after: int) -> tuple[int, int]:
        """Detections that show the shape of a cell between `before` and `after`; a merged object does not."""
        sources = [index for index in (before, after) if index not in self._merged] or [before, after]
        return sources[0], sources[-1]

    def _read_mask(self, index: int) -> tuple[Indices, Bools, Floats]:
        """First corner, mask and center, in pixels, of a detection with its fragments."""
        detections, indices = self._detections, [index, *self._fragments[index]]
        low, high = detections.boxes[indices, :3].min(0), detections.boxes[indices, 3:].max(0)
        region = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        mask = np.isin(self._read(int(detections.frames[index]), region), detections.labels[indices])
        center = np.average(detections.centers[indices], axis=0, weights=detections.sizes[indices])
        return low, mask, center / detections.voxel_size

    def _interpolate(self, cell: _MissingCell, t: int) -> _PlacedMask | None:
        """Mask of a missing cell in frame t; None if it is outside the image."""
        detections = self._detections
        first, last = int(detections.frames[cell.before]), int(detections.frames[cell.after])
        fraction = (t - first) / (last - first) if cell.after != cell.before else 0.0
        corners, masks, centers = zip(*(self._read_mask(index) for index in (cell.before, cell.after)), strict=True)
        total_drift = np.cumsum(detections.drifts, axis=0)
        drift = total_drift[t] - total_drift[first] - fraction * (total_drift[last] - total_drift[first])
        center = (1 - fraction) * centers[0] + fraction * centers[1] + drift / detections.voxel_size
        # Both masks are moved to the interpolated center, by whole pixels.
        lows = [corner + np.rint(center - old).astype(int) for corner, old in zip(corners, centers, strict=True)]
        low = np.minimum(*lows)
        high = np.maximum(*(start + mask.shape for start, mask in zip(lows, masks, strict=True)))
        moved = np.zeros((2, *(high - low)), bool)
        for layer, start, mask in zip(moved, lows, masks, strict=True):
            layer[tuple(slice(a - b, a - b + n) for a, b, n in zip(start, low, mask.shape, strict=True))] = mask
        mask = interpolate_mask(moved[0], moved[1], fraction, detections.voxel_size)
        inside_low, inside_high = np.maximum(low, 0), np.minimum(high, detections.frame_shape)
        if (inside_low >= inside_high).any():
            return None
        region = tuple(slice(a, b) for a, b in zip(inside_low, inside_high, strict=True))
        inside = tuple(slice(a - b, c - b) for a, b, c in zip(inside_low, low, inside_high, strict=True))
        return _PlacedMask(int(self._tracks[cell.after]), region, mask[inside])

    def _divide_merged(
        self, frame: NDArray[np.integer], labels: Labels, merged: int, cells: Sequence[_PlacedMask]
    ) -> None:
        """Divide a merged object between its own track and other cells: each pixel goes to the nearest mask."""
        detections = self._detections
        box = detections.boxes[merged]
        region = tuple(slice(low, high) for low, high in zip(box[:3], box[3:], strict=True))
        whole = labels[region] == detections.labels[merged]
        tracks = [self._tracks[merged], *(cell.track for cell in cells)]
        claims = np.stack([whole, *(whole & _crop_to(region, cell) for cell in cells)])
        claims[0] &= ~claims[1:].any(0)
        distances = [
            ndimage.distance_transform_edt(~claim, sampling=detections.voxel_size)
            if claim.any()
            else np.full(whole.shape, np.inf)
            for claim in claims
        ]
        nearest = np.argmin(distances, axis=0)
        for number, track in enumerate(tracks):
            frame[region][whole & (nearest == number)] = track


def _crop_to(region: Region, placed: _PlacedMask) -> Bools:
    """The part of a mask within a region: bool, of the region's shape."""
    part = np.zeros([span.stop - span.start for span in region], bool)
    target, source = [], []
    for span, other in zip(region, placed.region, strict=True):
        low, high = max(other.start, span.start), min(other.stop, span.stop)
        target.append(slice(low - span.start, max(high, low) - span.start))
        source.append(slice(low - other.start, max(high, low) - other.start))
    part[tuple(target)] = placed.mask[tuple(source)]
    return part
