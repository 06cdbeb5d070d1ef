"""Objects: what is measured of each, all of a plane at once, and the table they are kept in."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    {
        "image": pa.string(),
        "t": pa.int32(),
        "z": pa.int32(),
        "label": pa.int32(),
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
    }
)
INTENSITY = "intensity_mean_"


def make_schema(channels):
    """Columns of the table of objects of an image that has `channels`, each of another name."""
    return pa.schema([*SCHEMA, *(pa.field(INTENSITY + channel, pa.float64()) for channel in channels)])


def number_alike(channels):
    """Names of channels that are each another: the same, or each with its number in front where two are alike."""
    if len(set(channels)) == len(channels):
        return list(channels)
    return [f"{number}_{channel}" for number, channel in enumerate(channels)]


def measure(labels, certainty, intensities):
    """Measure every object of a plane, with passes over its pixels that take no longer for many objects than for few.

    Axes are those of the ellipse with the object's second central moments, eccentricity is that ellipse's, and the
    perimeter follows Benkrid and Crookes 2000 (Design and FPGA Implementation of a Perimeter Estimator), all as in
    scikit-image.

    Args:
        labels: integers (y, x), 0 is background; all of 1 .. the largest are there.
        certainty: (y, x), what `confidence` is the mean of.
        intensities: {channel: (y, x)}; pixels that are not finite do not count.

    Returns:
        {column: array with a value per object, by label}, the columns of `SCHEMA` that need neither a name nor a unit,
        then one per channel. Centroids are of pixel centres, boxes half-open.
    """
    height, width = labels.shape
    flat = np.flatnonzero(labels)
    ids = labels.ravel()[flat] - 1
    count = int(ids.max()) + 1 if len(ids) else 0
    y, x = np.divmod(flat, width)
    area = np.bincount(ids, minlength=count)

    def mean(values):
        return np.bincount(ids, values, minlength=count) / area

    centre_y, centre_x = mean(y), mean(x)
    off_y, off_x = y - centre_y[ids], x - centre_x[ids]
    major, minor = _axes(mean(off_y**2), mean(off_x**2), mean(off_y * off_x))
    flatness = np.divide(minor, major, out=np.ones(count), where=major > 0)
    y0, y1, x0, x1 = np.full(count, height), np.zeros(count, int), np.full(count, width), np.zeros(count, int)
    for low, high, position in ((y0, y1, y), (x0, x1, x)):
        np.minimum.at(low, ids, position)
        np.maximum.at(high, ids, position + 1)
    columns = {
        "label": np.arange(1, count + 1),
        "centroid_y_px": centre_y,
        "centroid_x_px": centre_x,
        "area_px": area,
        "bbox_y0_px": y0,
        "bbox_x0_px": x0,
        "bbox_y1_px": y1,
        "bbox_x1_px": x1,
        "major_axis_px": major,
        "minor_axis_px": minor,
        "eccentricity": np.sqrt(1 - flatness**2),
        "perimeter_px": _perimeters(labels, count),
        "touches_border": (y0 == 0) | (x0 == 0) | (y1 == height) | (x1 == width),
        "confidence": mean(certainty.ravel()[flat]),
    }
    for channel, pixels in intensities.items():
        values = pixels.ravel()[flat].astype(np.float64)
        known = np.isfinite(values)
        total = np.bincount(ids, np.where(known, values, 0), minlength=count)
        counted = np.bincount(ids, known, minlength=count)
        columns[INTENSITY + channel] = np.divide(total, counted, out=np.full(count, np.nan), where=counted > 0)
    return columns


def make_table(columns, schema, *, image, t, z, classes, pixel_um, first_label=0):
    """A piece of the table of objects.

    Args:
        columns: from `measure`.
        schema: from `make_schema`.
        image: name of the image.
        t: frame.
        z: plane.
        classes: name of the class, or one per object.
        pixel_um: size of a pixel in z, y, x in micrometres, None where unknown.
        first_label: what is added to the labels.

    Returns:
        pyarrow.Table of `schema`; null where a size is unknown or nothing could be measured.
    """
    count = len(columns["label"])
    known = dict(columns)
    known["label"] = columns["label"] + first_label
    known |= {"image": [image] * count, "t": [t] * count, "z": [z] * count}
    known["class"] = [classes] * count if isinstance(classes, str) else list(classes)
    _, high, wide = pixel_um
    if high and wide:
        known["centroid_y_um"] = columns["centroid_y_px"] * high
        known["centroid_x_um"] = columns["centroid_x_px"] * wide
        known["area_um2"] = columns["area_px"] * (high * wide)
    nothing = [None] * count
    return pa.table(
        [pa.array(known.get(field.name, nothing), field.type, from_pandas=True) for field in schema], schema=schema
    )


def join_tables(tables, path):
    """Join the Parquet files `tables` in one at `path`, with the columns of them all, null where an image has none."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.unify_schemas([SCHEMA, *map(pq.read_schema, tables)])
    partial = path.with_name(f".{path.name}.part")
    with pq.ParquetWriter(partial, schema) as writer:
        for table in tables:
            with pq.ParquetFile(table) as rows:
                for group in range(rows.num_row_groups):
                    pieces = [schema.empty_table(), rows.read_row_group(group)]
                    writer.write_table(pa.concat_tables(pieces, promote_options="default"))
    partial.replace(path)


def _axes(variance_y, variance_x, covariance):
    """Lengths of the axes of the ellipses with these second moments: 4 times the square roots of the eigenvalues."""
    middle = (variance_y + variance_x) / 2
    spread = np.hypot((variance_y - variance_x) / 2, covariance)
    return 4 * np.sqrt(middle + spread), 4 * np.sqrt(np.maximum(middle - spread, 0))


def _perimeters(labels, count):
    """Length of the line through the border pixels of each object, by the number of their neighbours on the border."""
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    ids = padded.ravel()
    inside = np.flatnonzero(ids)
    beside = (-width, -1, 1, width)
    corner = (-width - 1, -width + 1, width - 1, width + 1)
    own = ids[inside]
    border = np.zeros(ids.shape, bool)
    border[inside] = np.any([ids[inside + step] != own for step in beside], axis=0)
    at = np.flatnonzero(border)
    of = ids[at]
    sides, corners = (
        np.sum([border[at + step] & (ids[at + step] == of) for step in steps], axis=0, dtype=int)
        for steps in (beside, corner)
    )
    weights = np.zeros(50)
    weights[[5, 7, 15, 17, 25, 27]] = 1
    weights[[21, 33]] = np.sqrt(2)
    weights[[13, 23]] = (1 + np.sqrt(2)) / 2
    return np.bincount(of - 1, weights[1 + 2 * sides + 10 * corners], minlength=count)
