"""Simulate a movie of dividing cells, as a fluorescence microscope would give it.

Reads nothing. Writes the movie, an OME-TIFF, uint16 (t, y, x), and its truth, a folder in the form of the Cell Tracking
Challenge: man_track000.tif and so on, uint16 (y, x) ids that a cell keeps from frame to frame, and man_track.txt, for
each id a line of id, first frame, last frame, and id of the mother or 0.
"""

import uuid
from pathlib import Path

import numpy as np
import tifffile

from tessera.common.job import running
from tessera.data.simulated_cells import Colony
from tessera.data.simulated_microscope import Microscope

MIN_AREA_PX = 20  # less than that of a cell in view is no object


def label_tracks(cells, owners, t, tracks):
    """Truth of frame `t`, uint16 (y, x), from `owners` (y, x), 0 or 1 + index in `cells`; adds to `tracks`.

    A cell that comes back into view gets a new id, since a track has no gaps. A daughter has a mother if she is in view
    when she is born and the mother was in the frame before.

    Args:
        tracks: {id: [first frame, last frame, id of the mother or 0]}.
    """
    ids = np.zeros(len(cells) + 1, np.uint16)
    area = np.bincount(owners.ravel(), minlength=len(cells) + 1)
    for owner, cell in enumerate(cells, start=1):
        if area[owner] < MIN_AREA_PX:
            continue
        if cell.seen < 0 or cell.seen < t - 1:
            cell.track = len(tracks) + 1
            born = cell.seen < 0 and cell.mother is not None and cell.mother.seen == t - 1 >= 0
            tracks[cell.track] = [t, t, cell.mother.track if born else 0]
        cell.seen = tracks[cell.track][1] = t
        ids[owner] = cell.track
    return ids[owners]


def simulate(
    movie,
    truth,
    *,
    seed=0,
    frames=20,
    size_px=320,
    cells=24,
    diameter_px=22,
    cycle_frames=16,
    smaller_daughter_fraction=0.5,
    speed_px=1.5,
    photons=200,
    pixel_size_um=0.5,
    frame_interval_s=600,
):
    """Write a seeded movie of dividing cells and its truth, frame by frame; the same seed gives the same bytes.

    Args:
        movie: path of the OME-TIFF to write, uint16 (t, y, x).
        truth: folder to write; what it has of an earlier movie is removed.
        seed: integer, 0 or more.
        frames: number of frames, 1 to 1000.
        size_px: side of the square frame in pixels, 64 or more.
        cells: cells in the frame at the start, 1 or more.
        diameter_px: typical diameter of a cell, 10 or more.
        cycle_frames: frames from a cell's birth to its division, more than 1.
        smaller_daughter_fraction: share of the mother's area that the smaller daughter takes, 0.2 to 0.5.
        speed_px: typical speed of a cell, pixels per frame, 0 or more.
        photons: photons per pixel from a typical cell, above 0; fewer are noisier.
        pixel_size_um: side of a pixel in micrometres, above 0.
        frame_interval_s: seconds between frames, above 0.
    """
    movie, truth = Path(movie), Path(truth)
    movie.parent.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    for old in truth.glob("man_track*"):
        old.unlink()
    biology, optics, name = np.random.default_rng(seed).spawn(3)
    colony = Colony(
        biology,
        cells=cells,
        size_px=size_px,
        diameter_px=diameter_px,
        cycle_frames=cycle_frames,
        smaller_daughter_fraction=smaller_daughter_fraction,
        speed_px=speed_px,
    )
    microscope = Microscope(optics, size_px=size_px, diameter_px=diameter_px, photons=photons)
    tracks = {}

    def expose_all():
        margin = microscope.margin
        for t in range(frames):
            if t:
                colony.step()
                microscope.move_stage()
            light, owners = colony.draw(microscope.drift - margin, size_px + 2 * margin)
            ids = label_tracks(colony.cells, owners[margin:-margin, margin:-margin], t, tracks)
            tifffile.imwrite(truth / f"man_track{t:03d}.tif", ids, compression="zlib")
            yield microscope.expose(light, t)

    with tifffile.TiffWriter(movie, ome=True) as tiff:
        tiff.write(
            expose_all(),
            shape=(frames, size_px, size_px),
            dtype=np.uint16,
            metadata={
                "axes": "TYX",
                "UUID": str(uuid.UUID(bytes=name.bytes(16), version=4)),
                "PhysicalSizeX": pixel_size_um,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": pixel_size_um,
                "PhysicalSizeYUnit": "µm",
                "TimeIncrement": frame_interval_s,
                "TimeIncrementUnit": "s",
            },
        )
    lines = [f"{track} {first} {last} {mother}\n" for track, (first, last, mother) in tracks.items()]
    (truth / "man_track.txt").write_text("".join(lines))
    print(f"{movie}: {frames} frames, {len(tracks)} tracks", flush=True)


if __name__ == "__main__":
    with running(snakemake):
        simulate(snakemake.output.movie, snakemake.output.truth, **snakemake.params.settings)
