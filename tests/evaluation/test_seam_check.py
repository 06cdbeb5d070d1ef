"""The seam check finds what seams between tiles did to labels."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from helpers.batch_evaluation import evaluate_batch
from helpers.store_batches import outputs_of, place_discs, scatter_discs, write_batch, write_labels, write_predictions
from tessera.common.errors import InputError
from tessera.evaluation.seam_check import MAX_CROPS, check_seams, compare_classes, compare_objects, mask_undecidable
from tessera.report.overlay_images import LABEL_COLORS, TRUTH_COLORS
from tessera.segmentation.seeded_growth import segment_plane
from tessera.settings.sections import SegmentSettings

SEGMENT = SegmentSettings()
SIDE = 128
SEAMS = [128, 256]
CELLS = scatter_discs((384, 384), 600, 9, 22)


def cut_at(ids, row):
    """The ids if objects above and below `row` were never joined."""
    return np.where((ids > 0) & (np.indices(ids.shape)[0] >= row), ids + ids.max(), ids).astype(np.int32)


def line(text):
    """A row of pixels written as digits, 0 is background."""
    return np.array([[int(digit) for digit in text]], dtype=np.int32)


CASES = {
    "the same": ("110222003", "330111002", 3, 0, 0, []),
    "cut in halves": ("1111000", "1122000", 0, 2, 1, [("cut", 0.5, 4)]),
    "cut unevenly": ("1111110", "1111220", 1, 1, 0, [("cut", 4 / 6, 6)]),
    "merged": ("1110222", "1111111", 0, 1, 2, [("merged", 3 / 7, 7)]),
    "merged with a small one": ("111122", "111111", 1, 0, 1, [("merged", 4 / 6, 6)]),
    "lost": ("1110222", "0000222", 1, 0, 1, [("lost", 0, 3)]),
    "new": ("1110000", "1110022", 1, 1, 0, [("new", 0, 2)]),
    "shifted": ("111100000", "001111000", 0, 1, 1, [("shifted", 2 / 6, 4)]),
    "neighbours": ("1111222", "1111122", 2, 0, 0, []),
    "nothing": ("000", "000", 0, 0, 0, []),
}


@pytest.mark.parametrize("case", CASES)
def test_unmatched_objects_are_classified(case):
    reference, labels, tp, fp, fn, expected = CASES[case]
    reference, labels = line(reference), line(labels)
    counts, differences = compare_objects(reference, labels, np.zeros(reference.shape, dtype=bool))
    assert (counts["seam_tp"], counts["seam_fp"], counts["seam_fn"]) == (tp, fp, fn)
    assert [(difference.kind, difference.area_px) for difference in differences] == [
        (kind, area) for kind, _, area in expected
    ]
    assert [difference.iou for difference in differences] == pytest.approx([iou for _, iou, _ in expected])


def test_ious_of_matches_are_summed():
    counts, _ = compare_objects(line("1111022"), line("1110022"), np.zeros((1, 7), dtype=bool))
    assert counts["seam_iou_sum"] == pytest.approx(0.75 + 1)


def test_the_most_severe_difference_comes_first():
    _, differences = compare_objects(line("1022222203333"), line("0022244400000"), np.zeros((1, 13), dtype=bool))
    assert [(difference.kind, difference.position) for difference in differences] == [
        ("lost", (0, 10)),
        ("cut", (0, 4)),
        ("lost", (0, 0)),
    ]


def test_undecidable_objects_are_not_judged_but_can_be_matched():
    unsure = np.zeros((1, 9), dtype=bool)
    unsure[0, :3] = True
    counts, differences = compare_objects(line("111002200"), line("220001111"), unsure)
    assert (counts["seam_tp"], counts["seam_fp"], counts["seam_fn"]) == (0, 1, 1)
    assert [difference.kind for difference in differences] == ["shifted"]
    counts, differences = compare_objects(line("111111000"), line("000111000"), unsure)
    assert (counts["seam_tp"], counts["seam_fp"], counts["seam_fn"], differences) == (0, 0, 0, [])


def test_only_pixels_connected_with_an_inner_border_are_undecidable():
    ids = place_discs((200, 200), [(0, 100), (20, 100), (60, 100), (100, 0), (100, 190), (199, 60)], 12)
    unsure = mask_undecidable(ids, ids, ((True, False), (False, True)), margin_px=30)
    assert set(ids[unsure]) == {1, 2, 5}
    assert not mask_undecidable(ids, ids, ((False, False), (False, False))).any()


def test_differing_pixels_of_classes_are_counted():
    reference, labels = np.zeros((20, 20), dtype=np.uint8), np.zeros((20, 20), dtype=np.uint8)
    reference[:10], labels[:8] = 1, 1
    labels[15, 3] = 2
    counts, differences = compare_classes(reference, labels)
    assert counts == {
        "seam_tp": 160, "seam_fp": 1, "seam_fn": 40, "seam_pixels": 400, "seam_pixels_right": 359,
    }  # fmt: skip
    assert [(difference.kind, difference.area_px, difference.position) for difference in differences] == [
        ("changed", 40, (8, 9))
    ]


@pytest.mark.parametrize(("apart", "seed"), [(14, 0), (14, 1), (18, 2), (24, 0)])
def test_windows_of_a_seamless_plane_have_the_same_objects_however_they_touch(tmp_path, apart, seed):
    ids = scatter_discs((640, 640), 5000, 10, apart, seed)
    outputs = outputs_of(ids)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 150, outputs.shape), (0, 1.5, 1.5))
    outputs = (outputs + noise).clip(0, 255).astype(np.uint8)
    write_predictions(tmp_path / "a", outputs[None, :, None], [320], [320], side_px=320)
    _, labels, _ = write_batch(tmp_path, {"a": (segment_plane(outputs, SEGMENT)[None], None)})
    checked = check_seams(tmp_path / "a", labels / "a.ome.zarr", task="instances", segment=SEGMENT)
    assert checked.row["seam_tp"] > 30
    assert (checked.row["seam_f1"], checked.differences) == (1, [])


def run(tmp_path, images, *, task="instances", classes=("background", "cell"), windows=True, **settings):
    """Evaluate {name: (labels (y, x), the reference)} with windows of the reference: (table, folder of pictures)."""
    names = classes if task == "semantic" else None
    scenes = {name: (plane[None], None) for name, (plane, _) in images.items()}
    _, labels, _ = write_batch(tmp_path, scenes, classes=names)
    predictions = tmp_path / "predictions"
    for name, (_, reference) in images.items():
        outputs = outputs_of(reference)
        if task == "semantic":
            outputs = 255 * (np.arange(len(classes))[:, None, None] == reference).astype(np.uint8)
        path = predictions / f"{name}.ome.zarr"
        write_predictions(path, outputs[None, :, None], *[SEAMS if windows else []] * 2, side_px=SIDE)
    folders = tmp_path / "images" / "one", labels, tmp_path / "truth" / "one"
    table, pictures = evaluate_batch(
        tmp_path, folders, dict.fromkeys(images, "predict"), task=task, classes=classes, ious=[0.5], annotated=[],
        predictions=predictions, segment=SEGMENT, **settings,
    )  # fmt: skip
    return pd.read_csv(table, sep="\t").set_index("image"), pictures


def test_f1_of_a_seamless_image_is_one(tmp_path):
    table, pictures = run(tmp_path, {"good": (CELLS, CELLS)}, min_seam_f1=1)
    row = table.loc["good"]
    assert row[["seam_windows", "seam_f1", "seam_fp", "seam_fn"]].tolist() == [4, 1, 0, 0]
    assert row["seam_tp"] > 40
    assert row["seam_iou_sum"] == row["seam_tp"]
    assert not (pictures / "good" / "seams.json").exists()


def test_differences_are_found_and_drawn_at_the_seam(tmp_path):
    table, pictures = run(tmp_path, {"poor": (cut_at(CELLS, 128), CELLS), "good": (CELLS, CELLS)})
    assert table.loc["good", "seam_f1"] == 1
    row = table.loc["poor"]
    assert 0.9 < row["seam_f1"] < 0.98
    assert row["seam_f1"] == pytest.approx(2 * row["seam_tp"] / (2 * row["seam_tp"] + row["seam_fp"] + row["seam_fn"]))
    differences = json.loads((pictures / "poor" / "seams.json").read_text())
    worst = differences[0]
    assert {difference["kind"] for difference in differences} <= {"cut", "new", "shifted", "lost"}
    assert worst["kind"] == "cut"
    t, z, y, x = worst["position"]
    assert (t, z) == (0, 0)
    assert abs(y - 128) < 10
    assert CELLS[y, x] > 0
    for layer, color in (("labels", LABEL_COLORS[0]), ("reference", TRUTH_COLORS[0])):
        drawn = np.array(Image.open(pictures / "poor" / "seams" / "0" / f"{layer}.png").convert("RGBA"))
        assert drawn.shape == (384, 384, 4)
        assert (drawn[drawn[..., 3] > 0][:, :3] == list(bytes.fromhex(color[1:]))).all()
        assert (drawn[..., 3] > 0).any()
    assert Image.open(pictures / "poor" / "seams" / "0" / "base.jpg").size == (384, 384)
    assert len(list((pictures / "poor" / "seams").iterdir())) <= MAX_CROPS


def test_a_batch_below_min_seam_f1_fails_and_names_the_places(tmp_path):
    images = {"poor": (cut_at(CELLS, 128), CELLS), "good": (CELLS, CELLS)}
    with pytest.raises(InputError) as error:
        run(tmp_path, images, min_seam_f1=0.99)
    text = str(error.value)
    assert text.startswith("poor (0.")
    assert "good" not in text
    assert "below evaluate.min_seam_f1 = 0.99" in text
    assert "poor at t, z, y, x = 0, 0, 1" in text
    assert "Increase predict.halo_px" in text
    assert not (tmp_path / "one.tsv").exists()


def test_an_image_without_seams_has_no_f1_and_passes(tmp_path):
    table, _ = run(tmp_path, {"small": (CELLS, CELLS)}, windows=False, min_seam_f1=1)
    assert table.loc["small", "seam_windows"] == 0
    assert table.loc["small", ["seam_f1", "seam_tp", "seam_fn"]].isna().all()


def test_semantic_labels_are_compared_pixel_by_pixel(tmp_path):
    truth = (CELLS > 0).astype(np.uint8) + (CELLS > 100)
    labels = truth.copy()
    labels[120:128] = 0
    table, pictures = run(
        tmp_path, {"yeast": (labels, truth)}, task="semantic", classes=("background", "mother", "daughter")
    )
    row = table.loc["yeast"]
    wrong = row["seam_pixels"] - row["seam_pixels_right"]
    assert row["seam_pixels"] == 4 * SIDE**2
    assert 0 < wrong < row["seam_pixels"] / 20
    assert row["seam_fn"] == wrong
    differences = json.loads((pictures / "yeast" / "seams.json").read_text())
    assert all(difference["kind"] == "changed" and 120 <= difference["position"][2] < 128 for difference in differences)


def test_ids_above_32_bits_are_compared(tmp_path):
    outputs = outputs_of(CELLS)
    write_predictions(tmp_path / "a", outputs[None, :, None], SEAMS, SEAMS, side_px=SIDE)
    labels = write_labels(tmp_path, "labels", np.where(CELLS, CELLS + np.int64(2**40), 0)[None])
    assert check_seams(tmp_path / "a", labels, task="instances", segment=SEGMENT).row["seam_f1"] == 1
