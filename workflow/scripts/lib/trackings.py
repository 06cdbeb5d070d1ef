"""Trackings: what tracks say of objects, one by one in their table, and of movies in the report."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .drawings import cycle_lengths, displacements
from .exports import track_columns
from .lineages import read_lineage

ANIMATION = "tracks.gif"
UNSURE = 0.9  # confidence of divisions below which they are worth a look
SCORES = ("tra", "det", "lnk", "chota", "bio", "te", "complete_tracks", "division_f1", "division_f1_shifted")
COLUMNS = {name: pa.int64() for name in ("track", "parent", "lineage", "generation")}


def add_tracks(objects, folder, path):
    """Write the objects of all movies that were tracked, with what they belong to, to a Parquet file.

    Args:
        objects: Parquet file of all objects of a batch, see `lib.objects`.
        folder: of the batch; in it a folder for each movie, with its lineage.
        path: the file to write; it has the columns of `objects`, and COLUMNS, null where an object is of no track.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.part")
    lineages = {}
    with pq.ParquetFile(objects) as rows:
        schema = rows.schema_arrow
        for name, type_ in COLUMNS.items():
            schema = schema.append(pa.field(name, type_))
        with pq.ParquetWriter(partial, schema) as writer:
            for group in range(rows.num_row_groups):
                read = rows.read_row_group(group, use_threads=False)
                for image in read["image"].unique().to_pylist():
                    place = folder / image / "lineage"
                    if not place.is_dir():
                        continue
                    if image not in lineages:
                        # The rows of an image lie together, so that one lineage at a time suffices.
                        lineages = {image: track_columns(read_lineage(place))}
                    piece = read.filter(pc.equal(read["image"], image))
                    writer.write_table(_joined(piece, lineages[image], schema))
    partial.replace(path)


def _joined(piece, columns, schema):
    keys = piece.select(["t", "label"]).to_pandas()
    found = keys.merge(columns, on=["t", "label"], how="left")
    for name, type_ in COLUMNS.items():
        values = found[name].astype("Int64")
        piece = piece.append_column(name, pa.array(values, type_, from_pandas=True))
    return piece.cast(schema)


def list_movies(folders, rows, limit):
    """What the report says of the movies that were tracked, by name.

    Args:
        folders: of the batches of tracks.
        rows: table of scores, a row for each image.
        limit: at most so many movies.

    Returns:
        ([{folder, image, tracks, divisions, unsure, gaps, filled, repairs, cycle, cycle_s, shift, unit, animation,
        scores}, ...], how many were left out). `cycle` is the median number of frames from birth to division, `shift`
        the median displacement from frame to frame; None where none was seen. `animation` is its path beside the
        report, or None. `scores` is {} without truth.
    """
    found = sorted(
        (path.parent for folder in folders for path in Path(folder).glob("*/lineage")), key=lambda path: path.name
    )
    scores = rows.set_index("image").reindex(columns=list(SCORES))
    return [_describe(folder, scores) for folder in found[:limit]], max(len(found) - limit, 0)


def _describe(folder, scores):
    lineage = read_lineage(folder / "lineage")
    cycles, shifts = cycle_lengths(lineage), displacements(lineage)
    known = scores.loc[folder.name].dropna().astype(float).to_dict() if folder.name in scores.index else {}
    cycle = float(np.median(cycles)) if len(cycles) else None
    played = f"tracks/{folder.parent.name}/{folder.name}/{ANIMATION}"
    return {
        "folder": folder,
        "image": folder.name,
        "tracks": len(lineage.tracks),
        "divisions": len(lineage.divisions),
        "unsure": int((lineage.divisions["confidence"] < UNSURE).sum()),
        "gaps": len(lineage.gaps),
        "filled": int((lineage.nodes["kind"] == "filled").sum()),
        "repairs": len(lineage.repairs),
        "cycle": cycle,
        "cycle_s": cycle * lineage.frame_s if cycle and lineage.frame_s else None,
        "shift": float(np.median(shifts)) if len(shifts) else None,
        "unit": "µm" if lineage.pixel_um[1] and lineage.pixel_um[2] else "px",
        "animation": played if (folder / ANIMATION).exists() else None,
        "scores": known,
    }
