"""Masks: labels whose ids last over time, with the masks of missed cells made up from those before and after."""

from collections import defaultdict

import numpy as np
from scipy import ndimage

from tessera.tracking.link_scores import NONE


def interpolate_mask(first, last, share, steps=None):
    """The mask between two of one cell, both in the same frame of reference.

    Signed distances to the two outlines are averaged (Raya and Udupa 1990, Shape-based interpolation of
    multidimensional objects).

    Args:
        first, last: bool arrays of the same shape.
        share: of the way from first to last, 0 to 1.
        steps: size of a pixel along each axis; None: all alike.
    """
    return (1 - share) * _signed(first, steps) + share * _signed(last, steps) > 0


def _signed(mask, steps):
    padded = np.pad(mask, 1)
    inside = ndimage.distance_transform_edt(padded, sampling=steps)
    outside = ndimage.distance_transform_edt(~padded, sampling=steps)
    return (inside - outside)[tuple([slice(1, -1)] * mask.ndim)]


def rename(labels, old, new, dtype):
    """Labels with the rising ids `old` made `new`; 0 stays 0, and so does what is not among them."""
    if not len(old):
        return np.zeros(labels.shape, dtype)
    first = int(old[0])
    names = np.zeros(int(old[-1]) - first + 3, dtype)
    names[old - first + 1] = new
    return names[(labels.astype(np.int64) - (first - 1)).clip(0, len(names) - 1)]


class Masks:
    """Frames of labels with ids that last, one after the other.

    Args:
        objects: Detections.
        trace: Trace.
        tracks: int64 (objects,), the id of each, see `tessera.tracking.lineage.number_tracks`.
        read: read(t, region) gives labels (z, y, x) of slices (z, y, x) of frame t as they came.
        fill: whether missed cells get masks.
    """

    def __init__(self, objects, trace, tracks, read, *, fill=True):
        self._objects, self._tracks, self._read = objects, tracks, read
        self._holders, self._pieces = set(trace.hides.values()), defaultdict(list)
        for piece in np.flatnonzero(trace.joins != NONE).tolist():
            self._pieces[int(trace.joins[piece])].append(piece)
        self._due = defaultdict(list)
        times = objects.times
        for last in trace.gaps:
            first = trace.before[last]
            for t in range(times[first] + 1, times[last]):
                hidden = trace.hides.get((last, t))
                if hidden is not None or fill:
                    self._due[t].append((*self._shapes_of(first, last), hidden))
        # A mother or a daughter that is missed at a division is as she was seen last or first.
        for mother, *daughters, _, _ in trace.divisions if fill else ():
            born = min(times[daughters])
            for t in range(times[mother] + 1, born):
                self._due[t].append((mother, mother, None))
            for daughter in daughters:
                for t in range(born, times[daughter]):
                    self._due[t].append((daughter, daughter, None))

    def frame(self, t, labels, dtype):
        """Labels of frame t (z, y, x) with ids that last; `labels` are those that came."""
        rows = self._objects.rows(t)
        frame = rename(labels, self._objects.labels[rows], self._tracks[rows], dtype)
        waiting = defaultdict(list)
        for first, last, hidden in self._due[t]:
            place, mask = self._made_up(first, last, t)
            if mask is None:
                continue
            if hidden is None:
                frame[place][mask & (frame[place] == 0)] = self._tracks[last]
            else:
                waiting[int(hidden)].append((self._tracks[last], place, mask))
        for hidden, parts in waiting.items():
            self._part(frame, labels, hidden, parts)
        return frame

    def _shapes_of(self, first, last):
        """Rows that tell the shape of a cell between `first` and `last`: one that holds two cells does not."""
        telling = [row for row in (first, last) if row not in self._holders] or [first, last]
        return telling[0], telling[-1]

    def _seen(self, row):
        """First corner, mask and centre in pixels of an object with its pieces."""
        objects, rows = self._objects, [row, *self._pieces[row]]
        low, high = objects.boxes[rows, :3].min(0), objects.boxes[rows, 3:].max(0)
        region = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        mask = np.isin(self._read(int(objects.times[row]), region), objects.labels[rows])
        centre = np.average(objects.centres[rows], axis=0, weights=objects.sizes[rows])
        return low, mask, centre / objects.steps

    def _made_up(self, first, last, t):
        """Place (slices) and mask of a cell in a frame in which it was missed; None where it is out of the image."""
        objects = self._objects
        times = objects.times
        share = (t - times[first]) / (times[last] - times[first]) if last != first else 0.0
        corners, masks, centres = zip(*(self._seen(int(row)) for row in (first, last)), strict=True)
        moved = np.cumsum(objects.drifts, axis=0)
        ahead = moved[t] - moved[times[first]] - share * (moved[times[last]] - moved[times[first]])
        centre = (1 - share) * centres[0] + share * centres[1] + ahead / objects.steps
        # Both masks are moved to the new centre, by whole pixels.
        lows = [corner + np.rint(centre - old).astype(int) for corner, old in zip(corners, centres, strict=True)]
        low = np.minimum(*lows)
        high = np.maximum(*(start + mask.shape for start, mask in zip(lows, masks, strict=True)))
        both = np.zeros((2, *(high - low)), bool)
        for layer, start, mask in zip(both, lows, masks, strict=True):
            layer[tuple(slice(a - b, a - b + n) for a, b, n in zip(start, low, mask.shape, strict=True))] = mask
        mask = interpolate_mask(both[0], both[1], share, objects.steps)
        inside_low, inside_high = np.maximum(low, 0), np.minimum(high, objects.shape)
        if (inside_low >= inside_high).any():
            return None, None
        place = tuple(slice(a, b) for a, b in zip(inside_low, inside_high, strict=True))
        return place, mask[tuple(slice(a - b, c - b) for a, b, c in zip(inside_low, low, inside_high, strict=True))]

    def _part(self, frame, labels, hidden, parts):
        """Give the pixels of an object that holds several cells to the nearest of them.

        `parts` are track, place and mask of those that it hides; the object's own track has the rest to start with.
        """
        objects = self._objects
        box = objects.boxes[hidden]
        place = tuple(slice(low, high) for low, high in zip(box[:3], box[3:], strict=True))
        whole = labels[place] == objects.labels[hidden]
        tracks = [self._tracks[hidden], *(track for track, *_ in parts)]
        claims = np.stack([whole, *(whole & _within(place, at, mask) for _, at, mask in parts)])
        claims[0] &= ~claims[1:].any(0)
        distances = [
            ndimage.distance_transform_edt(~claim, sampling=objects.steps)
            if claim.any()
            else np.full(whole.shape, np.inf)
            for claim in claims
        ]
        nearest = np.argmin(distances, axis=0)
        for number, track in enumerate(tracks):
            frame[place][whole & (nearest == number)] = track


def _within(place, at, mask):
    """The part of a mask, whose slices are `at`, that lies in the slices `place`: bool, of their shape."""
    part = np.zeros([span.stop - span.start for span in place], bool)
    ours, theirs = [], []
    for span, other in zip(place, at, strict=True):
        low, high = max(other.start, span.start), min(other.stop, span.stop)
        ours.append(slice(low - span.start, max(high, low) - span.start))
        theirs.append(slice(low - other.start, max(high, low) - other.start))
    part[tuple(ours)] = mask[tuple(theirs)]
    return part
