"""Movies: the labels of one image through time, read and written a frame at a time."""

import numpy as np
import pandas as pd

from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_block, read_metadata
from tessera.tracking.detections import detect, measure_frame
from tessera.tracking.export_ctc import ChallengeFolder
from tessera.tracking.lineage import build_lineage, measured_in, number_tracks
from tessera.tracking.mask_interpolation import Masks
from tessera.tracking.tracker import trace


def read_frames(labels, pixels, times):
    """Yield labels (z, y, x) and pixels (c, z, y, x) of each of the frames `times` of arrays (t, c, z, y, x)."""
    for t in times:
        yield read_block(labels, (t, 0)), read_block(pixels, (t,))


def track_movie(labels, image, folder, *, name, times, interpolate_gaps, **settings):
    """Track the objects of a movie: write labels whose ids last, and a Cell Tracking Challenge folder of them.

    Args:
        labels, image: paths of stores (t, c, z, y, x) of the same t, z, y and x.
        folder: gets labels.ome.zarr and challenge/, of the frames that were tracked, numbered from 0.
        name: of the image.
        times: the frames to track, rising; others stay empty.
        interpolate_gaps: whether cells that were missed get masks, made up from those before and after.
        settings: max_gap_frames, allow_divisions, correct_merges_and_splits and max_distance_px, see `tessera.tracking.tracker.trace`.

    Returns:
        Lineage, and whether the ids are of 16 bits, as the Challenge's tools expect.
    """
    found, pixels, metadata = open_array(labels), open_array(image), read_metadata(image)
    objects = detect(read_frames(found, pixels, times), steps=measured_in(metadata.pixel_size_um)[0])
    decided = trace(objects, **settings)
    tracks = number_tracks(objects, decided)
    store = create_store(folder / "labels.ome.zarr", found.shape, np.int32, **chunk_layout(found))
    count = int(tracks.max(initial=0))
    challenge = ChallengeFolder(folder / "challenge", count, len(times))

    def read(t, region):
        return read_block(found, (times[t], 0, *region))

    masks = Masks(objects, decided, tracks, read, fill=interpolate_gaps)
    nodes = []
    for place, t in enumerate(times):
        frame = masks.frame(place, read_block(found, (t, 0)), np.int32)
        store[t, 0] = frame
        challenge.add(place, frame)
        nodes.append(list_nodes(t, frame))
    about = {
        "pixel_size_um": metadata.pixel_size_um,
        "frame_interval_s": metadata.frame_interval_s,
        "frames": found.shape[0],
    }
    lineage = build_lineage(objects, decided, tracks, pd.concat(nodes), tracked=times, **about)
    lineage.motion = describe_motion(decided.motion, objects)
    narrow = challenge.finish(lineage.parents)
    about = lineage.tracks[["track", "first", "last", "parent"]].to_numpy().tolist()
    finish_labels(
        folder / "labels.ome.zarr",
        name=name,
        pixel_size_um=metadata.pixel_size_um,
        frame_interval_s=metadata.frame_interval_s,
        extra={"lineage": about},
    )
    return lineage, narrow


def list_nodes(t, frame):
    """The table of the tracks in frame t, labels (z, y, x): track, t, z, y, x of the centre in pixels, and pixels."""
    seen = measure_frame(frame, None, np.ones(3))
    places = dict(zip("zyx", seen["centres"].T, strict=True))
    return pd.DataFrame({"track": seen["labels"], "t": t} | places | {"pixels": seen["sizes"]})


def describe_motion(motion, objects):
    """What a movie showed of how its objects move, in numbers to be kept: lengths in pixels of x."""
    return {
        "shift_px": round(motion.shift, 3),
        "persistence": round(motion.persistence, 3),
        "size_spread": round(motion.size_spread, 3),
        "usual_overlap": round(motion.usual_overlap, 3),
        "lost": round(motion.lost, 4),
        "drift_px": np.round(objects.drifts[:, 1:], 2).tolist(),
    }
