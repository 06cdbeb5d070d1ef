"""Scores and pictures of small batches."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.batch_evaluation import evaluate_batch
from helpers.store_batches import damage, place_discs, write_batch, write_image, write_labels
from tessera.common.constants import UNKNOWN
from tessera.common.errors import InputError
from tessera.evaluation.segmentation_metrics import worst_frame
from tessera.io.ome_zarr_store import create_store, finish_labels
from tessera.report.overlay_images import (
    LABEL_COLORS,
    TRUTH_COLORS,
    apply_contrast_limits,
    draw_overlays,
    is_rgb,
    outline_objects,
    resize_nearest,
)

CLASSES = ["background", "mother", "daughter"]
CENTRES = [(12, 12), (12, 40), (40, 12), (40, 40)]
CELLS = place_discs((64, 64), CENTRES, 8)
TRIO = np.where(CELLS == 4, 0, CELLS)


def run(tmp_path, folders, subsets, **options):
    """Evaluate a batch: (table, folder of pictures); for the options see `evaluate_batch`."""
    path, pictures = evaluate_batch(tmp_path, folders, subsets, **options)
    table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=[""], dtype={"image": str})
    return table.set_index("image"), pictures


def test_each_image_has_a_row_with_its_scores(tmp_path):
    folders = write_batch(tmp_path, {"good": (CELLS[None], CELLS[None]), "poor": (TRIO[None], CELLS[None])})
    table, _ = run(tmp_path, folders, {"good": "train", "poor": "test"})
    assert list(table.index) == ["good", "poor"]
    assert table["split"].to_dict() == {"good": "train", "poor": "test"}
    assert table["ap_50"].to_dict() == {"good": 1, "poor": 0.75}
    assert table["ap_mean"].to_dict() == {"good": 1, "poor": 0.75}
    assert table.loc["poor", ["tp_50", "fp_50", "fn_50", "objects_truth", "objects_found"]].tolist() == [3, 0, 1, 4, 3]
    assert table.loc["poor", "area_px_median"] == (CELLS == 1).sum()
    assert table.loc["poor", "provenance"] == "provenance of poor"


def test_an_image_without_truth_is_measured_and_not_scored(tmp_path):
    folders = write_batch(tmp_path, {"NA": (CELLS[None], None)})
    table, pictures = run(tmp_path, folders, {"NA": "predict"}, annotated=[])
    row = table.loc["NA"]
    assert row["objects_found"] == 4
    assert row["frames_scored"] == 0
    assert row[["ap_50", "pixel_accuracy", "objects_truth", "tp_50", "seg"]].isna().all()
    assert not (pictures / "NA" / "truth.png").exists()
    assert (pictures / "NA" / "labels.png").exists()


def test_an_image_assigned_to_test_by_the_table_needs_no_ground_truth(tmp_path):
    folders = write_batch(tmp_path, {"a": (CELLS[None], None), "b": (CELLS[None], CELLS[None])})
    table, _ = run(tmp_path, folders, {"a": "test", "b": "test"}, annotated=["b"])
    assert table["frames_scored"].to_dict() == {"a": 0, "b": 1}
    table, _ = run(tmp_path, folders, {"a": "test"}, annotated=[])
    assert table["frames_scored"].to_dict() == {"a": 0}


def test_outputs_of_an_earlier_job_are_replaced(tmp_path):
    folders = write_batch(tmp_path, {"a": (CELLS[None], None), "b": (CELLS[None], None)})
    run(tmp_path, folders, {"a": "predict", "b": "predict"}, annotated=[])
    table, pictures = run(tmp_path, folders, {"b": "predict"}, annotated=[])
    assert list(table.index) == ["b"]
    assert [path.name for path in pictures.iterdir()] == ["b"]


def test_an_object_of_a_stack_is_scored_once_through_all_its_planes(tmp_path):
    images, labels, truth = write_batch(tmp_path, {})
    pair = place_discs((64, 64), [(16, 16), (44, 44)], 9)
    stack = np.stack([pair * (pair > 1), pair, pair, pair * (pair < 2)])[None, None]
    write_image(images, "stack", stack.astype(np.uint16))
    for folder, ids in ((labels, (3 - stack) * (stack > 0)), (truth, stack)):
        create_store(folder / "stack.ome.zarr", ids.shape, np.int32)[:] = ids
        finish_labels(folder / "stack.ome.zarr", name="stack")
    table, _ = run(tmp_path, (images, labels, truth), {"stack": "test"})
    row = table.loc["stack"]
    assert row[["frames", "frames_scored", "objects_truth", "objects_found"]].tolist() == [1, 1, 2, 2]
    assert row[["ap_50", "ap_95", "seg", "panoptic_quality", "pixel_accuracy"]].tolist() == [1] * 5
    assert row[["splits", "merges"]].tolist() == [0, 0]


def test_labels_that_are_not_classes_are_refused_with_their_store(tmp_path):
    strange = (CELLS > 0).astype(np.uint8) * 7
    folders = write_batch(tmp_path, {"yeast": (strange[None], strange[None])}, classes=CLASSES)
    with pytest.raises(InputError, match=r"labels/one/yeast\.ome\.zarr, .*truth/one/yeast\.ome\.zarr: labels \[7\]"):
        run(tmp_path, folders, {"yeast": "test"}, task="semantic", classes=CLASSES)


def test_tables_with_and_without_truth_have_the_same_columns(tmp_path):
    with_truth = write_batch(tmp_path / "a", {"a": (CELLS[None], CELLS[None])})
    without = write_batch(tmp_path / "b", {"b": (CELLS[None], None)})
    scored, _ = run(tmp_path / "a", with_truth, {"a": "test"})
    measured, _ = run(tmp_path / "b", without, {"b": "predict"}, annotated=[])
    assert list(scored.columns) == list(measured.columns)


def test_frames_that_are_not_annotated_are_not_scored(tmp_path):
    segmented = np.stack([CELLS, np.zeros_like(CELLS), TRIO])
    images, labels, truth = write_batch(tmp_path, {"movie": (segmented, None)})
    marked = np.stack([np.zeros_like(CELLS), np.zeros_like(CELLS), CELLS])
    write_labels(truth, "movie", marked, extra={"annotated_t": [2]})
    table, pictures = run(tmp_path, (images, labels, truth), {"movie": "test"})
    row = table.loc["movie"]
    assert (row["frames"], row["frames_scored"], row["ap_50"]) == (3, 1, 0.75)
    assert (row["objects_truth"], row["objects_found"]) == (4, 7)
    assert json.loads((pictures / "movie" / "picture.json").read_text())["t"] == 2


def test_a_movie_is_drawn_at_its_worst_frame(tmp_path):
    folders = write_batch(tmp_path, {"movie": (np.stack([CELLS, TRIO, CELLS]), np.stack([CELLS] * 3))})
    table, pictures = run(tmp_path, folders, {"movie": "test"})
    assert table.loc["movie", "ap_50"] == pytest.approx(11 / 12)
    described = json.loads((pictures / "movie" / "picture.json").read_text())
    assert (described["t"], described["score"]) == (1, 0.75)


def test_worst_frame_is_the_middle_frame_without_a_score():
    assert worst_frame({0: np.nan, 4: np.nan, 7: np.nan}) == (4, None)
    assert worst_frame({0: np.nan, 3: 0.5, 4: 0.5}) == (3, 0.5)


def test_classes_are_scored_by_name(tmp_path):
    truth = np.where(CELLS > 2, 2, CELLS > 0).astype(np.uint8)
    labels = np.where(truth == 2, 1, truth).astype(np.uint8)
    folders = write_batch(tmp_path, {"yeast": (labels[None], truth[None])}, classes=CLASSES)
    table, _ = run(tmp_path, folders, {"yeast": "val"}, task="semantic", classes=CLASSES)
    row = table.loc["yeast"]
    assert row[["iou_background", "iou_mother", "iou_daughter", "iou_mean"]].tolist() == [1, 0.5, 0, 0.25]
    assert row["share_mother"] == pytest.approx((truth > 0).mean())
    assert row["tp_mother"] == (truth == 1).sum()


def test_a_skipped_image_has_no_row(tmp_path):
    folders = write_batch(tmp_path, {"good": (CELLS[None], CELLS[None])}, skipped={"bad": "bad.tif: is empty"})
    table, _ = run(tmp_path, folders, {"bad": "train", "good": "test"})
    assert list(table.index) == ["good"]


def test_a_batch_of_skipped_images_has_an_empty_table(tmp_path):
    folders = write_batch(tmp_path, {}, skipped={"bad": "bad.tif: is empty"})
    table, pictures = run(tmp_path, folders, {"bad": "train"})
    assert len(table) == 0
    assert pictures.is_dir()


def test_ground_truth_of_another_shape_is_refused(tmp_path):
    images, labels, truth = write_batch(tmp_path, {"a": (CELLS[None], None)})
    write_labels(truth, "a", CELLS[None, :32])
    with pytest.raises(InputError, match=r"a\.ome\.zarr: has shape \(1, 1, 1, 32, 64\)"):
        run(tmp_path, (images, labels, truth), {"a": "test"})


def test_an_image_with_skipped_ground_truth_is_measured_and_not_scored(tmp_path):
    folders = write_batch(tmp_path, {"a": (CELLS[None], None)})
    (folders[2] / "skipped.json").write_text(json.dumps({"a": "a_mask.png: has another shape"}))
    table, _ = run(tmp_path, folders, {"a": "train"})
    assert table.loc["a", "frames_scored"] == 0
    assert table.loc["a", "objects_found"] == 4


def test_missing_ground_truth_is_refused(tmp_path):
    folders = write_batch(tmp_path, {"a": (CELLS[None], None)})
    with pytest.raises(InputError, match="a: no store"):
        run(tmp_path, folders, {"a": "test"})


def test_scores_do_not_depend_on_shards(tmp_path):
    random = np.random.default_rng(1)
    truth = place_discs((300, 300), random.integers(0, 300, (60, 2)), 9)
    segmented = np.roll(truth, (2, 1), (0, 1))
    whole = write_batch(tmp_path / "whole", {"a": (segmented[None], truth[None])})
    expected, _ = run(tmp_path / "whole", whole, {"a": "test"})
    cut = write_batch(tmp_path / "cut", {"a": (segmented[None], truth[None])})
    for folder, labels in ((cut[1], segmented), (cut[2], truth)):
        store = create_store(folder / "a.ome.zarr", (1, 1, 1, 300, 300), np.int32, chunk_px=64, shard_px=128)
        store[0, 0, 0] = labels
        finish_labels(folder / "a.ome.zarr", name="a")
    table, _ = run(tmp_path / "cut", cut, {"a": "test"})
    pd.testing.assert_frame_equal(table, expected)


def test_outlines_are_inside_objects_and_separate_touching_objects():
    labels = np.zeros((12, 20), dtype=np.int32)
    labels[2:10, 2:9], labels[2:10, 9:18] = 1, 2
    edges = outline_objects(labels, 1)
    assert not edges[labels == 0].any()
    assert edges[2:10, 2].all()
    assert edges[2:10, 8].all()
    assert edges[2:10, 9].all()
    assert not edges[4:8, 4:7].any()


def test_outlines_of_classes_carry_their_class():
    labels = np.zeros((10, 20), dtype=np.uint8)
    labels[2:8, 2:8], labels[2:8, 12:18] = 1, 2
    labels[9, :] = 255
    edges = outline_objects(labels, 1, CLASSES)
    assert set(np.unique(edges)) == {0, 1, 2}
    assert edges[2, 2] == 1
    assert edges[2, 12] == 2


def test_a_picture_reads_back_with_outlines_in_their_colors(tmp_path):
    images, labels, truth = write_batch(tmp_path, {"a": (TRIO[None], CELLS[None])})
    stores = {"image": images / "a.ome.zarr", "labels": labels / "a.ome.zarr", "truth": truth / "a.ome.zarr"}
    draw_overlays(tmp_path / "a", **stores)
    base = Image.open(tmp_path / "a" / "base.jpg")
    assert base.size == (768, 768)
    for layer, colors, fourth in (("labels", LABEL_COLORS, False), ("truth", TRUTH_COLORS, True)):
        drawn = np.array(Image.open(tmp_path / "a" / f"{layer}.png").convert("RGBA"))
        opaque = drawn[..., 3] > 0
        assert (drawn[opaque][:, :3] == list(bytes.fromhex(colors[0][1:]))).all()
        assert opaque[:384, :384].any()
        assert opaque[384:, 384:].any() == fourth
    assert (tmp_path / "a" / "labels.png").stat().st_size < 20_000


def test_a_large_image_is_drawn_from_its_pyramid(tmp_path):
    pixels = np.zeros((1, 1, 1, 1700, 900), dtype=np.uint8)
    pixels[..., :850, :] = 200
    image = write_image(tmp_path, "large", pixels)
    labels = write_labels(tmp_path, "labels", (pixels[:, 0, 0] > 0).astype(np.int32))
    draw_overlays(tmp_path / "picture", image=image, labels=labels)
    base = np.array(Image.open(tmp_path / "picture" / "base.jpg"))
    assert base.shape == (768, 407)
    assert base[100, 100] > 250
    assert base[700, 100] < 5
    edges = np.array(Image.open(tmp_path / "picture" / "labels.png").convert("RGBA"))[..., 3] > 0
    assert edges[382:384, 200].all()
    assert not edges[386:, :].any()


def test_outlines_from_a_pyramid_level_are_centered_on_the_object(tmp_path):
    disc = place_discs((3200, 3200), [(1599.5, 1599.5)], 1200).astype(np.uint8)
    image = write_image(tmp_path, "large", 200 * disc[None, None, None])
    labels = write_labels(tmp_path, "labels", disc[None].astype(np.int32))
    draw_overlays(tmp_path / "picture", image=image, labels=labels)
    base = np.array(Image.open(tmp_path / "picture" / "base.jpg")) > 127
    edges = np.array(Image.open(tmp_path / "picture" / "labels.png").convert("RGBA"))[..., 3] > 0
    for drawn in (base, edges):
        assert np.argwhere(drawn).mean(0) == pytest.approx([383.5, 383.5], abs=0.1)


def test_rgb_keeps_its_hues_and_other_channels_become_grey():
    pixels = np.array([[[100]], [[50]], [[0]]], dtype=np.uint8)
    limits = [(0, 100), (0, 50), (0, 10)]
    assert apply_contrast_limits(pixels, limits, rgb=True).tolist() == [[[255, 128, 0]]]
    assert apply_contrast_limits(pixels, limits).tolist() == [[255]]
    assert is_rgb(["red", "green", "blue"])
    assert is_rgb(["R", "G", "B"])
    assert not is_rgb(["RFP", "GFP", "BFP"])
    assert not is_rgb(["DAPI", "GFP", "RFP"])


def test_a_constant_or_broken_channel_is_drawn_without_failing():
    pixels = np.array([[[5.0, np.nan, np.inf, -np.inf]]])
    assert apply_contrast_limits(pixels, [(5.0, 5.0)]).tolist() == [[0, 0, 255, 0]]


def test_labels_are_resized_without_new_ids():
    labels = np.array([[1, 7], [3, 9]])
    large = resize_nearest(labels, (4, 6))
    assert large.shape == (6, 4)
    assert set(large.ravel()) == {1, 3, 7, 9}
    assert (resize_nearest(large, (2, 2)) == labels).all()


def test_ground_truth_outside_the_region_of_interest_does_not_count(tmp_path):
    folders = write_batch(tmp_path, {"a": (TRIO[None], CELLS[None])})
    for roi, counts in (([0, 32, 0, 64], [2, 0, 32 * 64]), ([0, 64, 32, 64], [1, 1, 64 * 32])):
        table, _ = run(tmp_path, folders, {"a": "test"}, regions={"a": {"roi": roi, "frames": None}})
        assert table.loc["a", ["tp_50", "fn_50", "pixels"]].tolist() == counts


def test_frames_that_were_not_selected_are_neither_scored_nor_drawn(tmp_path):
    labels = np.stack([CELLS, TRIO, 0 * CELLS, CELLS])
    folders = write_batch(tmp_path, {"a": (labels, np.stack([CELLS] * 4)), "b": (labels, None)})
    regions = {image: {"roi": None, "frames": "0:2"} for image in "ab"}
    table, pictures = run(tmp_path, folders, {"a": "test", "b": "predict"}, annotated=["a"], regions=regions)
    assert table.loc["a", ["frames", "frames_scored", "tp_50", "fn_50"]].tolist() == [2, 2, 7, 1]
    assert table.loc["b", ["frames", "objects_found"]].tolist() == [2, 7]
    assert json.loads((pictures / "a" / "picture.json").read_text())["t"] == 1
    assert json.loads((pictures / "b" / "picture.json").read_text())["t"] in (0, 1)


def test_domain_shift_is_described_in_the_table(tmp_path):
    folders = write_batch(tmp_path, {"a": (CELLS[None], CELLS[None])})
    model = {"channels": ["0"], "diameter_px": 40.0}
    table, _ = run(tmp_path, folders, {"a": "test"}, model=model)
    assert table.loc["a", "domain_shift"].startswith("a: the objects found are 15")
    table, _ = run(tmp_path, folders, {"a": "test"}, model=model | {"diameter_px": 16.0})
    assert np.isnan(table.loc["a", "domain_shift"])


@pytest.mark.parametrize("kind", ["labels", "truth", "images"])
def test_a_damaged_store_is_named(tmp_path, kind):
    folders = write_batch(tmp_path, {"a": (CELLS[None], CELLS[None])})
    damage(tmp_path / kind / "one" / "a.ome.zarr" / "0" / "c" / "0" / "0" / "0" / "0" / "0")
    with pytest.raises(
        InputError, match=rf"{kind}/one/a\.ome\.zarr: the store is damaged, pixels at .* cannot be read"
    ):
        run(tmp_path, folders, {"a": "test"})


def test_pixels_without_annotation_are_hatched_and_not_scored(tmp_path):
    marked = np.where(np.arange(64) < 26, CELLS, UNKNOWN)
    for name, labels in (("all", CELLS), ("half", np.where(CELLS % 2, CELLS, 0))):
        folders = write_batch(tmp_path / name, {"a": (labels[None], marked[None])})
        table, pictures = run(tmp_path / name, folders, {"a": "test"})
        row = table.loc["a"]
        assert row[["objects_truth", "tp_50", "fp_50", "fn_50", "pixels"]].tolist() == [2, 2, 0, 0, 64 * 26]
        assert row[["ap_95", "seg", "foreground_iou"]].tolist() == [1, 1, 1]
        assert json.loads((pictures / "a" / "picture.json").read_text())["hatched"]
        truth = np.asarray(Image.open(pictures / "a" / "truth.png").convert("RGBA"))
        grey = (truth == [0x9A, 0x9A, 0x9A, 255]).all(-1)
        assert grey[:, 26 * 12 :].mean() == pytest.approx(2 / 12, abs=0.01)
        assert not grey[:, : 26 * 12].any()
