"""Track one movie: read its labels and pixels frame by frame, track, and write the labels with track ids.

The movie is read twice, two frames at a time: once to measure the objects, and once to write the labels. All decisions
in between are made on tables. Nodes of the lineage are measured in the labels that are written, so that both agree
whatever was interpolated or repaired.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tessera.common.progress import Progress
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_block, read_metadata
from tessera.io.shards import ShardWriter
from tessera.settings.sections import TrackSettings
from tessera.tracking.array_types import Labels
from tessera.tracking.detections import Detections, detect, measure_frame
from tessera.tracking.export_ctc import ChallengeFolder
from tessera.tracking.lineage import Lineage, build_lineage, number_tracks, voxel_size_of
from tessera.tracking.mask_interpolation import Region, TrackLabels
from tessera.tracking.motion_model import MotionModel
from tessera.tracking.tracker import track_detections


def read_frames(
    labels: Any, pixels: Any, times: Sequence[int], progress: Progress
) -> Iterator[tuple[Labels, NDArray[Any]]]:
    """Yield labels (z, y, x) and pixels (c, z, y, x) of the frames `times` of arrays (t, c, z, y, x)."""
    for t in times:
        yield read_block(labels, (t, 0)), read_block(pixels, (t,))
        progress.advance()


@dataclass(frozen=True)
class _LabelReader:
    """Reads regions of the labels that are tracked; frames are numbered among the tracked ones."""

    labels: Any
    times: Sequence[int]

    def __call__(self, t: int, region: Region) -> Labels:
        block: Labels = read_block(self.labels, (self.times[t], 0, *region))
        return block


def track_movie(
    labels: Path,
    image: Path,
    folder: Path,
    *,
    name: str,
    times: Sequence[int],
    settings: TrackSettings,
) -> tuple[Lineage, bool]:
    """Track the objects of a movie and write labels with track ids and a Cell Tracking Challenge folder.

    Args:
        labels, image: paths of stores (t, c, z, y, x) of equal t, z, y and x.
        folder: gets labels.ome.zarr, and challenge/ with the tracked frames, numbered from 0.
        name: of the image.
        times: the frames to track, increasing; the others stay empty.
        settings: TrackSettings.

    Returns:
        The Lineage, and whether all ids fit into 16 bits, which the tools of the Challenge expect.
    """
    source, pixels, metadata = open_array(labels), open_array(image), read_metadata(image)
    voxel_size, _ = voxel_size_of(metadata.pixel_size_um)
    frames = read_frames(source, pixels, times, Progress(len(times), "frames measured", name))
    detections = detect(frames, voxel_size=voxel_size)
    graph = track_detections(detections, settings)
    tracks = number_tracks(detections, graph)
    store = create_store(folder / "labels.ome.zarr", source.shape, np.int32, **chunk_layout(source))
    challenge = ChallengeFolder(folder / "challenge", int(tracks.max(initial=0)), len(times))
    reader = _LabelReader(source, times)
    track_labels = TrackLabels(detections, graph, tracks, reader, interpolate_gaps=settings.interpolate_gaps)
    nodes = []
    progress = Progress(len(times), "frames written", name)
    with ShardWriter(store) as writer:
        for number, t in enumerate(times):
            frame = track_labels.frame(number, read_block(source, (t, 0)), np.int32)
            region = (slice(t, t + 1), *(slice(0, size) for size in store.shape[1:]))
            writer.write(region, frame[None, None])
            challenge.add(number, frame)
            nodes.append(list_nodes(t, frame))
            progress.advance()
    lineage = build_lineage(
        detections,
        graph,
        tracks,
        pd.concat(nodes),
        tracked=times,
        pixel_size_um=metadata.pixel_size_um,
        frame_interval_s=metadata.frame_interval_s,
        frames=source.shape[0],
    )
    lineage.motion = describe_motion(graph.model, detections)
    fits_16_bits = challenge.finish(lineage.parents)
    finish_labels(
        folder / "labels.ome.zarr",
        name=name,
        pixel_size_um=metadata.pixel_size_um,
        frame_interval_s=metadata.frame_interval_s,
        extra={"lineage": lineage.tracks[["track", "first", "last", "parent"]].to_numpy().tolist()},
    )
    return lineage, fits_16_bits


def list_nodes(t: int, frame: Labels) -> pd.DataFrame:
    """The cells of frame t, labels (z, y, x) with track ids: track, t, z, y, x of the center in pixels, and pixels."""
    measured = measure_frame(frame, None, np.ones(3))
    positions = dict(zip("zyx", measured["centers"].T, strict=True))
    return pd.DataFrame({"track": measured["labels"], "t": t} | positions | {"pixels": measured["sizes"]})


def describe_motion(model: MotionModel, detections: Detections) -> dict[str, Any]:
    """Main parameters of a MotionModel and the drift of each frame (y, x), for lineage.json; lengths in pixels of x."""
    return {
        "displacement_scale_px": round(model.displacement_scale, 3),
        "velocity_persistence": round(model.velocity_persistence, 3),
        "size_change_scale": round(model.size_change_scale, 3),
        "median_iou": round(model.median_iou, 3),
        "death_rate": round(model.death_rate, 4),
        "drift_px": np.round(detections.drifts[:, 1:], 2).tolist(),
    }
