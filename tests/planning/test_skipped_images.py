"""A run says which images it skipped and why, or where that is written."""

from tessera.planning.skipped_images import describe_skipped


def test_nothing_is_said_if_nothing_was_skipped(tmp_path):
    assert describe_skipped({}, tmp_path / "report.html") == []


def test_reasons_are_printed_if_there_is_no_report(tmp_path):
    reasons = {f"image{number}": f"image{number}.tif: is damaged" for number in range(7)}
    assert describe_skipped(reasons, tmp_path / "report.html") == [
        "Skipped: image0, image1, image2, image3, image4 and 2 more, because:",
        "    image0: image0.tif: is damaged",
        "    image1: image1.tif: is damaged",
        "    image2: image2.tif: is damaged",
        "    image3: image3.tif: is damaged",
        "    image4: image4.tif: is damaged",
    ]


def test_report_is_named_if_there_is_one(tmp_path):
    report = tmp_path / "report.html"
    report.touch()
    assert describe_skipped({"a": "a.tif: is damaged"}, report) == [f"Skipped: a; {report} says why"]
