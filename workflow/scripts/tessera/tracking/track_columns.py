"""Track columns: the table of objects of a batch with the track, parent, lineage and generation of each object."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tessera.common.atomic_write import atomic_file
from tessera.common.types import StrPath
from tessera.tracking.lineage import MERGED_FRAGMENT, Lineage, read_lineage

COLUMNS = {name: pa.int64() for name in ("track", "parent", "lineage", "generation")}


def add_tracks(objects: StrPath, folder: Path, path: Path) -> None:
    """Write the objects of all tracked movies of a batch, with the columns of their tracks, to a Parquet file.

    Args:
        objects: Parquet file of all objects of the batch, see `tessera.segmentation.object_table`.
        folder: of the batch; it has a folder for each movie, with its lineage.
        path: the file to write; it has the columns of `objects`, and COLUMNS, null for objects without a track.
    """
    lineage_columns: dict[str, pd.DataFrame] = {}
    with pq.ParquetFile(objects) as source:
        schema = source.schema_arrow
        for name, type_ in COLUMNS.items():
            schema = schema.append(pa.field(name, type_))
        with atomic_file(path) as partial, pq.ParquetWriter(partial, schema) as writer:
            for group in range(source.num_row_groups):
                rows = source.read_row_group(group, use_threads=False)
                for image in rows["image"].unique().to_pylist():
                    lineage_folder = folder / image / "lineage"
                    if not lineage_folder.is_dir():
                        continue
                    if image not in lineage_columns:
                        # The rows of an image are contiguous, so one lineage at a time is enough.
                        lineage_columns = {image: _columns_of(read_lineage(lineage_folder))}
                    rows_of_image = rows.filter(pc.equal(rows["image"], image))
                    writer.write_table(_append_columns(rows_of_image, lineage_columns[image], schema))


def _append_columns(rows: pa.Table, columns: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    keys = rows.select(["t", "label"]).to_pandas()
    values = keys.merge(columns, on=["t", "label"], how="left")
    for name, type_ in COLUMNS.items():
        rows = rows.append_column(name, pa.array(values[name].astype("Int64"), type_, from_pandas=True))
    return rows.cast(schema)


def _columns_of(lineage: Lineage) -> pd.DataFrame:
    """track, parent, lineage and generation of each t and label that the table of objects has."""
    found = lineage.nodes[lineage.nodes["label"] > 0][["t", "label", "track"]]
    fragments = lineage.repairs[lineage.repairs["kind"] == MERGED_FRAGMENT][["t", "label", "track"]]
    tracks = lineage.tracks.set_index("track")[["parent", "lineage", "generation"]]
    return pd.concat([found, fragments], ignore_index=True).join(tracks, on="track")
