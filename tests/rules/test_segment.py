"""Probabilities become labels and a table of objects that agree with each other."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zarr
from skimage.measure import regionprops

from helpers.store_batches import damage
from segment import segment
from tessera.common.constants import INSTANCE_OUTPUTS
from tessera.common.errors import InputError
from tessera.data.training_targets import instance_targets
from tessera.io.ome_zarr_store import create_store, finish_image, open_array, read_metadata
from tessera.segmentation import object_table, segment_image
from tessera.segmentation.blockwise_segmentation import choose_label_dtype
from tessera.segmentation.segment_image import SegmentationPlan
from tessera.settings.sections import SegmentSettings

pytestmark = pytest.mark.usefixtures("log_info")
SETTINGS = SegmentSettings(seed_threshold=0.5)
INSTANCES = SegmentationPlan("instances", ["background", "cell"], SETTINGS, workers=2)
SEMANTIC = SegmentationPlan("semantic", ["background", "mother", "daughter"], SETTINGS, workers=2)


@pytest.fixture
def log_info(caplog):
    """Capture messages of level INFO."""
    caplog.set_level("INFO", "tessera")


def draw_frames(frames=3, planes=1, shape=(70, 90)):
    """Instance ids (t, z, y, x): in each plane two discs that touch, and one that leaves through the edge."""
    ids = np.zeros((frames, planes, *shape), np.int32)
    y, x = np.indices(shape)
    for t, z in np.ndindex(frames, planes):
        for number, (centre_y, centre_x) in enumerate([(30, 20 + t), (30, 45 + t), (68, 70 + 2 * z)], start=1):
            ids[t, z][(y - centre_y) ** 2 + (x - centre_x) ** 2 < 13**2] = number
    return ids


def write_image(path, pixels, **metadata):
    store = create_store(path, pixels.shape, pixels.dtype)
    store[:] = pixels
    finish_image(path, name="image", **metadata)


def write_certain(path, targets, outputs):
    """A store of the probabilities of a network that is right and sure of `targets` (t, z, y, x)."""
    write_image(path, 255 * np.stack([targets == number for number in range(len(outputs))], 1).astype(np.uint8))


def write_batch(folder, ids, images=("movie",), **metadata):
    metadata = {"channels": ["dna"], "pixel_size_um": (None, 0.5, 0.5), "frame_interval_s": 60.0} | metadata
    pixels = np.repeat(100 * ids[:, None], len(metadata["channels"]), axis=1).astype(np.uint16)
    targets = np.stack([[instance_targets(plane, 2) for plane in frame] for frame in ids])
    for image in images:
        write_image(folder / "images" / f"{image}.ome.zarr", pixels, **metadata)
        write_certain(folder / "predictions" / f"{image}.ome.zarr", targets, INSTANCE_OUTPUTS)


def run(folder, provenance, plan, regions=None):
    places = (
        folder / "predictions",
        folder / "images",
        provenance,
        folder / "labels",
        folder / "objects" / "b.parquet",
    )
    segment(*places, plan=plan, regions=regions)
    return pd.read_parquet(places[-1])


def test_ids_of_cells_are_unique_over_all_frames(tmp_path):
    ids = draw_frames()
    write_batch(tmp_path, ids)
    rows = run(tmp_path, {"movie": "1"}, INSTANCES)
    labels = open_array(tmp_path / "labels" / "movie.ome.zarr")
    assert (labels.shape, labels.dtype) == ((3, 1, 1, 70, 90), np.int32)
    assert np.unique(labels[:]).tolist() == list(range(10))
    for t in range(3):
        assert rows[rows["t"] == t]["label"].tolist() == np.unique(labels[t])[1:].tolist()
        np.testing.assert_array_equal(labels[t, 0] > 0, ids[t] > 0)
    assert rows["label"].is_unique


def test_the_table_agrees_with_the_labels(tmp_path):
    write_batch(tmp_path, draw_frames(), channels=["dna", "actin"])
    rows = run(tmp_path, {"movie": "1"}, INSTANCES)
    labels, pixels = (open_array(tmp_path / kind / "movie.ome.zarr")[:] for kind in ("labels", "images"))
    for t in range(3):
        expected = regionprops(labels[t, 0, 0], pixels[t, 1, 0])
        for row, region in zip(rows[rows["t"] == t].itertuples(), expected, strict=True):
            assert (row.label, row.area_px, row.area_um2) == (region.label, region.area, region.area / 4)
            assert (row.centroid_y_um, row.centroid_x_um) == pytest.approx(np.array(region.centroid) / 2)
            assert row.intensity_mean_actin == pytest.approx(region.intensity_mean)
    assert rows["touches_border"].tolist() == [False, False, True] * 3
    assert (set(rows["image"]), set(rows["class"]), set(rows["confidence"])) == ({"movie"}, {"cell"}, {1.0})


def test_labels_are_64_bit_if_32_bits_might_not_suffice(tmp_path, monkeypatch):
    assert choose_label_dtype("instances", (1, 1, 1, 2**18, 2**17), 16) == np.int64
    assert choose_label_dtype("instances", (1, 1, 1, 2**18, 2**17 - 1), 16) == np.int32
    assert choose_label_dtype("instances", (1, 1, 1, 2**16, 2**15), 0) == np.int64
    assert choose_label_dtype("instances", (100_000, 1, 1000, 2**18, 2**18), 16) == np.int64
    assert choose_label_dtype("semantic", (100_000, 1, 1000, 2**18, 2**18), 16) == np.uint8
    monkeypatch.setattr(segment_image, "choose_label_dtype", lambda *_: np.int64)
    write_batch(tmp_path, draw_frames())
    rows = run(tmp_path, {"movie": "1"}, INSTANCES)
    labels = open_array(tmp_path / "labels" / "movie.ome.zarr")
    assert labels.dtype == np.int64
    assert np.unique(labels[:]).tolist() == [0, *sorted(rows["label"])]


def test_planes_of_a_stack_stay_apart_without_a_stitch_threshold(tmp_path):
    write_batch(tmp_path, draw_frames(frames=1, planes=2))
    rows = run(
        tmp_path, {"movie": "1"}, replace(INSTANCES, settings=SETTINGS.model_copy(update={"stitch_threshold": None}))
    )
    assert rows["z"].tolist() == [0, 0, 0, 1, 1, 1]
    assert rows["label"].tolist() == [1, 2, 3, 4, 5, 6]


def test_overlapping_cross_sections_of_a_stack_are_one_object(tmp_path):
    y, x = np.indices((60, 120))
    ids = np.zeros((2, 4, 60, 120), np.int32)
    for z, radius in enumerate((8, 12, 12, 8)):
        ids[:, z][:, (y - 30) ** 2 + (x - 30) ** 2 < radius**2] = 1
    ids[:, 1][:, (y - 30) ** 2 + (x - 80) ** 2 < 12**2] = 2
    ids[:, 2][:, (y - 30) ** 2 + (x - 96) ** 2 < 12**2] = 3
    write_batch(tmp_path, ids, pixel_size_um=(2.0, 0.5, 0.5))
    rows = run(tmp_path, {"movie": "1"}, INSTANCES)
    labels = open_array(tmp_path / "labels" / "movie.ome.zarr")[:, 0]
    np.testing.assert_array_equal(labels[0], ids[0])
    np.testing.assert_array_equal(labels[1], np.where(ids[1], ids[1] + 3, 0))
    assert rows["label"].tolist() == [2, 3, 1, 5, 6, 4]  # in the order in which they end
    rows = rows.sort_values("label")
    assert rows["volume_px"].tolist() == np.bincount(labels.ravel())[1:].tolist()
    assert rows["centroid_z_um"].tolist()[:3] == [3.0, 2.0, 4.0]
    assert rows["touches_border"].tolist() == [True, False, False] * 2
    assert rows["area_px"].isna().all()


def test_objects_across_blocks_are_whole_and_measured_as_a_whole(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.zeros((2, 1, 300, 250), np.int32)
    y, x = np.indices(ids.shape[2:])
    for t in range(2):
        for number in range(1, 60):
            ids[t, 0][(y - rng.integers(300)) ** 2 + (x - rng.integers(250)) ** 2 < rng.integers(5, 25) ** 2] = number
    write_batch(tmp_path / "whole", ids)
    whole = run(tmp_path / "whole", {"movie": "1"}, INSTANCES)
    expected = open_array(tmp_path / "whole" / "labels" / "movie.ome.zarr")[:]
    for name in ("images", "predictions"):
        (tmp_path / name).mkdir()
        pixels = open_array(tmp_path / "whole" / name / "movie.ome.zarr")[:]
        store = create_store(tmp_path / name / "movie.ome.zarr", pixels.shape, pixels.dtype, chunk_px=32, shard_px=128)
        store[:] = pixels
        channels = ["dna"] if name == "images" else None
        finish_image(
            tmp_path / name / "movie.ome.zarr", name="movie", pixel_size_um=(None, 0.5, 0.5), channels=channels
        )
    rows = run(tmp_path, {"movie": "1"}, replace(INSTANCES, block_px=64))
    labels = open_array(tmp_path / "labels" / "movie.ome.zarr")
    assert (labels.chunks[-2:], labels.shards[-2:]) == ((32, 32), (128, 128))
    np.testing.assert_array_equal(labels[:], expected)
    rows = rows.sort_values("label", ignore_index=True)
    pd.testing.assert_frame_equal(rows, whole, check_exact=False, rtol=1e-9)


def test_objects_cut_by_the_region_of_interest_touch_the_border(tmp_path):
    ids = np.zeros((1, 1, 80, 90), np.int32)
    for number, (y, x) in enumerate([(20, 10), (20, 40), (40, 60), (60, 20)], start=1):
        ids[0, 0, y : y + 12, x : x + 12] = number
    roi = (26, 72, 14, 90)
    looked_at = np.zeros_like(ids)
    looked_at[..., roi[0] : roi[1], roi[2] : roi[3]] = ids[..., roi[0] : roi[1], roi[2] : roi[3]]
    write_batch(tmp_path, looked_at)
    regions = {"movie": {"roi": roi, "frames": None}}
    rows = run(tmp_path, {"movie": "1"}, INSTANCES, regions=regions).sort_values("label")
    assert rows["touches_border"].tolist() == [True, True, False, True]


def test_labels_keep_the_pixel_size_of_the_image_and_have_colors(tmp_path):
    write_batch(tmp_path, draw_frames())
    run(tmp_path, {"movie": "1"}, INSTANCES)
    metadata = read_metadata(tmp_path / "labels" / "movie.ome.zarr")
    assert (metadata.pixel_size_um, metadata.frame_interval_s) == ((None, 0.5, 0.5), 60.0)
    assert zarr.open_group(tmp_path / "labels" / "movie.ome.zarr").attrs["ome"]["image-label"]["colors"]


def test_semantic_labels_are_the_most_probable_class_and_objects_its_components(tmp_path):
    classes = np.zeros((1, 1, 40, 60), np.uint8)
    classes[0, 0, 5:15, 5:15] = 1
    classes[0, 0, 5:15, 15:20] = 2
    classes[0, 0, 25:35, 40:50] = 1
    classes[0, 0, 30:32, 5:7] = 2
    write_image(tmp_path / "images" / "yeast.ome.zarr", classes[:, None].astype(np.uint8))
    write_certain(tmp_path / "predictions" / "yeast.ome.zarr", classes, SEMANTIC.classes)
    rows = run(tmp_path, {"yeast": "1"}, SEMANTIC)
    labels = open_array(tmp_path / "labels" / "yeast.ome.zarr")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels[:, 0], classes)
    assert list(zip(rows["class"], rows["area_px"], strict=True)) == [
        ("mother", 100),
        ("daughter", 50),
        ("mother", 100),
    ]
    assert rows["area_um2"].isna().all()


def test_an_image_without_cells_gives_an_empty_table_with_all_columns(tmp_path):
    write_batch(tmp_path / "some", draw_frames())
    write_batch(tmp_path / "none", np.zeros((1, 1, 20, 30), np.int32))
    for folder in ("some", "none"):
        run(tmp_path / folder, {"movie": "1"}, INSTANCES)
    some, none = (pq.read_table(tmp_path / folder / "objects" / "b.parquet") for folder in ("some", "none"))
    assert len(none) == 0
    assert none.schema == some.schema
    assert not open_array(tmp_path / "none" / "labels" / "movie.ome.zarr")[:].any()


def test_a_batch_of_images_with_other_channels_makes_one_table(tmp_path):
    write_batch(tmp_path, draw_frames(), images=["a"], channels=["dna", "actin"])
    write_batch(tmp_path, draw_frames(), images=["b"], channels=["phase"])
    rows = run(tmp_path, {"a": "1", "b": "1"}, INSTANCES)
    assert rows.groupby("image")["intensity_mean_actin"].count().to_dict() == {"a": 9, "b": 0}
    assert rows.groupby("image")["intensity_mean_phase"].count().to_dict() == {"a": 0, "b": 9}
    assert sorted(path.name for path in (tmp_path / "labels").iterdir() if not path.name.startswith(".")) == [
        "a.ome.zarr",
        "b.ome.zarr",
        "skipped.json",
    ]


def test_channels_of_one_name_have_columns_of_their_own(tmp_path):
    write_batch(tmp_path, draw_frames(), channels=["dna", "dna"])
    rows = run(tmp_path, {"movie": "1"}, INSTANCES)
    assert list(rows.columns[-2:]) == ["intensity_mean_0_dna", "intensity_mean_1_dna"]


def test_skipped_images_are_left_out(tmp_path):
    write_batch(tmp_path, draw_frames())
    (tmp_path / "images" / "skipped.json").write_text(json.dumps({"broken": "cannot be read"}))
    rows = run(tmp_path, {"broken": "1", "movie": "1"}, INSTANCES)
    assert set(rows["image"]) == {"movie"}


def test_a_batch_of_nothing_but_bad_images_makes_an_empty_table(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "predictions").mkdir()
    (tmp_path / "images" / "skipped.json").write_text(json.dumps({"broken": "cannot be read"}))
    assert len(run(tmp_path, {"broken": "1"}, INSTANCES)) == 0


def test_predictions_of_another_size_are_named_and_other_images_kept(tmp_path, caplog):
    ids = draw_frames()
    write_batch(tmp_path, ids, images=["a", "b", "c"])
    write_certain(tmp_path / "predictions" / "b.ome.zarr", ids[..., :50], INSTANCE_OUTPUTS)
    write_certain(tmp_path / "predictions" / "c.ome.zarr", ids, ["background", "cell"])
    provenance = {"a": "1", "b": "1", "c": "1"}
    with pytest.raises(InputError, match=r"b.ome.zarr.*not the size(.|\n)*c.ome.zarr.*2 outputs"):
        run(tmp_path, provenance, INSTANCES)
    caplog.clear()
    write_batch(tmp_path, ids, images=["b", "c"])
    rows = run(tmp_path, provenance, INSTANCES)
    assert rows["image"].value_counts().to_dict() == {"a": 9, "b": 9, "c": 9}
    assert "a: 9 objects" not in caplog.text


def test_a_job_stopped_while_joining_tables_keeps_all_images(tmp_path, monkeypatch, caplog):
    def stop(*_):
        raise KeyboardInterrupt

    write_batch(tmp_path, draw_frames(), images=["a", "b"])
    with monkeypatch.context() as patch:
        patch.setattr(object_table, "join_tables", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, {"a": "1", "b": "1"}, INSTANCES)
    caplog.clear()
    rows = run(tmp_path, {"a": "1", "b": "1"}, INSTANCES)
    assert rows["image"].value_counts().to_dict() == {"a": 9, "b": 9}
    assert "objects" not in caplog.text


def test_a_second_run_gives_the_same_labels_and_objects(tmp_path):
    write_batch(tmp_path, draw_frames())
    rows = run(tmp_path, {"movie": "1"}, INSTANCES)
    first = open_array(tmp_path / "labels" / "movie.ome.zarr")[:]
    pd.testing.assert_frame_equal(rows, run(tmp_path, {"movie": "2"}, INSTANCES))
    np.testing.assert_array_equal(first, open_array(tmp_path / "labels" / "movie.ome.zarr")[:])


@pytest.mark.parametrize("kind", ["predictions", "images"])
def test_a_damaged_store_is_named_and_other_images_are_kept(tmp_path, caplog, kind):
    write_batch(tmp_path, draw_frames(), images=["a", "b"])
    damage(tmp_path / kind / "a.ome.zarr" / "0" / "c" / "0" / "0" / "0" / "0" / "0")
    with pytest.raises(InputError, match=rf"{kind}/a\.ome\.zarr: the store is damaged, pixels at .* cannot be read"):
        run(tmp_path, {"a": "1", "b": "1"}, INSTANCES)
    assert "b: 9 objects" in caplog.text
