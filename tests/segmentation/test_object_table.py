"""Properties of objects, computed by hand and by scikit-image; tables as Parquet files."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import ndimage
from skimage.measure import label, regionprops_table

from tessera.segmentation.blocks import split_planes
from tessera.segmentation.object_table import SCHEMA, MeasuredImage, join_tables, tabulate, write_tables
from tessera.segmentation.region_properties import iter_finished, measure_block

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
    """Connected objects of any form, some touching, some at the edges, numbered 1 .. n."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 3)
    labels, _ = ndimage.label(smooth > np.percentile(smooth, 60))
    labels[:, 77] = labels.max() + 1
    return label(labels, connectivity=1)


def sums_of(labels, confidence, pixels, side=1000, stitched=False):
    """(t, sums) of finished objects of labels (t, z, y, x), confidence alike and pixels (channels, t, z, y, x)."""
    pixels = np.reshape(pixels, (-1, *labels.shape))
    padded = np.pad(labels, [(0, 0), (0, 0), (2, 2), (2, 2)])

    def measured(block):
        t, _, z, rows, columns = block.region
        window = padded[t, z, rows.start : rows.stop + 4, columns.start : columns.stop + 4]
        inner = np.s_[2:-2, 2:-2]
        return block, measure_block(
            window, inner, confidence[t, z, rows, columns], pixels[:, t, z, rows, columns], block
        )

    frames, depth, *plane = labels.shape
    return iter_finished(map(measured, split_planes(range(frames), depth, plane, side)), stitched, plane)


def table_of(labels, channels=(), confidence=None, side=1000, stitched=False, **changes):
    """The table of objects of labels (y, x) or (z, y, x), of `channels`: {name: pixels} or names."""
    labels = np.asarray(labels)
    labels = labels[None] if labels.ndim == 2 else labels
    confidence = np.full(labels.shape, 255) if confidence is None else np.reshape(confidence, labels.shape)
    pixels = [channels[name] if isinstance(channels, dict) else labels * 10 for name in channels]
    pixels = np.reshape(pixels, (len(pixels), 1, *labels.shape))
    first_label = changes.pop("first_label", 0)
    given = {"name": "a", "pixel_size_um": (None, 0.5, 0.25), "stitched": stitched} | changes
    image = MeasuredImage(shape=labels.shape, channels=list(channels), **given)
    tables = [
        tabulate(sums, image, t=t, classes=["cell"] * len(sums["label"]), first_label=first_label)
        for t, sums in sums_of(labels[None], confidence[None], pixels, side, stitched)
    ]
    return pa.concat_tables(tables)


def test_properties_of_a_drawing_are_those_computed_by_hand():
    values = np.arange(30, dtype=np.uint16).reshape(5, 6)
    objects = table_of(DRAWING, {"dna": values}, np.where(DRAWING == 3, 51, 204)).to_pandas()
    assert objects["label"].tolist() == [1, 2, 3]
    assert objects["area_px"].tolist() == [4, 4, 1]
    assert objects["centroid_y_px"].tolist() == [0, 2.5, 3]
    assert objects["centroid_x_px"].tolist() == [1.5, 2.5, 5]
    boxes = np.stack([objects[f"bbox_{side}_px"] for side in ("y0", "x0", "y1", "x1")], axis=1)
    assert boxes.tolist() == [[0, 0, 1, 4], [2, 2, 4, 4], [3, 5, 4, 6]]
    # The variance of 0, 1, 2, 3 is 1.25; that of 2, 3 is 0.25.
    np.testing.assert_allclose(objects["major_axis_px"], [4 * math.sqrt(1.25), 2, 0])
    np.testing.assert_allclose(objects["minor_axis_px"], [0, 2, 0])
    np.testing.assert_allclose(objects["eccentricity"], [1, 0, 0])
    # A line of four counts 1 for each of its two inner pixels, a square of four 1 for each corner.
    np.testing.assert_allclose(objects["perimeter_px"], [2, 4, 0])
    assert objects["touches_border"].tolist() == [True, False, True]
    np.testing.assert_allclose(objects["confidence"], [0.8, 0.8, 0.2])
    np.testing.assert_allclose(objects["intensity_mean_dna"], [1.5, (14 + 15 + 20 + 21) / 4, 23])
    assert objects[["volume_px", "centroid_z_px", "bbox_z0_px"]].isna().all(axis=None)


@pytest.mark.parametrize("side", [1000, 64, 33])
@pytest.mark.parametrize("seed", range(3))
def test_properties_are_those_of_scikit_image_for_any_size_of_blocks(seed, side):
    labels = random_labels(seed=seed)
    intensity = np.random.default_rng(seed).integers(0, 65535, labels.shape).astype(np.uint16)
    objects = table_of(labels, {"dna": intensity}, side=side).to_pandas().sort_values("label")
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
    assert len(objects["label"]) > 20
    for ours, theirs in names.items():
        np.testing.assert_allclose(objects[ours], expected[theirs], rtol=1e-6, atol=1e-5, err_msg=ours)


def test_objects_are_yielded_as_soon_as_they_are_complete():
    labels = np.zeros((90, 40), int)
    labels[2:5, 2:5], labels[25:50, 2:5], labels[70:80, 8:30] = 1, 2, 3
    given = [sums["label"].tolist() for _, sums in sums_of(labels[None, None], labels[None, None], labels, side=30)]
    assert list(filter(None, given)) == [[1], [2], [3]]


def test_pixels_that_are_not_finite_do_not_count():
    values = np.full(DRAWING.shape, 5.0, np.float32)
    values[0, 0], values[2, 2], values[3, 5] = np.nan, np.inf, np.nan
    objects = table_of(DRAWING, {"dna": values})
    assert objects["intensity_mean_dna"].to_pylist() == [5, 5, None]


@pytest.mark.parametrize("value", [2**63 - 1, 2**64 - 1])
def test_the_largest_integers_have_a_mean(value):
    values = np.full(DRAWING.shape, value, np.uint64)
    assert table_of(DRAWING, {"dna": values})["intensity_mean_dna"].to_pylist() == [float(value)] * 3


@pytest.mark.parametrize("side", [100, 4])
def test_an_object_of_a_stack_is_measured_through_its_planes(side):
    labels = np.zeros((4, 9, 8), int)
    labels[1, 2:4, 2:4], labels[2, 2:4, 2:7] = 1, 1
    labels[3, 6, 6] = 2
    objects = table_of(labels, ["dna"], side=side, stitched=True, pixel_size_um=(2.0, 0.5, 0.25)).to_pandas()
    assert objects["label"].tolist() == [1, 2]
    assert objects["volume_px"].tolist() == [14, 1]
    assert objects["volume_um3"].tolist() == [3.5, 0.25]
    np.testing.assert_allclose(objects["centroid_z_px"], [1 + 10 / 14, 3])
    np.testing.assert_allclose(objects["centroid_z_um"], [2 + 20 / 14, 6])
    np.testing.assert_allclose(objects["centroid_x_px"], [(4 * 2.5 + 10 * 4) / 14, 6])
    assert objects[["bbox_z0_px", "bbox_z1_px"]].to_numpy().tolist() == [[1, 3], [3, 4]]
    assert objects[["bbox_x0_px", "bbox_x1_px"]].to_numpy().tolist() == [[2, 7], [6, 7]]
    assert objects["touches_border"].tolist() == [False, True]
    assert objects["intensity_mean_dna"].tolist() == [10, 20]
    assert objects[["z", "area_px", "area_um2", "perimeter_px", "eccentricity"]].isna().all(axis=None)


def test_physical_sizes_are_given_if_the_pixel_size_is_known():
    rows = table_of(DRAWING, ["dna"], first_label=10).to_pandas()
    assert rows["label"].tolist() == [11, 12, 13]
    assert rows["area_um2"].tolist() == [0.5, 0.5, 0.125]
    assert rows["centroid_y_um"].tolist() == [0, 1.25, 1.5]
    assert rows["centroid_x_um"].tolist() == [0.375, 0.625, 1.25]
    assert set(rows["class"]) == {"cell"}
    assert (set(rows["t"]), set(rows["z"])) == ({0}, {0})


def test_physical_sizes_are_null_if_the_pixel_size_is_unknown():
    table = table_of(DRAWING, [], pixel_size_um=(None, None, None))
    assert [table[column].null_count for column in ("area_um2", "centroid_y_um", "centroid_x_um")] == [3, 3, 3]


def test_a_large_table_is_written_in_row_groups(tmp_path):
    table = table_of(DRAWING, [])
    write_tables(tmp_path / "a.parquet", table.schema, [table] * 40_000)
    with pq.ParquetFile(tmp_path / "a.parquet") as written:
        assert written.metadata.num_rows == 120_000
        assert written.num_row_groups == 5


def test_empty_tables_of_very_many_frames_are_not_written_one_by_one(tmp_path):
    table = table_of(DRAWING, [])[:0]
    write_tables(tmp_path / "a.parquet", table.schema, [table] * 100_000)
    metadata = pq.read_metadata(tmp_path / "a.parquet")
    assert (metadata.num_rows, metadata.num_row_groups) == (0, 1)


def test_a_plane_without_objects_gives_an_empty_table_of_the_same_columns_and_types():
    empty = table_of(np.zeros((5, 6), int), ["dna"])
    assert len(empty) == 0
    assert empty.schema == table_of(DRAWING, ["dna"]).schema


def test_joined_tables_have_the_channels_of_all(tmp_path):
    for image, channels in {"a": ["dna", "actin"], "b": ["dna"], "c": ["phase"]}.items():
        pq.write_table(table_of(DRAWING, channels, name=image), tmp_path / f"{image}.parquet")
    join_tables([tmp_path / f"{image}.parquet" for image in "abc"], tmp_path / "made" / "all.parquet")
    rows = pd.read_parquet(tmp_path / "made" / "all.parquet")
    assert list(rows.columns) == [*SCHEMA.names, *(f"intensity_mean_{name}" for name in ("dna", "actin", "phase"))]
    assert rows.groupby("image")["intensity_mean_dna"].count().tolist() == [3, 3, 0]
    assert rows.groupby("image")["intensity_mean_phase"].count().tolist() == [0, 0, 3]
    assert pq.ParquetFile(tmp_path / "made" / "all.parquet").num_row_groups == 3
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["all.parquet"]


def test_joining_no_tables_gives_an_empty_one(tmp_path):
    join_tables([], tmp_path / "all.parquet")
    rows = pd.read_parquet(tmp_path / "all.parquet")
    assert (len(rows), list(rows.columns)) == (0, SCHEMA.names)
