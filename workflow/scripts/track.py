"""Track the cells of movies: link the objects of each frame to those of the next, and find divisions.

Reads `results/labels/{batch}` and `results/images/{batch}`, stores (t, c, z, y, x), and the table
`results/objects/{batch}.parquet`. For each image with more than one frame, writes `results/tracks/{batch}/{image}/`:

- labels.ome.zarr, int32 (t, 1, z, y, x), with track ids; challenge/, a Cell Tracking Challenge result;
- lineage/, Parquet tables; lineage.geff; tracks.csv for napari; tracks.xml for TrackMate; lineages.nwk;
- tracks.png, trees.png and counts.png, and tracks.gif if `track.animation` is set.

Also writes `results/tracked/{batch}.parquet`, the table of objects with track, parent, lineage and generation. Two
frames at a time are in memory.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tessera.common.batch_outputs import find_stores, make_stores
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.io.ome_zarr_store import open_array
from tessera.io.region_of_interest import select_frames
from tessera.report.lineage_plots import draw_lineages
from tessera.report.track_animation import NAME, animate
from tessera.settings.sections import TrackSettings
from tessera.tracking.exports import write_geff, write_napari, write_newick, write_trackmate
from tessera.tracking.lineage import FILLED, write_lineage
from tessera.tracking.track_columns import add_tracks
from tessera.tracking.track_movie import track_movie

logger = logging.getLogger(__name__)


def track_image(
    labels: Path, image: Path, folder: Path, *, name: str, frames: str | None = None, settings: TrackSettings
) -> None:
    """Track one movie and write all its outputs into the new folder `folder`; an image of one frame has none.

    Args:
        labels, image: paths of stores.
        folder: is made.
        name: of the image.
        frames: the column `frames` of the table of images.
        settings: TrackSettings.

    Raises:
        InputError: a store is damaged.
    """
    source = open_array(labels)
    times = select_frames(name, frames, source.shape[0])
    if len(times) < 2:
        depth = source.shape[2]
        hint = f"; if its {depth} planes are frames, set the column axes, for example to TYX" if depth > 1 else ""
        logger.info("%s: %d frame, nothing to track%s", name, len(times), hint)
        return
    folder.mkdir()
    lineage, fits_16_bits = track_movie(labels, image, folder, name=name, times=times, settings=settings)
    write_lineage(lineage, folder / "lineage")
    write_geff(lineage, folder / "lineage.geff")
    write_napari(lineage, folder / "tracks.csv")
    write_trackmate(lineage, folder / "tracks.xml", image=image.name, shape=source.shape[2:])
    write_newick(lineage, folder / "lineages.nwk")
    draw_lineages(folder, lineage, image)
    if settings.animation == "gif":
        animate(folder / NAME, lineage, image, folder / "labels.ome.zarr")
    counts = f"{len(lineage.tracks)} tracks, {len(lineage.divisions)} divisions, {len(lineage.gaps)} gaps"
    n_filled = int((lineage.nodes["kind"] == FILLED).sum())
    logger.info("%s: %s, %d interpolated masks, %d repairs", name, counts, n_filled, len(lineage.repairs))
    if not fits_16_bits:
        logger.info("%s: more than 65535 tracks: masks in challenge/ have 32 bits, which some tools refuse", name)


def track(
    labels: StrPath,
    images: StrPath,
    objects: StrPath,
    provenance: Mapping[str, str],
    output: Path,
    table: Path,
    *,
    regions: Mapping[str, Mapping[str, Any]] | None = None,
    settings: TrackSettings,
) -> None:
    """Track the movies of a batch into the folder `output`.

    Args:
        labels, images: folders of the batch.
        objects: Parquet file of the objects of the batch.
        provenance: {image: provenance hash of its tracks}.
        output: folder of the tracks of the batch.
        table: Parquet file to write, `objects` with the columns of their tracks.
        regions: {image: its roi and frames}, see `tessera.io.region_of_interest`.
        settings: TrackSettings.

    Raises:
        InputError: stores are missing or damaged, or do not fit together.
    """
    image_stores = find_stores([images], provenance)
    label_stores = find_stores([labels], image_stores)

    def make(image: str, folder: Path) -> None:
        frames = (regions or {}).get(image, {}).get("frames")
        track_image(label_stores[image], image_stores[image], folder, name=image, frames=frames, settings=settings)

    def finish(folder: Path) -> None:
        add_tracks(objects, folder, table)

    make_stores({image: provenance[image] for image in label_stores}, make, output=output, finish=finish, suffix="")


if __name__ == "__main__":
    with running(snakemake):
        track(
            labels=snakemake.input.labels,
            images=snakemake.input.images,
            objects=snakemake.input.objects,
            provenance=snakemake.params.provenance,
            output=Path(snakemake.output.tracks),
            table=Path(snakemake.output.objects),
            regions=snakemake.params.regions,
            settings=TrackSettings(**snakemake.params.settings),
        )
