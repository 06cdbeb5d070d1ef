"""Movies of label images, and the tracks that the library finds in them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.settings.sections import TrackSettings
from tessera.tracking.detections import detect
from tessera.tracking.lineage import number_tracks
from tessera.tracking.mask_interpolation import TrackLabels
from tessera.tracking.tracker import TrackGraph, track_detections


def shuffled(movie: Iterable[NDArray], seed: int = 0) -> NDArray[np.int32]:
    """The movie (t, y, x) with the ids of each frame in random order, so that equal ids say nothing."""
    rng = np.random.default_rng(seed)
    return np.stack([np.append(0, 1 + rng.permutation(frame.max()))[frame] for frame in movie]).astype(np.int32)


def tracked(
    movie: NDArray, *, fill: bool = True, pixels: Iterable[NDArray] | None = None, **settings: Any
) -> tuple[NDArray[np.int32], dict[int, int], TrackGraph]:
    """Track a movie of labels.

    Args:
        movie: labels (t, y, x) or (t, z, y, x).
        fill: draw the masks of frames in which a cell was missed.
        pixels: image of each frame, or None.
        settings: settings of the section `track`.

    Returns:
        Labels with track ids (t, z, y, x); {daughter: mother}; the graph of tracks.
    """
    movie = movie[:, None] if movie.ndim == 3 else movie
    detections = detect(zip(movie, [None] * len(movie) if pixels is None else pixels, strict=True))
    graph = track_detections(detections, TrackSettings(**settings))
    tracks = number_tracks(detections, graph)
    track_labels = TrackLabels(detections, graph, tracks, lambda t, region: movie[t][region], interpolate_gaps=fill)
    labels = np.stack([track_labels.frame(t, frame, np.int32) for t, frame in enumerate(movie)])
    daughters = np.flatnonzero(graph.mother >= 0)
    return labels, {int(tracks[row]): int(tracks[graph.mother[row]]) for row in daughters}, graph


def same_cells(labels: NDArray, truth: NDArray) -> bool:
    """Return whether both arrays group the pixels of `truth` into the same cells. Ids may differ."""
    pairs = np.unique(np.stack([labels[truth > 0], truth[truth > 0]]), axis=1)
    return len(pairs[0]) == len(set(pairs[0].tolist())) == len(set(pairs[1].tolist()))
