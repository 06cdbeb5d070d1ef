"""The report says what it should, needs no other file, and works in a browser."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from helpers.batch_evaluation import evaluate_batch
from helpers.store_batches import outputs_of, place_discs, write_batch, write_predictions
from report import report
from tessera.data.split import LEAKS_KEPT
from tessera.evaluation.calibration import Calibration
from tessera.report.model_report import learning_curves
from tessera.report.report_content import ReportInputs
from tessera.report.report_tables import choose_images, explain_empty_run, histogram, read_table, summarize_engines
from tessera.report.run_report import run_times
from tessera.report.split_report import split_warnings
from tessera.settings.sections import ReportSettings, SegmentSettings
from tessera.tracking.lineage import TABLES, Lineage, list_tracks, make_table, with_types, write_lineage

HOSTILE = """<img src=x onerror="window.hacked=1">&'"""
CELLS = place_discs((48, 48), [(10, 10), (10, 36), (36, 10), (36, 36)], 7)
TRIO = np.where(CELLS == 4, 0, CELLS)
IMAGES = {
    "good": (CELLS, CELLS, "train"),
    "middling": (np.where(CELLS > 2, 0, CELLS), CELLS, "train"),
    "NA": (TRIO, CELLS, "test"),
    HOSTILE: (CELLS, CELLS, "val"),
    "unseen": (TRIO, None, "predict"),
}
CLASSES = ["background", "mother", "daughter"]
MODEL = {
    "format": "tessera-model/1",
    "normalization": {"method": "percentile", "low": 1, "high": 99.8},
    "task": "instances",
    "outputs": ["background", "interior", "boundary"],
    "architecture": "Unet",
    "backbone": "resnet18",
    "channels": ["0"],
    "patch_size_px": 64,
    "class_share": [0.8, 0.15, 0.05],
    "parameters": 14328900,
    "epochs": 3,
    "best_epoch": 2,
    "seconds": 61.0,
    "provenance": "0123456789abcdef",
    "training_data": "fedcba9876543210",
    "versions": {"tensorflow": "2.21.0"},
    "plan": [{"setting": "train.batch_size", "value": 4, "reason": "so few & small"}],
    "throughput": {"pipeline": 400.0, "step": 12.3, "bound": "compute"},
}


def write_explanation(folder):
    """What rule explain leaves: the network says 0.85 of 200 pixels, and 120 are right."""
    folder.mkdir()
    calibration = Calibration(["background", "cell"])
    predicted = np.full((1, 10, 20), 0.85, np.float32)
    targets = (np.arange(200) < 120).astype(np.uint8).reshape(predicted.shape)
    calibration.add(np.stack([1 - predicted, predicted], axis=-1), targets)
    images = [
        {"kind": kind, "rank": 1, "patch": patch, "iou": iou, "missed": missed}
        | {"figure": f"{kind}_1.png", "layers": f"{kind}_1_layers.png"}
        for kind, patch, iou, missed in (("best", 7, 0.912, []), ("worst", 3, 0.123, ["cell"]))
    ]
    for name in (name for image in images for name in (image["figure"], image["layers"])):
        Image.new("RGB", (60, 40), "white").save(folder / name)
    content = {"model": "model", "reason_skipped": None, "n_patches": 16, "n_available": 40, "images": images}
    (folder / "explanation.json").write_text(json.dumps(content | {"calibration": calibration.summarize()}))


def write_products(root, images, *, task="instances", classes=("background", "cell"), leaks=(), skipped=None, seams=()):
    """Write what the report reads, under `root`; the arguments of `write_report`. `seams`: rows with windows."""
    config = {
        "task": task,
        "classes": list(classes),
        "evaluate": {"iou_thresholds": [0.5, 0.75]},
        "split": {"leakage_similarity": 0.9},
        "predict": {"max_precision_iou_change": 0.01},
    }
    sides = {image: side for image, (_, _, side) in images.items()}
    scenes = {
        image: (labels[None], None if true is None else true[None]) for image, (labels, true, _) in images.items()
    }
    names = classes if task == "semantic" else None
    folders = write_batch(root, scenes, classes=names, skipped=skipped)
    for image, (_, truth, _) in images.items():
        if seams:
            path = root / "predictions" / f"{image}.ome.zarr"
            write_predictions(path, outputs_of(truth)[None, :, None], seams, [], side_px=48)
    evaluate_batch(
        root, folders, sides, task=task, classes=classes, ious=config["evaluate"]["iou_thresholds"],
        predictions=root / "predictions" if seams else None, segment=SegmentSettings(),
    )  # fmt: skip
    annotated = [
        {"image": image, "group": image[:4], "split": side, "why": "hash", "fold": "1" if side == "val" else ""}
        for image, side in sides.items()
        if side != "predict"
    ]
    pd.DataFrame(annotated, columns=["image", "group", "split", "why", "fold"]).to_csv(
        root / "split.tsv", sep="\t", index=False
    )
    columns = ["image_a", "t_a", "image_b", "t_b", "split_a", "split_b", "similarity"]
    pd.DataFrame(leaks, columns=columns).to_csv(root / "leakage.tsv", sep="\t", index=False)
    pd.DataFrame({"image": ["a", "a", "b"]}).to_parquet(root / "one.parquet")
    (root / "model").mkdir()
    Image.new("RGB", (200, 100), "teal").save(root / "fold1.png")
    (root / "model" / "model.json").write_text(json.dumps(MODEL | {"task": task, "classes": list(classes)}))
    Image.new("RGB", (60, 40), "white").save(root / "model" / "rates.png")
    (root / "model" / "history.csv").write_text("epoch,loss,val_loss,seconds\n1,2,2.5,20\n2,1,1.25,20\n3,0.5,nan,21\n")
    (root / "selected.json").write_text(json.dumps({"model": "model", "metric": "val_loss", "members": ["model"]}))
    write_explanation(root / "explanation")
    (root / "benchmarks" / "train").mkdir(parents=True)
    (root / "benchmarks" / "train" / "model.tsv").write_text("s\th:m:s\tmax_rss\n90.0\t0:01:30\t512.5\n")
    return {
        "labels": [],
        "tracks": [],
        "metrics": [root / "one.tsv"],
        "pictures": [root / "pictures"],
        "objects": [root / "one.parquet"],
        "images": [folders[0]],
        "truth": [folders[2]],
        "split": root / "split.tsv",
        "leakage": root / "leakage.tsv",
        "sheets": [root / "fold1.png"],
        "models": [root / "model"],
        "selected": root / "selected.json",
        "explanation": root / "explanation",
        "page": root / "report.html",
        "table": root / "metrics.tsv",
        "groups": {image: image[:4] for image, side in sides.items() if side != "predict"},
        "points": {},
        "settings": ReportSettings(title="A <run>", max_images=10),
        "config": config,
        "provenance": "aaaabbbbccccdddd",
        "benchmarks": root / "benchmarks",
    }


def write_report(**arguments):
    """Write a report: `report` with the arguments of `write_products`, some of them changed."""
    inputs = {name: arguments.pop(name) for name in ReportInputs.__dataclass_fields__}
    report(ReportInputs(**inputs), **arguments)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Path of a report on instances with something to warn of."""
    leak = ("good", 0, "NA", 3, "train", "test", 0.97)
    root = tmp_path_factory.mktemp("report")
    arguments = write_products(root, IMAGES, leaks=[leak], skipped={"bad": "bad.tif: is cut off; copy it again"})
    write_report(**arguments)
    return arguments["page"]


def test_the_page_loads_nothing_from_elsewhere(page):
    text = page.read_text()
    links = re.findall(r"""(?:src|href|action|data)\s*=\s*["']([^"']*)""", text)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"@import|url\(", text)


def test_image_names_are_escaped(page):
    text = page.read_text()
    assert HOSTILE not in text
    assert "&lt;img src=x onerror=" in text
    assert "<title>A &lt;run&gt;</title>" in text


def test_the_summary_shows_the_test_score_and_warnings(page):
    text = page.read_text()
    summary = text[text.index('id="summary"') : text.index('id="pictures"')]
    assert '<p class="figure">0.750</p>' in summary
    assert "1 image, 1 frame, 4 annotated objects" in summary
    assert "1 pair of nearly identical images in different subsets (similarity up to 0.97)." in summary
    assert "1 image was skipped." in summary
    assert "bad.tif: is cut off; copy it again" in text


def test_a_truncated_list_of_leaks_says_or_more():
    leaks = pd.DataFrame({"similarity": [0.9] * LEAKS_KEPT})
    split = pd.DataFrame({"split": [], "why": []})
    ((text, _),) = split_warnings(split, leaks, test_is_scored=True, trained=True)
    assert text.startswith("1000 pairs or more of nearly identical images")
    ((text, _),) = split_warnings(split, leaks[1:], test_is_scored=True, trained=True)
    assert text.startswith("999 pairs of")


def test_filled_subsets_are_named_in_a_warning():
    split = pd.DataFrame({"split": ["val", "test", "test"], "why": ["filled", "filled", "hash"]})
    for rows, text_shown in (
        (split, "the validation set and the test set would have been empty and got one group each."),
        (split[1:], "the test set would have been empty and got one group."),
    ):
        ((text, _),) = split_warnings(rows, pd.DataFrame(), test_is_scored=True, trained=True)
        assert text == f"There are few groups: {text_shown}"


def test_scores_of_a_subset_come_from_summed_counts(page):
    # train: 4 of 4 and 2 of 4, so 6 of 8
    text = page.read_text()
    row = re.search(
        r'<tr><th scope="row"><span class="subset train">.*?</tr>', text[text.index('id="scores"') :]
    ).group()
    assert re.findall(r"<td>([^<]*)</td>", row)[:3] == ["2", "8", "0.750"]


def test_run_times_versions_settings_and_provenance_hashes_are_shown(page):
    text = page.read_text()
    for part in (
        "1.5 min",
        "2.21.0",
        "leakage_similarity: 0.9",
        "aaaabbbbccccdddd",
        "fedcba9876543210",
        "14\u2009328\u2009900",
    ):
        assert part in text


def test_automatic_choices_are_shown_with_reasons_and_throughput(page):
    text = page.read_text()
    listed = text[text.index("Automatic choices for model") :]
    assert (
        '<th scope="row">train.batch_size</th><td class="text">4</td><td class="text">so few &amp; small</td>' in listed
    )
    assert "<dt>Throughput</dt><dd>12.3 patches/s</dd>" in text
    assert "Learning rate test: smoothed loss against the learning rate" in listed


def test_the_table_has_every_image_the_worst_first(page):
    table = read_table(page.parent / "metrics.tsv")
    assert table["image"].tolist() == ["middling", "NA", HOSTILE, "good", "unseen"]
    assert table["group"].tolist()[:2] == ["midd", "NA"]
    assert table["objects_found"].tolist() == [2, 3, 4, 4, 3]


def explanation_of(text):
    return text[text.index('<section id="explanation"') : text.index('<section id="split"')]


def test_calibration_is_described_and_drawn(page):
    text = explanation_of(page.read_text())
    assert (
        "Pixels predicted with a probability of 0.8 to 0.9 (mean 0.85) are correct in 60 % of cases: "
        "the network is overconfident there." in text
    )
    assert "is 25.0 %" in text
    assert "the network is 25.0 % overconfident" in text
    assert "<title>probability 0.850, accuracy 0.600, 200 pixels</title>" in text
    assert "on 16 of 40 validation patches, evenly spaced" in text
    assert text.count('<figure class="chart">') == 3


def test_best_and_worst_patches_are_shown_with_class_activation_maps(page):
    text = explanation_of(page.read_text())
    assert re.findall(r"<strong>(\w+)</strong> .*validation patch (\d+), mean IoU</span> ([\d.]+)", text) == [
        ("Best", "7", "0.912"),
        ("Worst", "3", "0.123"),
    ]
    assert text.count('<img class="sheet" src="data:image/jpeg') == 4
    assert "not predicted, explained by its true pixels:</span> cell" in text


def test_a_skipped_explanation_has_a_reason(tmp_path):
    arguments = write_products(tmp_path, {"good": (CELLS, CELLS, "test")})
    left = {"model": "given", "reason_skipped": "its folder has <no> patches"}
    (tmp_path / "explanation" / "explanation.json").write_text(json.dumps(left))
    write_report(**arguments)
    text = explanation_of(arguments["page"].read_text())
    assert "There is no explanation of given: its folder has &lt;no&gt; patches." in text
    assert "<figure" not in text


def seams_of(text):
    return text[text.index('<section id="seams"') : text.index('<section id="training"')]


def test_seam_differences_are_listed_and_drawn(tmp_path):
    cut = np.where((CELLS > 0) & (np.indices(CELLS.shape)[0] >= 36), CELLS + 4, CELLS)
    arguments = write_products(tmp_path, {"cut": (cut, CELLS, "test"), "good": (CELLS, CELLS, "test")}, seams=[36])
    write_report(**arguments)
    text = arguments["page"].read_text()
    # 8 objects in 2 windows, two of them cut in the middle: each with one half above an IoU of 0.5 and one below
    assert "Seams between tiles change the labels: F1 is 0.8889 where tiles meet." in text
    assert "<dt>F1</dt><dd>0.8889</dd>" in seams_of(text)
    assert "<dt>Objects compared</dt><dd>8</dd>" in seams_of(text)
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td class="text">(\w+)</td>', seams_of(text))
    assert rows == [("cut", "cut"), ("cut", "cut")]
    assert seams_of(text).count('<img class="reference" src="data:image/png') == 2
    table = read_table(tmp_path / "metrics.tsv")
    assert table.set_index("image")["seam_f1"].to_dict() == pytest.approx({"cut": 8 / 10, "good": 1})


def test_seams_without_differences_are_mentioned(tmp_path):
    arguments = write_products(tmp_path, {"good": (CELLS, CELLS, "test")}, seams=[36])
    write_report(**arguments)
    assert "All compared labels are the same with and without seams." in seams_of(arguments["page"].read_text())
    assert "change the labels" not in arguments["page"].read_text()


def test_seams_are_not_judged_without_windows(page):
    assert "There was no seam to check" in seams_of(page.read_text())


def test_semantic_scores_are_shown_for_each_class(tmp_path):
    true = np.where(CELLS > 2, 2, CELLS > 0).astype(np.uint8)
    labels = np.where(true == 2, 0, true).astype(np.uint8)
    arguments = write_products(tmp_path, {"yeast": (labels, true, "test")}, task="semantic", classes=CLASSES)
    write_report(**arguments)
    text = arguments["page"].read_text()
    assert "Mean foreground IoU" in text
    assert "<dt>IoU of mother</dt><dd>1.000</dd>" in text
    assert "<dt>IoU of daughter</dt><dd>0.000</dd>" in text
    assert "No images in different subsets are nearly identical" in text


def test_a_run_without_ground_truth_and_benchmarks_has_a_page(tmp_path):
    arguments = write_products(tmp_path, {"unseen": (CELLS, None, "predict")})
    shutil.rmtree(arguments["benchmarks"])
    write_report(**arguments)
    text = arguments["page"].read_text()
    assert "No score" in text
    assert "No image has ground truth to score" in text
    assert "The test set has no scores" in text


def test_a_run_with_only_skipped_images_says_so_and_why(tmp_path, caplog):
    caplog.set_level("INFO")
    bad = {"bad": "bad.tif: is <empty>; replace it", "worse": "worse.tif: is empty"}
    arguments = write_products(tmp_path, {}, skipped=bad)
    write_report(**arguments)
    text = arguments["page"].read_text()
    summary = text[text.index('id="summary"') : text.index('id="pictures"')]
    assert "<strong>No image could be read</strong>" in summary
    assert "bad.tif: is &lt;empty&gt;; replace it (and 1 more image)." in summary
    assert "of this run has ground truth" not in summary
    why = "No image could be read: bad.tif: is <empty>; replace it (and 1 more image)"
    assert caplog.messages[-1] == f"{arguments['page']}: {why}"


def test_skipped_images_that_were_readable_are_not_called_unreadable():
    table = pd.DataFrame({"image": ["a"]})
    assert explain_empty_run(table, {"b": "b.tif: is empty"}, ["b"]) is None
    assert explain_empty_run(table[:0], {}, []) is None
    assert explain_empty_run(table[:0], {"b": "b: has 2 channels"}, []) == (
        "No image could be used",
        "b: has 2 channels",
    )


def test_images_to_show_are_the_worst_of_each_subset_test_first():
    table = pd.DataFrame(
        [(f"{side}{n}", side, n / 10) for side in ("train", "test", "val") for n in range(5)]
        + [(f"predict{n}", "predict", None) for n in range(5)],
        columns=["image", "split", "ap_50"],
    ).sample(frac=1, random_state=0)
    assert choose_images(table, "ap_50", 6) == ["test0", "test1", "val0", "val1", "train0", "predict0"]
    assert len(choose_images(table, "ap_50", 100)) == 20
    assert choose_images(table, "ap_50", 0) == []


def test_engines_have_the_largest_iou_change_or_none():
    rows = [("a", "float32", None), ("b", "bfloat16", 0.001), ("c", "bfloat16", 0.002)]
    table = pd.DataFrame(rows, columns=["image", "engine", "precision_iou_change"]).assign(halo_px=96, scale=1.0)
    for some in (table, table[:1]):  # a column of nothing has another type
        changes = {line.engine: line.iou_change for line in summarize_engines(some.convert_dtypes())}
        assert changes == ({"float32": None, "bfloat16": 0.002} if len(some) > 1 else {"float32": None})


def test_a_histogram_counts_both_ends():
    assert histogram(pd.Series([0, 0.05, 0.5, 1, np.nan]), bins=2) == [2, 2]


def test_run_times_are_summed_by_rule(tmp_path):
    (tmp_path / "ingest").mkdir()
    for batch, seconds in (("a", 1.5), ("b", 2.5)):
        (tmp_path / "ingest" / f"{batch}.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t100\n")
    (tmp_path / "split.tsv").write_text("s\th:m:s\tmax_rss\n0.5\t0:00:00\t-\n")
    first, second = run_times(tmp_path)
    assert first == ("ingest", 2, 4.0, 2.5, 100.0)
    assert second.rule == "split"
    assert np.isnan(second.memory_mb)
    assert run_times(tmp_path / "nowhere") == []


def test_epoch_axes_have_whole_numbers(page):
    text = page.read_text()
    chart = re.search(r'<figure class="chart">\s*<figcaption>loss.*?</svg>', text, re.DOTALL).group()
    marks = re.findall(r"<text[^>]*>([^<]*)</text>", chart)
    assert {"1", "2", "3", "epoch"} <= set(marks)
    assert "1.5" not in marks[: marks.index("epoch")]


def test_learning_curves_leave_out_missing_values():
    history = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [3.0, np.nan], "seconds": [1, 1]})
    (curve,) = learning_curves(history)
    assert curve.lines == {"train": [(1.0, 2.0), (2.0, 1.0)], "val": [(1.0, 3.0)]}
    assert (curve.first, curve.last, curve.top) == (1, 2, 3.0)


def test_equal_image_warnings_are_grouped(tmp_path):
    arguments = write_products(tmp_path, {"good": (CELLS, CELLS, "test")})
    write_report(**arguments)
    assert '<h2 id="image-warnings-title">' not in arguments["page"].read_text()
    many = {f"image{number:04d}": [f"{number + 1} pixels are <odd>"] for number in range(5000)}
    (arguments["images"][0] / "warnings.json").write_text(json.dumps(many))
    (arguments["truth"][0] / "warnings.json").write_text(json.dumps({"image0007": ["truth has a single id"]}))
    write_report(**arguments)
    text = arguments["page"].read_text()
    assert "5000 images have warnings about their files." in text
    listed = text[text.index('<h2 id="image-warnings-title">') :]
    entries = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", listed[: listed.index("</section>")])
    first = "image0000, image0001, image0002 and 4\u2009997 more"
    assert entries == [(first, "1–5000 pixels are &lt;odd&gt;"), ("image0007", "truth has a single id")]


def write_tracks(root, image):
    """What rule track leaves of one cell in three frames: the folder of its batch."""
    folder = root / "tracks" / image
    nodes = [{"track": 1, "t": t, "label": 1, "z": 0, "y": 9, "x": t, "pixels": 4, "kind": "found"} for t in range(3)]
    nodes = with_types(pd.DataFrame(nodes), "nodes")
    empty = {name: make_table(name, []) for name in TABLES if name not in ("nodes", "tracks")}
    write_lineage(Lineage(nodes, list_tracks(nodes, {}), **empty, frames=3, tracked=[0, 1, 2]), folder / "lineage")
    for name in ("tracks", "trees", "counts"):
        Image.new("RGB", (20, 10)).save(folder / f"{name}.png")
    return root / "tracks"


def page_of_movie(root, side, **columns):
    """The text of a report on a movie, of which `columns` of the table of scores are given."""
    arguments = write_products(root, {"film": (TRIO, None if side == "predict" else CELLS, side)})
    scores = read_table(arguments["metrics"][0]).assign(**columns)
    scores.to_csv(arguments["metrics"][0], sep="\t", index=False)
    write_report(**arguments | {"tracks": [write_tracks(root, "film")]})
    return arguments["page"].read_text()


def test_ground_truth_without_tracks_is_mentioned(tmp_path):
    reason = "the ground truth of film has no tracks"
    assert reason in page_of_movie(tmp_path / "cells", "test")
    # Tracks of which there was nothing to score are tracks.
    assert reason not in page_of_movie(tmp_path / "tracks", "test", divisions_truth=0, tra=np.nan)
    assert reason not in page_of_movie(tmp_path / "none", "predict")


def test_columns_of_movies_are_explained(tmp_path):
    text = page_of_movie(tmp_path, "test")
    text = text[text.index('id="movies"') :]
    for term in ("Cell cycle", "Displacement", "TRA, LNK", "CHOTA", "Division F1"):
        assert f"<dt>{term}</dt>" in text


@pytest.mark.parametrize(
    ("side", "frames", "caption"),
    [
        ("predict", 20, "no score in frame 0, one of 20 frames 3 objects"),
        ("test", 20, "AP 0.5 0.750 in frame 0, 0.750 in all 20 frames 3 objects, 4 in the ground truth"),
        ("test", 1, "AP 0.5 0.750 3 objects, 4 in the ground truth"),
    ],
)
def test_captions_show_frames_and_scores(tmp_path, side, frames, caption):
    text = page_of_movie(tmp_path, side, frames=frames)
    (shown,) = re.findall(r'<p class="name" title="film">film</p>\s*<p>(.*?)</p>\s*<div', text, re.DOTALL)
    assert " ".join(re.sub("<[^>]*>", "", shown).split()) == f"{side} {caption}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium, offline; tests that need it skip where it is absent."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver; Debian's packages are chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        "window-size=1280,900",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    # A busy machine takes more than the half minute that is allowed by default.
    window.set_script_timeout(120)
    window.execute_cdp_cmd("Network.enable", {})
    window.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    yield window
    window.quit()


def names(browser):
    """First cells of the rows of the table that are shown."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#table tbody tr:not([hidden])')].map(row => row.cells[0].textContent)"
    )


def shown(browser, selector):
    """Whether the elements that `selector` finds are visible."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".map(each => getComputedStyle(each).visibility === 'visible')",
        selector,
    )


def click(browser, selector, number=0):
    element = browser.find_elements(By.CSS_SELECTOR, selector)[number]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()
    return element


@pytest.mark.slow
def test_the_page_works_in_a_browser(page, browser, tmp_path):
    browser.get(page.as_uri())
    assert browser.execute_script("return window.hacked") is None
    # Images far below the window are only loaded when someone scrolls there.
    browser.execute_script("[...document.images].forEach(image => { image.loading = 'eager'; })")
    images = browser.execute_script(
        "return Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"
    )
    # Three layers of each image but the one without truth; trial of rates, contact sheet, two explained patches twice.
    assert len(images) == 5 * 3 - 1 + 2 + 2 * 2
    assert min(images) > 0

    assert names(browser) == ["middling", "NA", HOSTILE, "good", "unseen"]
    click(browser, "#table thead button", 0)
    assert names(browser) == [HOSTILE, "good", "middling", "NA", "unseen"]
    click(browser, "#table thead button", 5)
    assert names(browser)[0] == "middling"
    header = click(browser, "#table thead button", 5).find_element("xpath", "..")
    assert header.get_attribute("aria-sort") == "descending"
    assert names(browser)[-1] == "middling"
    click(browser, "#table thead button", 6)
    click(browser, "#table thead button", 6)
    assert names(browser)[-1] == "unseen"

    browser.find_element("id", "find").send_keys("GOO")
    assert names(browser) == ["good"]
    assert browser.find_element("id", "shown").text == "1 of 5"

    click(browser, "[data-layer=truth]")
    assert shown(browser, "img.truth") == [False, True, True, True]
    assert all(shown(browser, "img.labels"))
    browser.switch_to.active_element.send_keys(" ")
    assert all(shown(browser, "img.truth"))
    click(browser, "[data-all=labels]")
    assert not any(shown(browser, "img.labels"))
    click(browser, "[data-all=labels]")
    assert all(shown(browser, "img.labels"))

    Select(browser.find_element("id", "gallery-subset")).select_by_visible_text("val")
    cards = browser.execute_script(
        "return [...document.querySelectorAll('.card')].map(card => card.offsetParent !== null)"
    )
    assert cards.count(True) == 1
    button = click(browser, ".card[data-subset=val] .enlarge")
    assert button.get_attribute("aria-pressed") == "true"

    assert browser.save_screenshot(str(tmp_path / "page.png"))
    assert np.array(Image.open(tmp_path / "page.png").convert("L")).std() > 5
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [420, 1280])
def test_the_page_fits_the_width_of_the_window(page, browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_five_thousand_images_are_sorted_quickly(tmp_path, browser):
    arguments = write_products(tmp_path, {"a": (CELLS, CELLS, "test")})
    table = read_table(arguments["metrics"][0])
    many = pd.concat([table] * 5000, ignore_index=True)
    many["image"] = [f"image{number:04d}" for number in np.random.default_rng(0).permutation(5000)]
    many["ap_50"] = np.random.default_rng(1).random(5000)
    many.to_csv(arguments["metrics"][0], sep="\t", index=False)
    write_report(**arguments | {"settings": ReportSettings(max_images=0)})
    assert arguments["page"].stat().st_size < 5_000_000
    started = time.monotonic()
    browser.get(arguments["page"].as_uri())
    click(browser, "#table thead button", 0)
    assert names(browser) == sorted(many["image"])[:500]
    assert browser.find_element("id", "shown").text == "5000 of 5000, showing the first 500"
    browser.find_element("id", "find").send_keys("4999")
    assert names(browser) == ["image4999"]
    assert time.monotonic() - started < 20
    browser.find_element("id", "find").send_keys(4 * Keys.BACKSPACE)
    click(browser, "#show-all")
    assert names(browser) == sorted(many["image"])


def test_settings_are_shown_as_valid_yaml(page):
    text = page.read_text()
    shown_settings = re.search(r"<pre>(.*?)</pre>", text, re.DOTALL).group(1)
    assert yaml.safe_load(shown_settings)["evaluate"] == {"iou_thresholds": [0.5, 0.75]}


def test_captions_for_the_report_of_snakemake_exist():
    folder = Path(__file__).resolve().parents[2] / "workflow" / "report"
    for name in ("report.rst", "metrics.rst"):
        assert (folder / name).read_text().count("\n") == 1


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """The text of a report on images to which an existing model was applied; one does not fit, one trained it."""
    root = tmp_path_factory.mktemp("applied")
    arguments = write_products(root, {"good": (CELLS, CELLS, "test"), "unseen": (TRIO, None, "predict")})
    model = json.loads((root / "model" / "model.json").read_text())
    del model["architecture"], model["class_share"], model["epochs"], model["versions"]
    (root / "model" / "model.json").write_text(json.dumps(model | {"sources": {"train": ["good"], "val": []}}))
    (root / "model" / "history.csv").unlink()
    table = read_table(arguments["metrics"][0])
    table["domain_shift"] = [None, "unseen: its detail is unlike; see to it; unseen: the objects found are 2 px wide"]
    table.to_csv(arguments["metrics"][0], sep="\t", index=False)
    arguments["config"]["model"] = "model"
    write_report(**arguments | {"split": None, "leakage": None, "sheets": [], "groups": {}})
    return arguments["page"].read_text()


def test_the_page_of_an_existing_model_names_its_folder_and_has_no_split(applied):
    assert "An existing model was applied" in applied
    assert re.search(r"<dt>Folder</dt><dd>/.*/model</dd>", applied)
    assert 'href="#split"' not in applied
    assert 'id="split"' not in applied
    assert ">Group<" not in applied


def test_images_with_domain_shift_are_listed_with_a_warning(applied):
    summary = applied[applied.index('id="summary"') : applied.index('id="pictures"')]
    assert "1 image differs from the training images." in summary
    assert '<a href="#domain-shift">Details</a>' in summary
    listed = applied[applied.index('id="domain-shift"') :]
    assert "<dd>its detail is unlike; see to it.<br>the objects found are 2 px wide.</dd>" in listed


def test_scores_on_training_images_of_an_existing_model_have_a_warning(applied):
    assert "1 image has the name of a training image of the model; scores on training images are too good." in applied
