"""Masks: labels whose ids last over time, with the masks of missed cells made up from those before and after."""

from collections import defaultdict

import numpy as np
from scipy import ndimage

LEAST_PX = 1


def interpolate_mask(first, last, share):
    """The mask between two of one cell, both in the same frame of reference.

    Signed distances to the two outlines are averaged (Raya and Udupa 1990, Shape-based interpolation of
    multidimensional objects).

    Args:
        first, last: bool arrays of the same shape.
        share: of the way from first to last, 0 to 1.
    """
    return (1 - share) * _signed(first) + share * _signed(last) > 0


def _signed(mask):
    padded = np.pad(mask, 1)
    inside = ndimage.distance_transform_edt(padded)
    outside = ndimage.distance_transform_edt(~padded)
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
        tracks: int64 (objects,), the id of each, see `lib.lineages.number_tracks`.
        read: read(t, region) gives labels (z, y, x) of slices (z, y, x) of frame t as they came.
        fill: whether missed cells get masks.
    """

    def __init__(self, objects, trace, tracks, read, *, fill=True):
        self._objects, self._trace, self._tracks, self._read = objects, trace, tracks, read
        self._due = defaultdict(list)
        self.made = []  # (t, track, kind, centre, pixels) of masks that were not there before
        times = objects.times
        for last in trace.gaps:
            first = trace.before[last]
            for t in range(times[first] + 1, times[last]):
                hidden = trace.hides.get((last, t))
                if hidden is not None or fill:
                    self._due[t].append((first, last, hidden))
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
            track = self._tracks[last]
            if hidden is None:
                self._put(frame, place, mask & (frame[place] == 0), track, t, "filled")
            else:
                waiting[int(hidden)].append((track, place, mask))
        for hidden, parts in waiting.items():
            self._part(frame, labels, t, hidden, parts)
        return frame

    def _made_up(self, first, last, t):
        """Place (slices) and mask of a cell in a frame in which it was missed."""
        objects = self._objects
        times = objects.times
        # A mother or a daughter that is missed at a division is as she was seen last or first.
        share = (t - times[first]) / (times[last] - times[first]) if last != first else 0.0
        masks, corners, centres = [], [], []
        for row in (first, last):
            box = objects.boxes[row]
            region = tuple(slice(low, high) for low, high in zip(box[:3], box[3:], strict=True))
            masks.append(self._read(int(times[row]), region) == objects.labels[row])
            corners.append(box[:3])
            centres.append(objects.centres[row] / objects.steps)
        moved = np.cumsum(objects.drifts, axis=0)
        ahead = moved[t] - moved[times[first]] - share * (moved[times[last]] - moved[times[first]])
        centre = (1 - share) * centres[0] + share * centres[1] + ahead / objects.steps
        # Both masks are moved to the new centre, by whole pixels.
        shifts = [np.rint(centre - old).astype(int) for old in centres]
        lows = [corner + shift for corner, shift in zip(corners, shifts, strict=True)]
        low = np.minimum(*lows)
        high = np.maximum(*(start + mask.shape for start, mask in zip(lows, masks, strict=True)))
        both = np.zeros((2, *(high - low)), bool)
        for layer, start, mask in zip(both, lows, masks, strict=True):
            layer[tuple(slice(a - b, a - b + n) for a, b, n in zip(start, low, mask.shape, strict=True))] = mask
        mask = interpolate_mask(both[0], both[1], share)
        inside_low, inside_high = np.maximum(low, 0), np.minimum(high, objects.shape)
        if (inside_low >= inside_high).any():
            return None, None
        place = tuple(slice(a, b) for a, b in zip(inside_low, inside_high, strict=True))
        return place, mask[tuple(slice(a - b, c - b) for a, b, c in zip(inside_low, low, inside_high, strict=True))]

    def _put(self, frame, place, mask, track, t, kind):
        if mask.sum() < LEAST_PX:
            return
        frame[place][mask] = track
        where = np.argwhere(mask) + [span.start for span in place]
        self.made.append((t, int(track), kind, where.mean(0), len(where)))

    def _part(self, frame, labels, t, hidden, parts):
        """Give the pixels of an object that holds several cells to the nearest of them."""
        objects, trace = self._objects, self._trace
        box = objects.boxes[hidden]
        place = tuple(slice(low, high) for low, high in zip(box[:3], box[3:], strict=True))
        whole = labels[place] == objects.labels[hidden]
        owner = self._tracks[hidden]
        claims = []
        if trace.before[hidden] >= 0 or (trace.before == hidden).any():
            claims.append((owner, None))
        for track, spot, mask in parts:
            claim = np.zeros(whole.shape, bool)
            ours, theirs = [], []
            for at, span in zip(spot, place, strict=True):
                low, high = max(at.start, span.start), min(at.stop, span.stop)
                ours.append(slice(low - span.start, max(high, low) - span.start))
                theirs.append(slice(low - at.start, max(high, low) - at.start))
            claim[tuple(ours)] = mask[tuple(theirs)]
            claims.append((track, claim & whole))
        taken = np.zeros(whole.shape, bool)
        for _, claim in claims:
            taken |= claim if claim is not None else False
        distances = []
        for _, claim in claims:
            claim = whole & ~taken if claim is None else claim
            distances.append(
                ndimage.distance_transform_edt(~claim, sampling=objects.steps)
                if claim.any()
                else np.full(whole.shape, np.inf)
            )
        if len(claims) < 2 and claims[0][1] is None:
            return
        nearest = np.argmin(distances, axis=0)
        frame[place][whole] = 0
        for number, (track, claim) in enumerate(claims):
            mine = whole & (nearest == number)
            if claim is None:
                frame[place][mine] = track
            else:
                self._put(frame, place, mine, track, t, "parted")
