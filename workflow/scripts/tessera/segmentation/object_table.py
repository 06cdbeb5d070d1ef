"""Objects: the table of what is measured of each."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tessera.common.atomic_write import atomic_file
from tessera.common.batch_outputs import TABLES, make_stores

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


def make_schema(channels):
    """Columns of the table of objects of an image that has `channels`, each of another name."""
    return pa.schema([*SCHEMA, *(pa.field(INTENSITY + channel, pa.float64()) for channel in channels)])


def number_alike(channels):
    """Names of channels that are each another: the same, or each with its number in front where two are alike."""
    if len(set(channels)) == len(channels):
        return list(channels)
    return [f"{number}_{channel}" for number, channel in enumerate(channels)]


def tabulate(sums, schema, *, image, t, classes, pixel_size_um, shape, roi=None, joined=False, first_label=0):
    """A piece of the table of objects.

    Axes are those of the ellipse with the object's second central moments, eccentricity is that ellipse's, and the
    perimeter follows Benkrid and Crookes 2000 (Design and FPGA Implementation of a Perimeter Estimator), all as in
    scikit-image.

    Args:
        sums: of `tessera.segmentation.region_properties.merge`.
        schema: from `make_schema`.
        image: name of the image.
        t: frame.
        classes: name of the class of each object.
        pixel_size_um: size of a pixel in z, y, x in micrometres, None where unknown.
        shape: (z, y, x) pixels of a frame.
        roi: (y0, y1, x0, x1) that was looked at, whose border cuts objects as the image's does; None: all.
        joined: whether objects go through planes; they have a volume then, and not what a plane alone defines.
        first_label: what is added to the labels.

    Returns:
        pyarrow.Table of `schema`; null where a size is unknown or nothing could be measured. Centroids are of pixel
        centres, boxes half-open.
    """
    count, n = len(sums["label"]), sums["pixels"]
    mean = {axis: sums[axis] / n for axis in "zyx"}
    centroid = {axis: sums[f"{axis}0"] + mean[axis] for axis in "zyx"}
    known = {"label": sums["label"] + first_label, "image": [image] * count, "t": [t] * count, "class": classes}
    known |= {f"centroid_{axis}_px": centroid[axis] for axis in "yx"}
    known |= {f"bbox_{axis}{end}_px": sums[f"{axis}{end}"] for axis in "yx" for end in "01"}
    sizes = dict(zip("zyx", pixel_size_um, strict=True))
    known |= {f"centroid_{axis}_um": centroid[axis] * sizes[axis] for axis in "yx" if sizes["y"] and sizes["x"]}
    outermost = "zyx" if joined else "yx"
    ends = {axis: (0, length) for axis, length in zip("zyx", shape, strict=True)}
    ends |= {"y": roi[:2], "x": roi[2:]} if roi else {}
    known["touches_border"] = np.any(
        [(sums[f"{axis}0"] == ends[axis][0]) | (sums[f"{axis}1"] == ends[axis][1]) for axis in outermost], axis=0
    )
    if joined:
        known |= {"centroid_z_px": centroid["z"], "bbox_z0_px": sums["z0"], "bbox_z1_px": sums["z1"], "volume_px": n}
        known |= {"centroid_z_um": centroid["z"] * sizes["z"]} if sizes["z"] else {}
        known |= {"volume_um3": n * np.prod(pixel_size_um)} if all(pixel_size_um) else {}
    else:
        known |= {"z": sums["z0"], "area_px": n}
        known |= {"area_um2": n * (sizes["y"] * sizes["x"])} if sizes["y"] and sizes["x"] else {}
        covariances = (sums[a + b] / n - mean[a] * mean[b] for a, b in ("yy", "xx", "yx"))
        major, minor = _axes(*covariances)
        flatness = np.divide(minor, major, out=np.ones(count), where=major > 0)
        known |= {"major_axis_px": major, "minor_axis_px": minor, "eccentricity": np.sqrt(1 - flatness**2)}
        known["perimeter_px"] = sums["straight"] + np.sqrt(2) * sums["diagonal"] + (1 + np.sqrt(2)) / 2 * sums["mixed"]
    known["confidence"] = sums["certainty"] / n / 255
    intensities = [field.name for field in schema if field.name.startswith(INTENSITY)]
    for value, finite, column in zip(sums["value"].T, sums["finite"].T, intensities, strict=True):
        known[column] = np.divide(value, finite, out=np.full(count, np.nan), where=finite > 0)
    nothing = [None] * count
    return pa.table([_column(known.get(field.name, nothing), field.type) for field in schema], schema=schema)


def write_tables(path, schema, tables):
    """Write the pieces `tables` of one table to a Parquet file, in groups of ROWS_PER_GROUP or more as they come."""
    waiting, rows = [], 0
    with pq.ParquetWriter(path, schema) as writer:
        for table in filter(len, tables):
            waiting.append(table)
            rows += len(table)
            if rows >= ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting, rows = [], 0
        writer.write_table(pa.concat_tables([schema.empty_table(), *waiting]))


def make_labels(provenance, make, *, output, objects, **settings):
    """Make the stores of labels of a batch, and one table of all their objects.

    The table of each image is kept with its store, so that of what is kept there are both or neither.

    Args:
        provenance: {image: digest of what its labels are made from}.
        make: make(image, path, table) writes the store and the Parquet file of its objects.
        output: folder of the batch.
        objects: Parquet file of all.
        settings: skipped and before, see `tessera.common.batch_outputs.make_stores`.
    """

    def finish(folder):
        made = [image for image in provenance if (folder / f"{image}.ome.zarr").is_dir()]
        join_tables([folder / TABLES / f"{image}.parquet" for image in made], objects)

    def make_both(image, path):
        tables = path.parent / TABLES
        tables.mkdir(exist_ok=True)
        make(image, path, tables / f"{image}.parquet")

    make_stores(provenance, make_both, output=output, finish=finish, **settings)


def join_tables(tables, path):
    """Join the Parquet files `tables` in one at `path`, with the columns of them all, null where an image has none."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.unify_schemas([SCHEMA, *map(pq.read_schema, tables)])
    with atomic_file(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        for table in tables:
            with pq.ParquetFile(table) as rows:
                for group in range(rows.num_row_groups):
                    pieces = [schema.empty_table(), rows.read_row_group(group, use_threads=False)]
                    writer.write_table(pa.concat_tables(pieces, promote_options="default"))


def _axes(variance_y, variance_x, covariance):
    """Lengths of the axes of the ellipses with these second moments: 4 times the square roots of the eigenvalues."""
    variance_y, variance_x = np.maximum(variance_y, 0), np.maximum(variance_x, 0)
    middle = (variance_y + variance_x) / 2
    spread = np.hypot((variance_y - variance_x) / 2, covariance)
    return 4 * np.sqrt(middle + spread), 4 * np.sqrt(np.maximum(middle - spread, 0))


def _column(values, type_):
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and pa.types.is_integer(type_):
        values = values.astype(np.int64)
    return pa.array(values, type_, from_pandas=True)
