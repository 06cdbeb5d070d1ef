"""The table of objects: one row per object, in Parquet files."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tessera.common.atomic_write import atomic_file
from tessera.common.batch_outputs import TABLES, make_stores
from tessera.common.types import StrPath
from tessera.segmentation.region_properties import Sums

SCHEMA = pa.schema(
    {
        "image": pa.string(),
        "t": pa.int32(),
        "z": pa.int32(),
        "label": pa.int64(),
        "class": pa.string(),
        "centroid_y_px": pa.float64(),
        "centroid_x_px": pa.float64(),
        "centroid_y_um": pa.float64(),
        "centroid_x_um": pa.float64(),
        "area_px": pa.int64(),
        "area_um2": pa.float64(),
        "bbox_y0_px": pa.int32(),
        "bbox_x0_px": pa.int32(),
        "bbox_y1_px": pa.int32(),
        "bbox_x1_px": pa.int32(),
        "major_axis_px": pa.float64(),
        "minor_axis_px": pa.float64(),
        "eccentricity": pa.float64(),
        "perimeter_px": pa.float64(),
        "touches_border": pa.bool_(),
        "confidence": pa.float64(),
        "centroid_z_px": pa.float64(),
        "centroid_z_um": pa.float64(),
        "bbox_z0_px": pa.int32(),
        "bbox_z1_px": pa.int32(),
        "volume_px": pa.int64(),
        "volume_um3": pa.float64(),
    }
)
ROWS_PER_GROUP = 25_000
INTENSITY = "intensity_mean_"


def make_schema(channels: Sequence[str]) -> pa.Schema:
    """Return the columns of the table for an image with these channels, whose names are unique."""
    return pa.schema([*SCHEMA, *(pa.field(INTENSITY + channel, pa.float64()) for channel in channels)])


def unique_channel_names(channels: Sequence[str]) -> list[str]:
    """Return unique names: the names themselves, or each with its number in front if two channels share a name."""
    if len(set(channels)) == len(channels):
        return list(channels)
    return [f"{number}_{channel}" for number, channel in enumerate(channels)]


@dataclass(frozen=True)
class MeasuredImage:
    """An image whose objects are tabulated.

    Attributes:
        name: of the image.
        shape: (z, y, x) in pixels.
        channels: names of the channels, in the order of the measured intensities.
        pixel_size_um: (z, y, x) in micrometers, None where unknown.
        roi: (y0, y1, x0, x1), the region of interest, whose border cuts objects as the image's does; None: all.
        stitched: whether objects extend through planes; then they have a volume, and no properties of a single plane.
        schema: columns of the table.
    """

    name: str
    shape: Sequence[int]
    channels: Sequence[str]
    pixel_size_um: Sequence[float | None] = (None, None, None)
    roi: Sequence[int] | None = None
    stitched: bool = False
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", make_schema(unique_channel_names(self.channels)))


def tabulate(sums: Sums, image: MeasuredImage, *, t: int, classes: Sequence[str], first_label: int = 0) -> pa.Table:
    """Compute the rows of some objects from sums over their pixels.

    Axes are those of the ellipse with the same second central moments as the object; the eccentricity is that of this
    ellipse; the perimeter follows Benkrid and Crookes 2000 (Design and FPGA Implementation of a Perimeter Estimator).
    All are as in scikit-image.

    Args:
        sums: from `tessera.segmentation.region_properties.merge_sums`.
        image: the image.
        t: time point.
        classes: name of the class of each object.
        first_label: number that is added to the labels.

    Returns:
        A table of `image.schema`. Values are null where a size is unknown or nothing could be measured. Centroids refer
        to the centers of pixels; boxes are half-open.
    """
    count, n = len(sums["label"]), sums["pixels"]
    mean = {axis: sums[axis] / n for axis in "zyx"}
    centroid = {axis: sums[f"{axis}0"] + mean[axis] for axis in "zyx"}
    columns: dict[str, Any] = {"label": sums["label"] + first_label, "class": classes}
    columns |= {"image": [image.name] * count, "t": [t] * count}
    columns |= {f"centroid_{axis}_px": centroid[axis] for axis in "yx"}
    columns |= {f"bbox_{axis}{end}_px": sums[f"{axis}{end}"] for axis in "yx" for end in "01"}
    sizes: dict[str, Any] = dict(zip("zyx", image.pixel_size_um, strict=True))
    columns |= {f"centroid_{axis}_um": centroid[axis] * sizes[axis] for axis in "yx" if sizes["y"] and sizes["x"]}
    bounded_axes = "zyx" if image.stitched else "yx"
    ends = {axis: (0, length) for axis, length in zip("zyx", image.shape, strict=True)}
    if image.roi:
        y0, y1, x0, x1 = image.roi
        ends |= {"y": (y0, y1), "x": (x0, x1)}
    columns["touches_border"] = np.any(
        [(sums[f"{axis}0"] == ends[axis][0]) | (sums[f"{axis}1"] == ends[axis][1]) for axis in bounded_axes], axis=0
    )
    if image.stitched:
        columns |= {"centroid_z_px": centroid["z"], "bbox_z0_px": sums["z0"], "bbox_z1_px": sums["z1"], "volume_px": n}
        columns |= {"centroid_z_um": centroid["z"] * sizes["z"]} if sizes["z"] else {}
        columns |= (
            {"volume_um3": n * np.prod([size or np.nan for size in image.pixel_size_um])}
            if all(image.pixel_size_um)
            else {}
        )
    else:
        columns |= {"z": sums["z0"], "area_px": n}
        columns |= {"area_um2": n * (sizes["y"] * sizes["x"])} if sizes["y"] and sizes["x"] else {}
        covariances = (sums[a + b] / n - mean[a] * mean[b] for a, b in ("yy", "xx", "yx"))
        major, minor = _axes(*covariances)
        flatness = np.divide(minor, major, out=np.ones(count), where=major > 0)
        columns |= {"major_axis_px": major, "minor_axis_px": minor, "eccentricity": np.sqrt(1 - flatness**2)}
        columns["perimeter_px"] = (
            sums["straight"] + np.sqrt(2) * sums["diagonal"] + (1 + np.sqrt(2)) / 2 * sums["mixed"]
        )
    columns["confidence"] = sums["confidence"] / n / 255
    intensities = [column.name for column in image.schema if column.name.startswith(INTENSITY)]
    for value, finite, name in zip(sums["value"].T, sums["finite"].T, intensities, strict=True):
        columns[name] = np.divide(value, finite, out=np.full(count, np.nan), where=finite > 0)
    nulls = [None] * count
    arrays = [_column(columns.get(column.name, nulls), column.type) for column in image.schema]
    return pa.table(arrays, schema=image.schema)


def write_tables(path: StrPath, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write parts of one table to a Parquet file, in row groups of at least ROWS_PER_GROUP rows as they arrive."""
    pending, rows = [], 0
    with pq.ParquetWriter(path, schema) as writer:
        for table in filter(len, tables):
            pending.append(table)
            rows += len(table)
            if rows >= ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(pending))
                pending, rows = [], 0
        writer.write_table(pa.concat_tables([schema.empty_table(), *pending]))


def make_labels(
    provenance: dict[str, str],
    make: Callable[[str, Path, Path], None],
    *,
    output: StrPath,
    objects: StrPath,
    skip_bad_images: bool = False,
    skipped_before: dict[str, str] | None = None,
) -> None:
    """Write the labels of a batch, and one table of all its objects.

    The table of each image is kept beside its labels, so that an interrupted job keeps both or neither.

    Args:
        provenance: {image: provenance hash of its labels}.
        make: make(image, path, table) writes the store of labels and the Parquet file of its objects.
        output: folder of the batch.
        objects: Parquet file of all images.
        skip_bad_images, skipped_before: see `tessera.common.batch_outputs.make_stores`.
    """

    def finish(folder: Path) -> None:
        images = [image for image in provenance if (folder / f"{image}.ome.zarr").is_dir()]
        join_tables([folder / TABLES / f"{image}.parquet" for image in images], objects)

    def make_both(image: str, path: Path) -> None:
        tables = path.parent / TABLES
        tables.mkdir(exist_ok=True)
        make(image, path, tables / f"{image}.parquet")

    make_stores(
        provenance,
        make_both,
        output=output,
        finish=finish,
        skip_bad_images=skip_bad_images,
        skipped_before=skipped_before,
    )


def join_tables(tables: Iterable[StrPath], path: StrPath) -> None:
    """Concatenate Parquet files in a new one with the columns of all; columns that an image lacks are null."""
    tables, path = list(tables), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.unify_schemas([SCHEMA, *map(pq.read_schema, tables)])
    with atomic_file(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for table in tables:
            with pq.ParquetFile(table) as rows:
                for group in range(rows.num_row_groups):
                    parts = [schema.empty_table(), rows.read_row_group(group, use_threads=False)]
                    writer.write_table(pa.concat_tables(parts, promote_options="default"))


def _axes(
    variance_y: NDArray[np.float64], variance_x: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths of the axes of ellipses with these second moments: 4 times the square roots of the eigenvalues."""
    variance_y, variance_x = np.maximum(variance_y, 0), np.maximum(variance_x, 0)
    mean = (variance_y + variance_x) / 2
    difference = np.hypot((variance_y - variance_x) / 2, covariance)
    return 4 * np.sqrt(mean + difference), 4 * np.sqrt(np.maximum(mean - difference, 0))


def _column(values: Any, type_: pa.DataType) -> pa.Array:
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and pa.types.is_integer(type_):
        values = values.astype(np.int64)
    return pa.array(values, type_, from_pandas=True)
