"""Scores on small named cases, worked out by hand."""

import numpy as np
import pytest
from skimage.metrics import contingency_table

from tessera.common.constants import UNKNOWN
from tessera.common.errors import InputError
from tessera.evaluation.segmentation_metrics import (
    add_counts,
    class_counts,
    class_scores,
    count_overlaps,
    instance_counts,
    instance_scores,
    object_areas,
    percent,
)

IOUS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
CLASSES = ["background", "mother", "daughter"]


def line(text):
    """A row of pixels written as digits, 0 is background; the smallest picture in which objects can touch."""
    return np.array([[int(digit) for digit in text]])


# name: truth, found, {what is expected}
INSTANCES = {
    "perfect": (
        "1110022200",
        "5550077700",
        {"tp_50": 2, "fp_50": 0, "fn_50": 0, "ap_50": 1, "ap_95": 1, "panoptic_quality": 1, "seg": 1},
    ),
    "missed": (
        "1110022200",
        "1110000000",
        {"tp_50": 1, "fp_50": 0, "fn_50": 1, "ap_50": 1 / 2, "panoptic_quality": 2 / 3, "seg": 1 / 2},
    ),
    "spurious": (
        "1110000000",
        "1110022200",
        {"tp_50": 1, "fp_50": 1, "fn_50": 0, "ap_50": 1 / 2, "panoptic_quality": 2 / 3, "seg": 1},
    ),
    # halves of 4: IoU 0.5 each; one of them matches, none is above a half
    "split in halves": (
        "0111111110",
        "0222233330",
        {
            "tp_50": 1,
            "fp_50": 1,
            "fn_50": 0,
            "ap_50": 1 / 2,
            "ap_55": 0,
            "panoptic_quality": 0,
            "seg": 0,
            "splits": 1,
            "merges": 0,
        },
    ),
    # 6 of 8 and 2 of 8: the large piece matches at 0.75
    "split unevenly": (
        "0111111110",
        "0222222330",
        {
            "tp_50": 1,
            "fp_50": 1,
            "fn_50": 0,
            "ap_75": 1 / 2,
            "ap_80": 0,
            "panoptic_quality": 2 * 0.75 / 3,
            "seg": 0.75,
            "splits": 1,
            "merges": 0,
        },
    ),
    # objects of 4 and 4 under one of 8: IoU 0.5 with either; SEG counts each, as each is covered by more than half
    "merged": (
        "0111122220",
        "0333333330",
        {
            "tp_50": 1,
            "fp_50": 0,
            "fn_50": 1,
            "ap_50": 1 / 2,
            "ap_55": 0,
            "panoptic_quality": 0,
            "seg": 0.5,
            "splits": 0,
            "merges": 1,
        },
    ),
    # shifted by one of 4: intersection 3, union 5
    "shifted": (
        "0111100000",
        "0011110000",
        {
            "tp_50": 1,
            "fp_50": 0,
            "fn_50": 0,
            "ap_50": 1,
            "ap_60": 1,
            "ap_65": 0,
            "ap_mean": 0.3,
            "panoptic_quality": 0.6,
            "seg": 0.6,
            "foreground_iou": 0.6,
        },
    ),
    # shifted by two of 4: intersection 2, union 6; exactly half is covered, which is not more than half
    "shifted by half": (
        "0111100000",
        "0001111000",
        {"tp_50": 0, "fp_50": 1, "fn_50": 1, "ap_50": 0, "panoptic_quality": 0, "seg": 0},
    ),
    "all missed": (
        "0111100000",
        "0000000000",
        {"tp_50": 0, "fp_50": 0, "fn_50": 1, "ap_50": 0, "panoptic_quality": 0, "seg": 0, "pixel_accuracy": 0.6},
    ),
    "all spurious": (
        "0000000000",
        "0111100000",
        {
            "tp_50": 0,
            "fp_50": 1,
            "fn_50": 0,
            "ap_50": 0,
            "ap_mean": 0,
            "panoptic_quality": 0,
            "seg": np.nan,
            "foreground_iou": 0,
        },
    ),
    "both empty": (
        "0000000000",
        "0000000000",
        {
            "tp_50": 0,
            "fp_50": 0,
            "fn_50": 0,
            "ap_50": 1,
            "ap_mean": 1,
            "panoptic_quality": 1,
            "seg": np.nan,
            "foreground_iou": 1,
            "pixel_accuracy": 1,
        },
    ),
    "one pixel": (
        "0001000000",
        "0009000000",
        {"tp_50": 1, "fp_50": 0, "fn_50": 0, "ap_95": 1, "panoptic_quality": 1, "seg": 1},
    ),
    "full": ("1111111111", "2222222222", {"tp_50": 1, "ap_95": 1, "pixel_accuracy": 1, "foreground_iou": 1}),
    # a speck of one pixel in an object of twelve does not make a split, a piece of two does
    "a speck": ("111111111111", "222222222223", {"tp_50": 1, "fp_50": 1, "splits": 0}),
    "a piece": ("111111111111", "222222222233", {"tp_50": 1, "fp_50": 1, "splits": 1}),
    # the neighbour reaches over by one pixel: neither a split nor a merge
    "moved border": (
        "0111122220",
        "0111222220",
        {"tp_50": 2, "ap_50": 1, "seg": (3 / 4 + 4 / 5) / 2, "splits": 0, "merges": 0},
    ),
}


@pytest.mark.parametrize("case", INSTANCES)
def test_instances_score_as_worked_out_by_hand(case):
    truth, labels, expected = INSTANCES[case]
    counts = instance_counts(count_overlaps([(line(truth), line(labels))]), IOUS)
    result = counts | instance_scores(counts, IOUS)
    assert {name: result[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_merges_are_splits_seen_from_the_other_side():
    counts = instance_counts(count_overlaps([(line("0222233330"), line("0111111110"))]), IOUS)
    assert (counts["splits"], counts["merges"]) == (0, 1)


def test_low_thresholds_match_as_many_pairs_as_possible():
    # IoU: 1 with 3 is 2/6, 1 with 4 is 2/6, 2 with 4 is 2/6; a greedy choice of (1, 4) would leave 2 and 3 alone
    counts = instance_counts(count_overlaps([(line("0011112222"), line("3333444400"))]), [0.3])
    assert counts["tp_30"] == 2
    assert counts["tp_50"] == 0


def test_a_threshold_is_reached_by_exactly_that_iou():
    truth, labels = line("1" * 20), line("2" * 11 + "0" * 9)
    counts = instance_counts(count_overlaps([(truth, labels)]), [0.55])
    assert counts["tp_55"] == 1


def test_counts_of_frames_add_up_to_those_of_the_movie():
    cases = [INSTANCES[name][:2] for name in ("perfect", "missed", "spurious", "both empty")]
    counts = [instance_counts(count_overlaps([(line(truth), line(labels))]), IOUS) for truth, labels in cases]
    scores = instance_scores(add_counts(counts), IOUS)
    # 4 of 5 truth objects, 4 of 5 found ones
    assert scores["ap_50"] == pytest.approx(4 / 6)
    assert scores["panoptic_quality"] == pytest.approx(4 / 5)
    assert scores["seg"] == pytest.approx(4 / 5)


def test_an_id_that_returns_in_another_frame_is_another_object():
    frames = [(line("110"), line("110")), (line("011"), line("011"))]
    counts = add_counts(instance_counts(count_overlaps([frame]), IOUS) for frame in frames)
    assert counts["tp_50"] == 2


def test_sums_of_no_counts_are_empty():
    assert add_counts([]) == {}


def test_overlaps_are_those_of_scikit_image_however_they_are_cut_into_blocks():
    random = np.random.default_rng(0)
    truth, labels = random.integers(0, 9, (2, 40, 50))
    whole = count_overlaps([(truth, labels)])
    blocks = [
        (truth[y : y + 16, x : x + 16], labels[y : y + 16, x : x + 16]) for y in (0, 16, 32) for x in (0, 16, 32, 48)
    ]
    cut = count_overlaps(blocks)
    expected = contingency_table(truth, labels).toarray()
    table = np.zeros((9, 9), dtype=int)
    table[cut.truth, cut.labels] = cut.pixels
    np.testing.assert_array_equal(table, expected)
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_largest_ids_stay_apart():
    top = 2**31 - 1
    overlaps = count_overlaps([(np.array([top, top - 1], dtype=np.int32), np.array([top - 2, top], dtype=np.int32))])
    assert sorted(zip(*(column.tolist() for column in overlaps), strict=True)) == [(top - 1, top, 1), (top, top - 2, 1)]


def test_no_blocks_have_no_overlaps():
    assert [len(column) for column in count_overlaps([])] == [0, 0, 0]


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match=r"\(1, 3\).*\(1, 4\)"):
        count_overlaps([(line("111"), line("1111"))])


def test_areas_are_those_of_found_objects():
    assert sorted(object_areas(count_overlaps([(line("00000"), line("01222"))]))) == [1, 3]


# name: truth, found, {what is expected}
SEMANTIC = {
    "perfect": ("0011220000", "0011220000", {"iou_mother": 1, "dice_daughter": 1, "iou_mean": 1, "pixel_accuracy": 1}),
    "all background": (
        "0001000000",
        "0000000000",
        {
            "pixel_accuracy": 0.9,
            "iou_background": 0.9,
            "precision_mother": 0,
            "recall_mother": 0,
            "iou_mother": 0,
            "iou_mean": 0,
        },
    ),
    # mother: 2 right, 1 too many, 1 too few
    "shifted": (
        "0011100000",
        "0001110000",
        {
            "precision_mother": 2 / 3,
            "recall_mother": 2 / 3,
            "iou_mother": 0.5,
            "dice_mother": 2 / 3,
            "iou_mean": 0.5,
            "pixel_accuracy": 0.8,
        },
    ),
    "absent class": (
        "0011000000",
        "0011000000",
        {"iou_daughter": np.nan, "precision_daughter": np.nan, "dice_daughter": np.nan, "iou_mean": 1},
    ),
    "spurious class": (
        "0011000000",
        "0011220000",
        {"precision_daughter": 0, "recall_daughter": 0, "iou_daughter": 0, "iou_mean": 0.5},
    ),
    "swapped": (
        "0011220000",
        "0022110000",
        {"iou_mother": 0, "iou_daughter": 0, "iou_mean": 0, "iou_background": 1, "pixel_accuracy": 0.6},
    ),
    "empty": ("0000", "0000", {"iou_mean": 1, "iou_mother": np.nan, "iou_background": 1, "pixel_accuracy": 1}),
}


@pytest.mark.parametrize("case", SEMANTIC)
def test_classes_score_as_worked_out_by_hand(case):
    truth, labels, expected = SEMANTIC[case]
    counts = class_counts(count_overlaps([(line(truth), line(labels))]), CLASSES)
    scores = class_scores(counts, CLASSES)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_pixels_whose_truth_is_unknown_are_not_counted():
    truth = np.array([1, 1, 255, 255])
    counts = class_counts(count_overlaps([(truth, np.array([1, 0, 1, 2]))]), CLASSES)
    assert counts["pixels"] == 2
    assert class_scores(counts, CLASSES)["recall_mother"] == 0.5
    assert counts["fp_daughter"] == 0


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(InputError, match=r"\[3\].*background, mother, daughter"):
        class_counts(count_overlaps([(line("03"), line("00"))]), CLASSES)


def test_an_iou_is_named_by_its_two_digits():
    assert [percent(iou) for iou in (0.05, 0.5, 0.55, 0.95)] == ["05", "50", "55", "95"]


def scores_of(truth, labels):
    counts = instance_counts(count_overlaps([(truth, labels)]), IOUS)
    return counts, instance_scores(counts, IOUS)


def test_pixels_that_nobody_annotated_count_nowhere_whatever_is_found_there():
    truth = line("1110002220000000")
    truth[0, 10:] = UNKNOWN
    alike = [
        scores_of(truth, line(drawing))[0] for drawing in ("5550007770000000", "5550007770444000", "5550007770443388")
    ]
    assert alike[0] == alike[1] == alike[2]
    assert [alike[0][name] for name in ("pixels", "pixels_right", "tp_50", "fp_50", "fn_50")] == [10, 10, 2, 0, 0]


def test_an_object_mostly_where_nobody_annotated_is_no_error_and_one_half_there_is():
    truth = line("1110000000")
    truth[0, 6:] = UNKNOWN
    assert scores_of(truth, line("1110033300"))[0]["fp_50"] == 0
    assert scores_of(truth, line("1110333300"))[0]["fp_50"] == 1  # two of four
    assert scores_of(truth, line("1113330000"))[0]["fp_50"] == 1


def test_an_object_that_the_annotation_cuts_is_matched_by_what_is_known_of_it():
    truth = line("0112222000")
    truth[0, 3:] = UNKNOWN
    counts, scores = scores_of(truth, line("0333333000"))
    assert [counts[name] for name in ("tp_50", "fp_50", "fn_50", "tp_95")] == [1, 0, 0, 1]
    assert (scores["panoptic_quality"], scores["seg"], scores["foreground_iou"]) == (1, 1, 1)


def test_truth_that_is_unknown_throughout_gives_no_score():
    counts, scores = scores_of(np.full((1, 6), UNKNOWN), line("011220"))
    assert set(counts.values()) == {0}
    assert np.isnan([*scores.values()]).all()


def test_empty_images_add_nothing_to_the_scores_of_several_images():
    cells, _ = scores_of(line("0111022200"), line("0111000000"))
    nothing, _ = scores_of(line("0000000000"), line("0000000000"))
    spurious, _ = scores_of(line("0000000000"), line("0330000000"))
    alone = instance_scores(cells, IOUS)
    together = instance_scores(add_counts([cells, nothing]), IOUS)
    assert {name for name in alone if alone[name] != together[name]} == {"pixel_accuracy"}
    assert instance_scores(add_counts([cells, spurious]), IOUS)["ap_50"] == 1 / 3


@pytest.mark.parametrize("found", ["0000", "1122"])
def test_unknown_truth_gives_no_score_of_classes(found):
    counts = class_counts(count_overlaps([(np.full((1, 4), 255), line(found))]), CLASSES)
    assert np.isnan([*class_scores(counts, CLASSES).values()]).all()
