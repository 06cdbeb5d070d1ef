"""Movies of labels that the tests track."""

import numpy as np

from tessera.settings.sections import TrackSettings
from tessera.tracking.detections import detect
from tessera.tracking.lineage import number_tracks
from tessera.tracking.mask_interpolation import TrackLabels
from tessera.tracking.tracker import track_detections


def shuffled(movie, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([np.append(0, 1 + rng.permutation(frame.max()))[frame] for frame in movie]).astype(np.int32)


def tracked(movie, *, fill=True, pixels=None, **settings):
    """(labels with track ids (t, z, y, x), {daughter: mother}, TrackGraph) of a movie (t, y, x) or (t, z, y, x)."""
    movie = movie[:, None] if movie.ndim == 3 else movie
    detections = detect(zip(movie, [None] * len(movie) if pixels is None else pixels, strict=True))
    decided = track_detections(detections, TrackSettings(**settings))
    tracks = number_tracks(detections, decided)
    track_labels = TrackLabels(detections, decided, tracks, lambda t, region: movie[t][region], interpolate_gaps=fill)
    labels = np.stack([track_labels.frame(t, frame, np.int32) for t, frame in enumerate(movie)])
    mothers = np.flatnonzero(decided.mother >= 0)
    return labels, {int(tracks[row]): int(tracks[decided.mother[row]]) for row in mothers}, decided


def same_cells(labels, truth):
    """Whether the ids of both say the same of which pixels are one cell."""
    pairs = np.unique(np.stack([labels[truth > 0], truth[truth > 0]]), axis=1)
    return len(pairs[0]) == len(set(pairs[0].tolist())) == len(set(pairs[1].tolist()))
