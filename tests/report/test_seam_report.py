"""Seam checks of several images are pooled, and the most severe differences come first."""

import json

import pandas as pd
import pytest

from tessera.report.seam_report import MAX_PICTURES, list_differences, seam_warnings, summarize_seams


def write_differences(folder, areas, *, pictures=0):
    """Differences of an image with these areas, lost without a trace; the first `pictures` have a picture."""
    folder.mkdir()
    records = [
        {"kind": "lost", "iou": 0.0, "area_px": area, "position": [0, 0, 5, 6], "severity": area} for area in areas
    ]
    (folder / "seams.json").write_text(json.dumps(records))
    for number in range(pictures):
        (folder / "seams" / str(number)).mkdir(parents=True)
    return folder


def test_differences_of_all_images_are_listed_the_most_severe_first(tmp_path):
    folders = {
        "a": write_differences(tmp_path / "a", [30, 10], pictures=1),
        "b": write_differences(tmp_path / "b", [20]),
    }
    (tmp_path / "c").mkdir()
    listed = list_differences(folders | {"c": tmp_path / "c"})
    assert [(each.image, each.area_px) for each in listed] == [("a", 30), ("b", 20), ("a", 10)]
    assert [each.folder for each in listed] == [tmp_path / "a" / "seams" / "0", None, None]
    assert listed[0].position == (0, 0, 5, 6)


def test_only_the_most_severe_differences_have_pictures(tmp_path):
    n_differences = MAX_PICTURES + 3
    folder = write_differences(tmp_path / "a", range(n_differences, 0, -1), pictures=n_differences)
    listed = list_differences({"a": folder})
    assert [each.folder is not None for each in listed] == [True] * MAX_PICTURES + [False] * 3


def test_instances_are_pooled_by_their_counts():
    rows = [("a", 2, 3, 1, 0, 2.7), ("b", 1, 6, 0, 2, 5.4), ("c", 0, None, None, None, None)]
    columns = ["image", "seam_windows", "seam_tp", "seam_fp", "seam_fn", "seam_iou_sum"]
    seams = summarize_seams(pd.DataFrame(rows, columns=columns), "instances", {})
    assert (seams.n_images, seams.n_windows, seams.n_objects) == (2, 3, 11)
    assert seams.f1 == pytest.approx(2 * 9 / (2 * 9 + 1 + 2))
    assert seams.mean_iou == pytest.approx(8.1 / 9)
    assert seams.pixel_agreement is None


def test_classes_are_pooled_by_pixels():
    rows = [("a", 1, 50, 5, 5, 1000, 990)]
    columns = ["image", "seam_windows", "seam_tp", "seam_fp", "seam_fn", "seam_pixels", "seam_pixels_right"]
    seams = summarize_seams(pd.DataFrame(rows, columns=columns), "semantic", {})
    assert seams.pixel_agreement == pytest.approx(0.99)
    assert seams.n_objects is seams.mean_iou is None


def test_low_agreement_is_a_warning_and_missing_windows_are_not():
    columns = ["image", "seam_windows", "seam_tp", "seam_fp", "seam_fn", "seam_iou_sum"]
    poor = summarize_seams(pd.DataFrame([("a", 1, 9, 1, 1, 9.0)], columns=columns), "instances", {})
    ((text, section),) = seam_warnings(poor)
    assert "F1 is 0.9000" in text
    assert section == "seams"
    none = summarize_seams(pd.DataFrame([("a", 0, None, None, None, None)], columns=columns), "instances", {})
    assert none.f1 is None
    assert seam_warnings(none) == []
