"""Tables of the report: pooled scores, chosen images and summaries, computed by hand."""

import numpy as np
import pandas as pd
import pytest

from tessera.evaluation.segmentation_metrics import InstanceMetrics
from tessera.report.report_tables import columns_of, join_tables, list_rows, pool_scores, summarize_scores

LAYOUT = columns_of("instances", ["background", "cell"])


def make_row(image, split, tp, fp, fn):
    """A row of the table of metrics with these counts at an IoU of 0.5; without ground truth if `tp` is None."""
    counts = {"pixels": 100, "pixels_right": 90, "foreground_both": 40, "foreground_either": 50, "iou_sum": 0.8 * tp}
    counts |= {"seg_sum": 0.8 * tp, "splits": 0, "merges": 1, "tp_50": tp, "fp_50": fp, "fn_50": fn}
    return {"image": image, "split": split, "frames": 1, "frames_scored": 1, "ap_50": tp / (tp + fp + fn)} | counts


@pytest.fixture
def table():
    rows = [make_row("a", "test", 6, 2, 2), make_row("b", "test", 2, 0, 8), make_row("c", "train", 9, 1, 0)]
    rows.append({"image": "d", "split": "predict", "frames": 1, "frames_scored": 0})
    return join_tables([pd.DataFrame(rows[:2]), pd.DataFrame(rows[2:])], {"a": "g1", "b": "g2"}, LAYOUT)


def test_images_are_sorted_the_worst_first_and_images_without_score_last(table):
    assert table["image"].tolist() == ["b", "a", "c", "d"]
    assert list_rows(table)[0]["group"] == "g2"
    assert list_rows(table)[3]["ap_50"] is None


def test_pooled_scores_come_from_summed_counts(table):
    test = pool_scores(table, InstanceMetrics([0.5]))["test"]
    assert (test.n_images, test.n_scored, test.n_frames) == (2, 2, 2)
    # TP 8, FP 2, FN 10
    assert test.scores["ap_50"] == pytest.approx(8 / 20)
    assert test.scores["panoptic_quality"] == pytest.approx(2 * 0.8 * 8 / (18 + 10))
    assert test.scores["merges"] == 2


def test_a_subset_without_ground_truth_has_no_scores(table):
    predict = pool_scores(table, InstanceMetrics([0.5]))["predict"]
    assert (predict.n_images, predict.n_scored, predict.scores) == (1, 0, {})


def test_the_headline_is_the_score_of_the_test_set(table):
    section = summarize_scores(table, "instances", ["background", "cell"], [0.5])
    assert section.best == "test"
    assert list(section.histograms) == ["test", "train"]
    assert (sum(section.histograms["test"]), section.histograms["train"][18]) == (2, 1)
    assert section.ap_curves == {}


def test_the_group_column_is_shown_only_if_there_are_groups(table):
    without = table.assign(group=np.nan)
    for rows, shown in ((table, True), (without, False)):
        columns = summarize_scores(rows, "instances", ["background", "cell"], [0.5]).layout.columns
        assert ("group" in [column.key for column in columns]) == shown


def test_semantic_columns_have_each_score_of_each_foreground_class():
    keys = [column.key for column in columns_of("semantic", ["background", "mother"]).columns]
    assert keys[-6:] == ["iou_mean", "iou_mother", "dice_mother", "precision_mother", "recall_mother", "pixel_accuracy"]
