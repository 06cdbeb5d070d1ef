"""Windows on seams, and what the audit makes of them."""

import json

import numpy as np
import pandas as pd
import pytest
import zarr
from ome_zarr_models.v05 import Image as OmeImage
from PIL import Image
from scipy import ndimage

from evaluate import evaluate
from scenes import outputs_of, place_discs, write_batch, write_labels, write_predictions
from tessera.common.errors import InputError
from tessera.evaluation import seam_audit as audits
from tessera.evaluation.label_comparison import compare_classes, compare_objects
from tessera.evaluation.seam_audit import audit_seams, doubtful
from tessera.inference.seam_windows import choose_seam_windows, read_seam_windows, seam_window_shape
from tessera.io.ome_zarr_store import open_array, read_metadata
from tessera.report.overlay_images import FOUND_COLOURS, TRUTH_COLOURS
from tessera.segmentation.seeded_growth import segment_plane
from tessera.settings.sections import SegmentSettings

SEGMENT = {
    "foreground_threshold": 0.5,
    "seed_threshold": 0.8,
    "min_area_px": 16,
    "min_area_um2": None,
    "fill_holes": True,
    "max_hole_um2": None,
    "stitch_threshold": None,
}
SIDE = 128
SEAMS = [128, 256]


def scatter(shape, count, radius, apart, seed=0):
    """Ids of discs at random places that are `apart` or more from each other."""
    random, centres = np.random.default_rng(seed), np.empty((0, 2))
    for _ in range(count):
        place = random.uniform(0, shape)
        if not len(centres) or np.hypot(*(centres - place).T).min() >= apart:
            centres = np.append(centres, [place], axis=0)
    return place_discs(shape, centres, radius)


CELLS = scatter((384, 384), 600, 9, 22)


def cut_at(ids, row):
    """What a seam at `row` does where what is above and below it is never joined."""
    return np.where((ids > 0) & (np.indices(ids.shape)[0] >= row), ids + ids.max(), ids).astype(np.int32)


# Choosing


def make_probabilities(shape, foreground=()):
    """zarr array uint8 (t, outputs, z, y, x), background but for the `foreground`, slices (t, z, y, x)."""
    array = zarr.create_array({}, shape=shape, chunks=(1, 1, 1, 512, 512), dtype=np.uint8, fill_value=255)
    for t, z, y, x in foreground:
        array[t, 0, z, y, x] = 0
    return array


@pytest.mark.parametrize("size", [(1000, 1000), (300, 2000), (2000, 130)])
def test_windows_lie_on_seams_inside_the_plane_and_apart(size):
    array = make_probabilities((2, 3, 2, *size))
    rows, columns = list(range(256, size[0], 256)), list(range(256, size[1], 256))
    origins = choose_seam_windows(array, rows, columns, count=12, side_px=200)
    height, width = seam_window_shape(size, 200)
    assert 2 <= len(origins) <= 12
    assert origins == sorted(set(origins))
    seen = np.zeros((2, 2, *size), dtype=int)
    for t, z, y, x in origins:
        assert 0 <= y <= size[0] - height
        assert 0 <= x <= size[1] - width
        assert y % 32 == 0
        assert x % 32 == 0
        assert any(y < row < y + height for row in rows) or any(x < column < x + width for column in columns)
        seen[t, z, y : y + height, x : x + width] += 1
    assert seen.max() == 1
    assert len({(t, z) for t, z, *_ in origins}) == 4


def test_the_same_windows_are_chosen_again():
    array = make_probabilities((1, 3, 1, 3000, 3000))
    seams = list(range(256, 3000, 256))
    once, again = (choose_seam_windows(array, seams, seams, count=9, side_px=192) for _ in range(2))
    assert once == again
    assert len(once) == 9


def test_windows_with_objects_on_the_seam_come_first():
    array = make_probabilities((6, 3, 1, 600, 600), [(4, 0, slice(280, 320), slice(280, 320))])
    (place,) = choose_seam_windows(array, [300], [300], count=6, side_px=192)[-1:]
    assert choose_seam_windows(array, [300], [300], count=6, side_px=192)[0][0] == 0
    assert place[0] == 5
    array[:, 0, 0, 300, 500:520] = 0
    for _, _, y, x in choose_seam_windows(array, [300], [], count=3, side_px=192):
        assert y < 300 < y + 192
        assert x < 520
        assert x + 192 > 500


def test_windows_are_spread_over_the_frames_and_keep_to_those_that_were_predicted():
    array = make_probabilities((100, 3, 1, 256, 256))
    assert [t for t, *_ in choose_seam_windows(array, [128], [128], count=4, side_px=128)] == [12, 37, 62, 87]
    frames = [3, 50, 51]
    assert {t for t, *_ in choose_seam_windows(array, [128], [], count=9, side_px=128, frames=frames)} == set(frames)
    assert choose_seam_windows(array, [128], [], count=9, side_px=128, frames=[]) == []


def test_windows_keep_to_the_region_of_interest():
    array = make_probabilities((1, 3, 1, 1000, 1000))
    seams = list(range(128, 1000, 128))
    roi = (100, 700, 300, 900)
    origins = choose_seam_windows(array, seams, seams, count=100, side_px=160, roi=roi)
    assert len(origins) >= 4
    assert all(100 <= y <= 540 and 300 <= x <= 740 for _, _, y, x in origins)
    assert choose_seam_windows(array, seams, seams, count=5, side_px=512, roi=(90, 190, 300, 350)) == [(0, 0, 90, 300)]


def test_without_seams_there_are_no_windows():
    array = make_probabilities((1, 3, 1, 500, 500))
    assert choose_seam_windows(array, [], [], count=4, side_px=192) == []
    assert choose_seam_windows(array, [256], [], count=0, side_px=192) == []


def test_little_is_read_of_a_large_image():
    class Counted:
        """An array that counts the pixels that are read."""

        shape, pixels = (1000, 3, 1, 100_000, 100_000), 0

        def __getitem__(self, at):
            part = at[-1] if isinstance(at[-1], slice) else at[-2]
            self.pixels += part.stop - part.start
            return np.zeros(part.stop - part.start, np.uint8)

    array, seams = Counted(), list(range(2048, 100_000, 2048))
    assert len(choose_seam_windows(array, seams, seams, count=16, side_px=512)) == 16
    assert array.pixels < 2 * 4 * 16 * 2 * 512


# Keeping


def test_windows_read_back_and_the_store_stays_what_it_was(tmp_path):
    outputs = np.stack([outputs_of(CELLS), outputs_of(CELLS[::-1])])[:, :, None]
    origins = write_predictions(tmp_path / "a", outputs, SEAMS, SEAMS, side_px=SIDE)
    kept = list(read_seam_windows(tmp_path / "a"))
    assert [origin for origin, _ in kept] == origins
    for (t, z, y, x), window in kept:
        assert (window == outputs[t, :, z, y : y + SIDE, x : x + SIDE]).all()
    OmeImage.from_zarr(zarr.open_group(tmp_path / "a", mode="r"))
    assert (open_array(tmp_path / "a")[...] == outputs).all()
    assert read_metadata(tmp_path / "a").channels == ["0", "1", "2"]


def test_a_store_without_seams_holds_no_windows(tmp_path):
    assert write_predictions(tmp_path / "a", outputs_of(CELLS)[None, :, None], [], [], side_px=SIDE) == []
    assert not (tmp_path / "a" / "seams").exists()
    assert list(read_seam_windows(tmp_path / "a")) == []


@pytest.mark.parametrize("harm", ["lost", "cut"])
def test_a_damaged_window_is_named(tmp_path, harm):
    write_predictions(tmp_path / "a", outputs_of(CELLS)[None, :, None], SEAMS, SEAMS, side_px=SIDE)
    chunk = tmp_path / "a" / "seams" / "probabilities" / "c" / "1" / "0" / "0" / "0"
    if harm == "lost":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"a/seams: the windows on seams cannot be read .*remove its batch's folder"):
        list(read_seam_windows(tmp_path / "a"))


# Comparing


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
def test_what_became_of_an_object_is_told(case):
    reference, found, tp, fp, fn, expected = CASES[case]
    reference, found = line(reference), line(found)
    counts, events = compare_objects(reference, found, np.zeros(reference.shape, dtype=bool))
    assert (counts["seam_tp"], counts["seam_fp"], counts["seam_fn"]) == (tp, fp, fn)
    assert [(event.kind, event.area_px) for event in events] == [(kind, area) for kind, _, area in expected]
    assert [event.iou for event in events] == pytest.approx([iou for _, iou, _ in expected])


def test_the_ious_of_matches_are_summed():
    counts, _ = compare_objects(line("1111022"), line("1110022"), np.zeros((1, 7), dtype=bool))
    assert counts["seam_iou_sum"] == pytest.approx(0.75 + 1)


def test_the_event_of_most_pixels_comes_first():
    _, events = compare_objects(line("1022222203333"), line("0022244400000"), np.zeros((1, 13), dtype=bool))
    assert [(event.kind, event.at) for event in events] == [("lost", (0, 10)), ("cut", (0, 4)), ("lost", (0, 0))]


def test_what_is_not_sure_is_no_disagreement_but_can_be_a_partner():
    unsure = np.zeros((1, 9), dtype=bool)
    unsure[0, :3] = True
    counts, events = compare_objects(line("111002200"), line("220001111"), unsure)
    assert (counts["seam_tp"], counts["seam_fp"], counts["seam_fn"]) == (0, 1, 1)
    assert [event.kind for event in events] == ["shifted"]
    counts, events = compare_objects(line("111111000"), line("000111000"), unsure)
    assert (counts["seam_tp"], counts["seam_fp"], counts["seam_fn"], events) == (0, 0, 0, [])


def test_only_what_hangs_together_with_the_inner_border_is_doubtful():
    ids = place_discs((200, 200), [(0, 100), (20, 100), (60, 100), (100, 0), (100, 190), (199, 60)], 12)
    unsure = doubtful(ids, ids, ((True, False), (False, True)), margin_px=30)
    assert set(ids[unsure]) == {1, 2, 5}
    assert not doubtful(ids, ids, ((False, False), (False, False))).any()


def test_pixels_of_classes_are_counted():
    reference, found = np.zeros((20, 20), dtype=np.uint8), np.zeros((20, 20), dtype=np.uint8)
    reference[:10], found[:8] = 1, 1
    found[15, 3] = 2
    counts, events = compare_classes(reference, found)
    assert counts == {
        "seam_tp": 160, "seam_fp": 1, "seam_fn": 40, "seam_pixels": 400, "seam_pixels_right": 359,
    }  # fmt: skip
    assert [(event.kind, event.area_px, event.at) for event in events] == [("changed", 40, (8, 9))]


# Auditing


@pytest.mark.parametrize("apart", [14, 18, 24])
@pytest.mark.parametrize("seed", range(3))
def test_windows_of_a_seamless_plane_have_its_objects_however_they_touch(tmp_path, apart, seed):
    ids = scatter((640, 640), 5000, 10, apart, seed)
    outputs = outputs_of(ids)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 150, outputs.shape), (0, 1.5, 1.5))
    outputs = (outputs + noise).clip(0, 255).astype(np.uint8)
    write_predictions(tmp_path / "a", outputs[None, :, None], [320], [320], side_px=320)
    _, labels, _ = write_batch(tmp_path, {"a": (segment_plane(outputs, SegmentSettings(**SEGMENT))[None], None)})
    row, places = audit_seams(tmp_path / "a", labels / "a.ome.zarr", task="instances", segment=SEGMENT)
    assert row["seam_tp"] > 30
    assert (row["seam_f1"], [each.event for each in places]) == (1, [])


def run(tmp_path, images, *, task="instances", classes=("background", "cell"), windows=True, **settings):
    """Evaluate {name: (labels (y, x), the reference)} with windows of the reference: (table, folder of pictures)."""
    names = classes if task == "semantic" else None
    scenes = {name: (found[None], None) for name, (found, _) in images.items()}
    pictures, labels, _ = write_batch(tmp_path, scenes, classes=names)
    predictions = tmp_path / "predictions"
    for name, (_, reference) in images.items():
        outputs = outputs_of(reference)
        if task == "semantic":
            outputs = 255 * (np.arange(len(classes))[:, None, None] == reference).astype(np.uint8)
        path = predictions / f"{name}.ome.zarr"
        write_predictions(path, outputs[None, :, None], *[SEAMS if windows else []] * 2, side_px=SIDE)
    sides = dict.fromkeys(images, "predict")
    arguments = {"provenance": sides, "sides": sides, "annotated": [], "task": task, "classes": list(classes)}
    outputs = {"metrics": tmp_path / "one.tsv", "pictures": tmp_path / "pictures"}
    evaluate(
        labels, pictures, [], [predictions], iou_thresholds=[0.5], segment=SEGMENT, **arguments, **outputs, **settings
    )
    return pd.read_csv(tmp_path / "one.tsv", sep="\t").set_index("image"), tmp_path / "pictures"


def test_a_seamless_image_scores_one(tmp_path):
    table, pictures = run(tmp_path, {"good": (CELLS, CELLS)}, min_seam_f1=1)
    row = table.loc["good"]
    assert row[["seam_windows", "seam_f1", "seam_fp", "seam_fn"]].tolist() == [4, 1, 0, 0]
    assert row["seam_tp"] > 40
    assert row["seam_iou_sum"] == row["seam_tp"]
    assert not (pictures / "good" / "seams.json").exists()


def test_a_seam_is_found_and_drawn_where_it_is(tmp_path):
    table, pictures = run(tmp_path, {"poor": (cut_at(CELLS, 128), CELLS), "good": (CELLS, CELLS)})
    assert table.loc["good", "seam_f1"] == 1
    row = table.loc["poor"]
    assert 0.9 < row["seam_f1"] < 0.98
    assert row["seam_f1"] == pytest.approx(2 * row["seam_tp"] / (2 * row["seam_tp"] + row["seam_fp"] + row["seam_fn"]))
    events = json.loads((pictures / "poor" / "seams.json").read_text())
    worst = events[0]
    assert {event["kind"] for event in events} <= {"cut", "new", "shifted", "lost"}
    assert worst["kind"] == "cut"
    t, z, y, x = worst["at"]
    assert (t, z) == (0, 0)
    assert abs(y - 128) < 10
    assert CELLS[y, x] > 0
    for layer, colour in (("labels", FOUND_COLOURS[0]), ("reference", TRUTH_COLOURS[0])):
        drawn = np.array(Image.open(pictures / "poor" / "seams" / "0" / f"{layer}.png").convert("RGBA"))
        assert drawn.shape == (384, 384, 4)
        assert (drawn[drawn[..., 3] > 0][:, :3] == list(bytes.fromhex(colour[1:]))).all()
        assert (drawn[..., 3] > 0).any()
    assert Image.open(pictures / "poor" / "seams" / "0" / "base.jpg").size == (384, 384)
    assert len(list((pictures / "poor" / "seams").iterdir())) <= audits.PICTURED


def test_too_low_an_f1_fails_the_batch_and_names_where(tmp_path):
    images = {"poor": (cut_at(CELLS, 128), CELLS), "good": (CELLS, CELLS)}
    with pytest.raises(InputError) as error:
        run(tmp_path, images, min_seam_f1=0.99)
    text = str(error.value)
    assert text.startswith("poor (0.")
    assert "good" not in text
    assert "evaluate.min_seam_f1 is 0.99" in text
    assert "poor at t, z, y, x = 0, 0, 1" in text
    assert "give a larger predict.halo_px" in text
    assert not (tmp_path / "one.tsv").exists()


def test_an_image_without_seams_has_no_f1_and_passes(tmp_path):
    table, _ = run(tmp_path, {"small": (CELLS, CELLS)}, windows=False, min_seam_f1=1)
    assert table.loc["small", "seam_windows"] == 0
    assert table.loc["small", ["seam_f1", "seam_tp", "seam_fn"]].isna().all()


def test_classes_are_compared_pixel_by_pixel(tmp_path):
    truth = (CELLS > 0).astype(np.uint8) + (CELLS > 100)
    found = truth.copy()
    found[120:128] = 0
    table, pictures = run(
        tmp_path, {"yeast": (found, truth)}, task="semantic", classes=("background", "mother", "daughter")
    )
    row = table.loc["yeast"]
    wrong = row["seam_pixels"] - row["seam_pixels_right"]
    assert row["seam_pixels"] == 4 * SIDE**2
    assert 0 < wrong < row["seam_pixels"] / 20
    assert row["seam_fn"] == wrong
    events = json.loads((pictures / "yeast" / "seams.json").read_text())
    assert all(event["kind"] == "changed" and 120 <= event["at"][2] < 128 for event in events)


def test_ids_beyond_thirty_two_bits_are_compared(tmp_path):
    outputs = outputs_of(CELLS)
    write_predictions(tmp_path / "a", outputs[None, :, None], SEAMS, SEAMS, side_px=SIDE)
    labels = write_labels(tmp_path, "labels", np.where(CELLS, CELLS + np.int64(2**40), 0)[None])
    row, _ = audit_seams(tmp_path / "a", labels, task="instances", segment=SEGMENT)
    assert row["seam_f1"] == 1
