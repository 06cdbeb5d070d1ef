"""Track the cells of movies: which object of a frame is which of the next, and which cells divide.

Reads `results/labels/{batch}` and `results/images/{batch}`, stores (t, c, z, y, x), and the table
`results/objects/{batch}.parquet`. Writes, of each image with more than one frame, `results/tracks/{batch}/{image}/`:
labels.ome.zarr, int32 (t, 1, z, y, x), with ids that last; challenge/, a Cell Tracking Challenge result; lineage/,
Parquet tables; lineage.geff, tracks.csv for napari, tracks.xml for TrackMate, lineages.nwk; tracks.png, trees.png and
counts.png, and on demand tracks.gif. And `results/tracked/{batch}.parquet`, the table of objects with track, parent,
lineage and generation. Two frames at a time are in memory.
"""

from pathlib import Path

from tessera.common.batch_outputs import find_stores, make_stores
from tessera.common.job import running
from tessera.io.ome_zarr_store import open_array
from tessera.io.region_of_interest import select_frames
from tessera.report.lineage_plots import draw_lineages
from tessera.report.track_animation import NAME, animate
from tessera.tracking.export_ctc import write_napari, write_newick
from tessera.tracking.export_geff import write_geff, write_trackmate
from tessera.tracking.lineage import write_lineage
from tessera.tracking.track_columns import add_tracks
from tessera.tracking.track_movie import track_movie


def track_image(labels, image, folder, *, name, frames=None, animation="none", **settings):
    """Track one movie and write all that is made of it into the new folder `folder`; nothing of a single frame.

    Args:
        labels, image: paths of stores.
        name: of the image.
        frames: the column frames of the table.
        animation: "gif" for a movie that plays, or "none".
        settings: see `tessera.tracking.track_movie.track_movie`.

    Raises:
        InputError: a store is damaged.
    """
    found = open_array(labels)
    times = select_frames(name, frames, found.shape[0])
    if len(times) < 2:
        depth = found.shape[2]
        hint = f"; if its {depth} planes are frames, say so in the column axes, such as TYX" if depth > 1 else ""
        print(f"{name}: {len(times)} frame, nothing to track{hint}", flush=True)
        return
    folder.mkdir()
    lineage, narrow = track_movie(labels, image, folder, name=name, times=times, **settings)
    write_lineage(lineage, folder / "lineage")
    write_geff(lineage, folder / "lineage.geff")
    write_napari(lineage, folder / "tracks.csv")
    write_trackmate(lineage, folder / "tracks.xml", image=image.name, shape=found.shape[2:])
    write_newick(lineage, folder / "lineages.nwk")
    draw_lineages(folder, lineage, image)
    if animation == "gif":
        animate(folder / NAME, lineage, image, folder / "labels.ome.zarr")
    filled = int((lineage.nodes["kind"] == "filled").sum())
    print(
        f"{name}: {len(lineage.tracks)} tracks, {len(lineage.divisions)} divisions, {len(lineage.gaps)} gaps, "
        f"{filled} masks made up, {len(lineage.repairs)} repairs",
        flush=True,
    )
    if not narrow:
        print(
            f"{name}: more than 65535 tracks, so the masks in challenge/ have 32 bits, which some tools refuse",
            flush=True,
        )


def track(labels, images, objects, provenance, output, table, *, regions=None, **settings):
    """Track the movies of a batch into the folder `output`; `table` gets their objects.

    Args:
        labels, images: folders of the batch.
        objects: Parquet file of the batch.
        provenance: {image: digest of what its tracks are made from}.
        output: folder of the batch of tracks.
        table: Parquet file.
        regions: {image: its roi and frames}, see `tessera.io.region_of_interest`.
        settings: see `track_image`.

    Raises:
        InputError: stores that are missing, damaged or do not fit.
    """
    stores = find_stores([images], provenance)
    found = find_stores([labels], stores)

    def make(image, folder):
        frames = (regions or {}).get(image, {}).get("frames")
        track_image(found[image], stores[image], folder, name=image, frames=frames, **settings)

    def finish(folder):
        add_tracks(objects, folder, table)

    make_stores({image: provenance[image] for image in found}, make, output=output, finish=finish, suffix="")


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
            **snakemake.params.settings,
        )
