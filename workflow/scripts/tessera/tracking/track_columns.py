"""Memberships: which track each object of a batch's table belongs to."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tessera.common.atomic_write import atomic_file
from tessera.tracking.lineage import read_lineage

COLUMNS = {name: pa.int64() for name in ("track", "parent", "lineage", "generation")}


def add_tracks(objects, folder, path):
    """Write the objects of all movies that were tracked, with what they belong to, to a Parquet file.

    Args:
        objects: Parquet file of all objects of a batch, see `tessera.segmentation.object_table`.
        folder: of the batch; in it a folder for each movie, with its lineage.
        path: the file to write; it has the columns of `objects`, and COLUMNS, null where an object is of no track.
    """
    lineages = {}
    with pq.ParquetFile(objects) as rows:
        schema = rows.schema_arrow
        for name, type_ in COLUMNS.items():
            schema = schema.append(pa.field(name, type_))
        with atomic_file(path) as partial, pq.ParquetWriter(partial, schema) as writer:
            for group in range(rows.num_row_groups):
                read = rows.read_row_group(group, use_threads=False)
                for image in read["image"].unique().to_pylist():
                    place = folder / image / "lineage"
                    if not place.is_dir():
                        continue
                    if image not in lineages:
                        # The rows of an image lie together, so that one lineage at a time suffices.
                        lineages = {image: _columns_of(read_lineage(place))}
                    piece = read.filter(pc.equal(read["image"], image))
                    writer.write_table(_joined(piece, lineages[image], schema))


def _joined(piece, columns, schema):
    keys = piece.select(["t", "label"]).to_pandas()
    found = keys.merge(columns, on=["t", "label"], how="left")
    for name, type_ in COLUMNS.items():
        values = found[name].astype("Int64")
        piece = piece.append_column(name, pa.array(values, type_, from_pandas=True))
    return piece.cast(schema)


def _columns_of(lineage):
    """track, parent, lineage and generation of each t and label that the table of objects has."""
    found = lineage.nodes[lineage.nodes["label"] > 0][["t", "label", "track"]]
    joined = lineage.repairs[lineage.repairs["kind"] == "joined"][["t", "label", "track"]]
    tracks = lineage.tracks.set_index("track")[["parent", "lineage", "generation"]]
    return pd.concat([found, joined], ignore_index=True).join(tracks, on="track")
