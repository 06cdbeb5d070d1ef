"""Imported masks become labels without changes, and their measurements equal those of scikit-image."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from skimage.measure import label, regionprops

from helpers.store_batches import place_discs, write_batch, write_image
from import_masks import import_masks
from tessera.common.errors import InputError
from tessera.common.user_warnings import read_warnings
from tessera.io.ome_zarr_store import open_array
from tessera.settings.sections import IngestTruthSettings

CLASSES = ["background", "cell"]
SHAPE = (90, 100)


def imported(root, masks, *, pixels=None, regions=None, axes="", on_bad_image="fail", **settings):
    """Labels (t, z, y, x) and the table of objects of masks (t, z, y, x) that were written as a TIFF."""
    masks = np.asarray(masks)
    images, _, _ = write_batch(root, {"a": (masks.max(1), None)}) if pixels is None else (pixels, None, None)
    path = root / "masks.tif"
    tifffile.imwrite(path, masks.squeeze().astype(np.uint16), photometric="minisblack")
    rows = [{"image": "a", "masks_files": [str(path)], "axes": axes}]
    output, table = root / "imported" / "one", root / "objects.parquet"
    import_masks(
        rows,
        images,
        {"a": "1"},
        output,
        table,
        classes=CLASSES,
        settings=IngestTruthSettings(**settings),
        on_bad_image=on_bad_image,
        regions=regions,
    )
    return output, table


def discs(frames=2):
    return np.stack([place_discs(SHAPE, [(20, 20 + 3 * t), (60, 70)], 9) for t in range(frames)])[:, None]


def test_imported_ids_are_kept_and_measurements_equal_scikit_image(tmp_path):
    masks = discs() * 300
    masks[0, 0, 80:85, 5:9] = 300
    output, table = imported(tmp_path, masks)
    assert (open_array(output / "a.ome.zarr")[:, 0] == masks).all()
    rows = pq.read_table(table).to_pandas()
    assert len(rows) == 4
    for row in rows.itertuples():
        (seen,) = (each for each in regionprops(masks[row.t, 0]) if each.label == row.label)
        assert (row.centroid_y_px, row.centroid_x_px) == pytest.approx(seen.centroid)
        assert row.area_px == seen.area
        assert (row.bbox_y0_px, row.bbox_x0_px, row.bbox_y1_px, row.bbox_x1_px) == seen.bbox
        assert row.perimeter_px == pytest.approx(seen.perimeter)
        assert np.isnan(row.confidence)
    assert set(rows["class"]) == {"cell"}


def test_label_stores_of_tessera_are_imported(tmp_path):
    images, labels, _ = write_batch(tmp_path, {"a": (discs()[:, 0] * 300, None)})
    rows = [{"image": "a", "masks_files": [str(labels / "a.ome.zarr")], "axes": ""}]
    import_masks(
        rows,
        images,
        {"a": "1"},
        tmp_path / "out",
        tmp_path / "a.parquet",
        classes=CLASSES,
        settings=IngestTruthSettings(),
    )
    assert (open_array(tmp_path / "out" / "a.ome.zarr")[:, 0, 0] == discs()[:, 0] * 300).all()


def test_object_of_a_stack_is_one_object_in_all_planes(tmp_path):
    stack = np.zeros((1, 3, *SHAPE), np.int32)
    stack[0, :2], stack[0, 1:, :40, :40] = discs(1)[0], 0
    images = tmp_path / "images" / "one"
    images.mkdir(parents=True)
    (images / "skipped.json").write_text("{}")
    write_image(images, "a", (1000 * (stack > 0)).astype(np.uint16)[:, None])
    output, table = imported(tmp_path, stack, pixels=images, axes="ZYX")
    assert (open_array(output / "a.ome.zarr")[:, 0] == stack).all()
    rows = pq.read_table(table).to_pandas().set_index("label")
    assert rows["volume_px"].to_dict() == {label: (stack == label).sum() for label in (1, 2)}
    assert rows[["bbox_z0_px", "bbox_z1_px"]].to_numpy().tolist() == [[0, 1], [0, 2]]


def test_only_the_analyzed_region_and_frames_are_imported(tmp_path):
    masks = discs(3)
    output, table = imported(tmp_path, masks, regions={"a": {"roi": (0, 90, 0, 25), "frames": "0,2"}})
    expected = masks.copy()
    expected[1], expected[..., 25:] = 0, 0
    assert (open_array(output / "a.ome.zarr")[:, 0] == expected).all()
    rows = pq.read_table(table).to_pandas()
    assert rows[["t", "label"]].to_numpy().tolist() == [[0, 1], [2, 1]]
    assert rows["touches_border"].all()


def test_analyzed_frames_without_masks_cause_a_warning(tmp_path, caplog):
    images, _, _ = write_batch(tmp_path, {"a": (discs(4)[:, 0], None)})
    folder = tmp_path / "masks"
    folder.mkdir()
    for t, frame in enumerate(discs(4)[:3, 0]):
        tifffile.imwrite(folder / f"man_seg{t:03}.tif", frame.astype(np.uint16))
    row = {"image": "a", "masks_files": [str(folder)], "axes": ""}
    for end, has_warning in ((3, False), (4, True)):
        regions = {"a": {"roi": None, "frames": f"1:{end}"}}
        output, table = tmp_path / str(end), tmp_path / f"{end}.parquet"
        import_masks(
            [row], images, {"a": "1"}, output, table, classes=CLASSES, settings=IngestTruthSettings(), regions=regions
        )
        assert ("contain 2 of 3 frames; the others are empty" in caplog.text) == has_warning


def test_empty_masks_give_empty_labels(tmp_path, caplog):
    output, table = imported(tmp_path, np.zeros((2, 1, *SHAPE), int))
    assert not np.asarray(open_array(output / "a.ome.zarr")).any()
    assert pq.read_metadata(table).num_rows == 0
    assert "a: warning: masks contain no object" in caplog.text
    assert read_warnings([output]) == {"a": ["masks contain no object"]}


def test_masks_with_a_single_value_cause_a_warning_and_can_be_split(tmp_path, caplog):
    masks = np.where(discs() > 0, 255, 0)
    output, _ = imported(tmp_path / "kept", masks)
    assert np.unique(open_array(output / "a.ome.zarr")).tolist() == [0, 255]
    assert (
        "have the single id 255; if each connected component is a cell, set ingest_truth.disconnected_labels"
        in caplog.text
    )
    output, table = imported(tmp_path / "apart", masks, disconnected_labels="split")
    pieces = sum(label(frame[0], return_num=True)[1] for frame in masks)
    assert pq.read_metadata(table).num_rows == pieces > len(masks)
    assert ((np.asarray(open_array(output / "a.ome.zarr"))[:, 0] > 0) == (masks > 0)).all()


def test_connected_ids_cause_no_warning_about_splitting(tmp_path, caplog):
    output, _ = imported(tmp_path, discs(), disconnected_labels="split")
    assert (open_array(output / "a.ome.zarr")[:, 0] == discs()).all()
    assert "warning" not in caplog.text


def test_unannotated_pixels_are_no_object(tmp_path):
    masks = discs()
    masks[..., :5, :] = 99
    output, _ = imported(tmp_path, masks, ignore_label=99)
    assert (open_array(output / "a.ome.zarr")[:, 0] == np.where(masks == 99, 0, masks)).all()


def test_axes_of_the_table_distinguish_frames_and_planes(tmp_path):
    images = write_image(tmp_path / "images", "a", np.zeros((2, 1, 3, *SHAPE), np.uint16)).parent
    masks = discs(6)
    with pytest.raises(InputError, match=r"is t 6, .* but its image is t 2, z 3, .*; state its axes in the table"):
        imported(tmp_path, masks, pixels=images)


def test_bad_masks_are_refused_by_name_or_skipped(tmp_path):
    images, _, _ = write_batch(tmp_path, {"a": (discs()[:, 0], None)})
    with pytest.raises(InputError, match=r"masks\.tif: is t 2, y 45, x 100, but its image is t 2, y 90, x 100"):
        imported(tmp_path, discs()[:, :, :45], pixels=images)
    with pytest.raises(InputError, match=r"but its image is t 2, .*; the image has 2 frames, the annotation 3; remove"):
        imported(tmp_path, discs(3), pixels=images)
    noise = np.random.default_rng(0).integers(1, 999, (2, 1, *SHAPE))
    with pytest.raises(InputError, match=r"masks\.tif: .*looks like a photograph"):
        imported(tmp_path, noise, pixels=images)
    output, table = imported(tmp_path, noise, pixels=images, on_bad_image="skip")
    assert "photograph" in json.loads((output / "skipped.json").read_text())["a"]
    assert pq.read_metadata(table).num_rows == 0
