"""Simulate a fluorescence movie of dividing cells.

Reads nothing. Writes the movie, an OME-TIFF, uint16 (t, y, x), and its ground truth, a folder in the format of the Cell
Tracking Challenge: man_track000.tif and so on, uint16 (y, x), in which a cell keeps its id; and man_track.txt, a line
for each id with id, first frame, last frame, and id of the mother or 0.
"""

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.data.simulated_cells import Cell, Colony
from tessera.data.simulated_microscope import Microscope
from tessera.settings.sections import MovieSettings

logger = logging.getLogger(__name__)
MIN_AREA_PX = 20  # a cell with a smaller visible area is no object


def label_tracks(
    cells: list[Cell], owners: NDArray[np.int32], t: int, tracks: dict[int, list[int]]
) -> NDArray[np.uint16]:
    """Return the ground truth of frame `t`, uint16 (y, x), and update `tracks`.

    A cell that returns into view gets a new id, since a track has no gaps. A daughter has a mother if it is in view at
    its birth and the mother was in the previous frame.

    Args:
        cells: the cells of the colony.
        owners: (y, x), 0 or 1 + index in `cells` of the cell at each pixel.
        t: number of the frame.
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


def simulate(movie: StrPath, truth: StrPath, settings: MovieSettings) -> None:
    """Write a movie of dividing cells and its ground truth, frame by frame. The same seed gives the same bytes.

    Args:
        movie: OME-TIFF to write, uint16 (t, y, x).
        truth: folder to write; the files of an earlier movie in it are removed.
        settings: the movie's settings.
    """
    movie, truth = Path(movie), Path(truth)
    movie.parent.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    for old in truth.glob("man_track*"):
        old.unlink()
    biology, optics, name = np.random.default_rng(settings.seed).spawn(3)
    colony = Colony(biology, settings)
    microscope = Microscope(
        optics, size_px=settings.size_px, diameter_px=settings.diameter_px, photons=settings.photons
    )
    tracks: dict[int, list[int]] = {}
    size_um = _shortest(settings.pixel_size_um)
    with tifffile.TiffWriter(movie, ome=True) as tiff:
        tiff.write(
            _iterate_frames(colony, microscope, settings, truth, tracks),
            shape=(settings.frames, settings.size_px, settings.size_px),
            dtype=np.uint16,
            metadata={
                "axes": "TYX",
                "UUID": str(uuid.UUID(bytes=name.bytes(16), version=4)),
                "PhysicalSizeX": size_um,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": size_um,
                "PhysicalSizeYUnit": "µm",
                "TimeIncrement": _shortest(settings.frame_interval_s),
                "TimeIncrementUnit": "s",
            },
        )
    lines = [f"{track} {first} {last} {mother}\n" for track, (first, last, mother) in tracks.items()]
    (truth / "man_track.txt").write_text("".join(lines))
    logger.info("%s: %d frames, %d tracks", movie, settings.frames, len(tracks))


def _iterate_frames(
    colony: Colony, microscope: Microscope, settings: MovieSettings, truth: Path, tracks: dict[int, list[int]]
) -> Iterator[NDArray[Any]]:
    """Yield each frame, uint16 (y, x), and write its ground truth."""
    margin = microscope.margin
    for t in range(settings.frames):
        if t:
            colony.step()
            microscope.move_stage()
        light, owners = colony.draw(microscope.drift - margin, settings.size_px + 2 * margin)
        ids = label_tracks(colony.cells, owners[margin:-margin, margin:-margin], t, tracks)
        tifffile.imwrite(truth / f"man_track{t:03d}.tif", ids, compression="zlib")
        yield microscope.expose(light, t)


def _shortest(value: float) -> float:
    """Return whole numbers as integers, so that metadata has 600 instead of 600.0."""
    return int(value) if value == int(value) else value


if __name__ == "__main__":
    with running(snakemake):
        settings = MovieSettings.model_validate(snakemake.params.settings)
        simulate(snakemake.output.movie, snakemake.output.truth, settings)
