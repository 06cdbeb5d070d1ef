"""Measurements, by hand and against scikit-image; tables, read by others."""

import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lib.objects import SCHEMA, join_tables, make_schema, make_table, measure
from scipy import ndimage
from skimage.measure import regionprops_table

DRAWING = np.array(
    [
        [1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 2, 2, 0, 0],
        [0, 0, 2, 2, 0, 3],
        [0, 0, 0, 0, 0, 0],
    ]
)


def random_labels(shape=(150, 200), count=60, seed=0):
    """Objects of any form, some touching, some at the edges, numbered 1 .. n."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 3)
    labels, _ = ndimage.label(smooth > np.percentile(smooth, 60))
    labels[:, 77] = np.where(labels[:, 77] > 0, labels.max() + 1, 0)
    return np.unique(labels, return_inverse=True)[1].reshape(shape)


def test_a_drawing_has_the_measurements_worked_out_by_hand():
    values = np.arange(30, dtype=np.uint16).reshape(5, 6)
    found = measure(DRAWING, np.where(DRAWING == 3, 0.25, 0.75), {"dna": values})
    assert found["label"].tolist() == [1, 2, 3]
    assert found["area_px"].tolist() == [4, 4, 1]
    assert found["centroid_y_px"].tolist() == [0, 2.5, 3]
    assert found["centroid_x_px"].tolist() == [1.5, 2.5, 5]
    boxes = np.stack([found[f"bbox_{side}_px"] for side in ("y0", "x0", "y1", "x1")], axis=1)
    assert boxes.tolist() == [[0, 0, 1, 4], [2, 2, 4, 4], [3, 5, 4, 6]]
    # The variance of 0, 1, 2, 3 is 1.25; that of 2, 3 is 0.25.
    np.testing.assert_allclose(found["major_axis_px"], [4 * math.sqrt(1.25), 2, 0])
    np.testing.assert_allclose(found["minor_axis_px"], [0, 2, 0])
    np.testing.assert_allclose(found["eccentricity"], [1, 0, 0])
    # A line of four counts 1 for each of its two inner pixels, a square of four 1 for each corner.
    np.testing.assert_allclose(found["perimeter_px"], [2, 4, 0])
    assert found["touches_border"].tolist() == [True, False, True]
    np.testing.assert_allclose(found["confidence"], [0.75, 0.75, 0.25])
    np.testing.assert_allclose(found["intensity_mean_dna"], [1.5, (14 + 15 + 20 + 21) / 4, 23])


@pytest.mark.parametrize("seed", range(3))
def test_measurements_are_those_of_scikit_image(seed):
    labels = random_labels(seed=seed)
    intensity = np.random.default_rng(seed).integers(0, 65535, labels.shape).astype(np.uint16)
    found = measure(labels, np.ones(labels.shape), {"dna": intensity})
    names = {
        "label": "label",
        "area_px": "area",
        "centroid_y_px": "centroid-0",
        "centroid_x_px": "centroid-1",
        "bbox_y0_px": "bbox-0",
        "bbox_x0_px": "bbox-1",
        "bbox_y1_px": "bbox-2",
        "bbox_x1_px": "bbox-3",
        "major_axis_px": "axis_major_length",
        "minor_axis_px": "axis_minor_length",
        "eccentricity": "eccentricity",
        "perimeter_px": "perimeter",
        "intensity_mean_dna": "mean_intensity",
    }
    properties = sorted({name.split("-")[0] for name in names.values()})
    expected = regionprops_table(labels, intensity, properties=properties)
    assert len(found["label"]) > 20
    for ours, theirs in names.items():
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=1e-6, atol=1e-5, err_msg=ours)


def test_pixels_that_are_no_numbers_do_not_count():
    values = np.full(DRAWING.shape, 5.0, np.float32)
    values[0, 0], values[2, 2], values[3, 5] = np.nan, np.inf, np.nan
    found = measure(DRAWING, np.ones(DRAWING.shape), {"dna": values})
    np.testing.assert_array_equal(found["intensity_mean_dna"], [5, 5, np.nan])


def table_of(labels, channels, image="a", **changes):
    columns = measure(labels, np.ones(labels.shape), dict.fromkeys(channels, labels * 10))
    place = {"t": 0, "z": 0, "classes": "cell", "pixel_um": (None, 0.5, 0.25)} | changes
    return make_table(columns, make_schema(channels), image=image, **place)


def test_a_table_has_physical_sizes_where_the_pixel_size_is_known():
    rows = table_of(DRAWING, ["dna"], t=3, z=1, first_label=10).to_pandas()
    assert rows["label"].tolist() == [11, 12, 13]
    assert rows["area_um2"].tolist() == [0.5, 0.5, 0.125]
    assert rows["centroid_y_um"].tolist() == [0, 1.25, 1.5]
    assert rows["centroid_x_um"].tolist() == [0.375, 0.625, 1.25]
    assert set(rows["class"]) == {"cell"}
    assert (set(rows["t"]), set(rows["z"])) == ({3}, {1})


def test_physical_sizes_are_null_where_it_is_not():
    table = table_of(DRAWING, [], pixel_um=(None, None, None))
    assert [table[column].null_count for column in ("area_um2", "centroid_y_um", "centroid_x_um")] == [3, 3, 3]


def test_a_plane_without_objects_gives_an_empty_table_of_the_same_columns_and_types():
    empty = table_of(np.zeros((5, 6), int), ["dna"])
    assert len(empty) == 0
    assert empty.schema == table_of(DRAWING, ["dna"]).schema


def test_joined_tables_have_the_channels_of_all(tmp_path):
    for image, channels in {"a": ["dna", "actin"], "b": ["dna"], "c": ["phase"]}.items():
        pq.write_table(table_of(DRAWING, channels, image), tmp_path / f"{image}.parquet")
    join_tables([tmp_path / f"{image}.parquet" for image in "abc"], tmp_path / "made" / "all.parquet")
    rows = pd.read_parquet(tmp_path / "made" / "all.parquet")
    assert list(rows.columns) == [*SCHEMA.names, *(f"intensity_mean_{name}" for name in ("dna", "actin", "phase"))]
    assert rows.groupby("image")["intensity_mean_dna"].count().tolist() == [3, 3, 0]
    assert rows.groupby("image")["intensity_mean_phase"].count().tolist() == [0, 0, 3]
    assert pq.ParquetFile(tmp_path / "made" / "all.parquet").num_row_groups == 3
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["all.parquet"]


def test_no_tables_at_all_join_to_an_empty_one(tmp_path):
    join_tables([], tmp_path / "all.parquet")
    rows = pd.read_parquet(tmp_path / "all.parquet")
    assert (len(rows), list(rows.columns)) == (0, SCHEMA.names)
