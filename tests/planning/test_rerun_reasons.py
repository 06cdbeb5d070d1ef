"""The reasons for reruns: each cause once, where it arises."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from helpers.expected_jobs import in_words, measuring, predicting
from helpers.fake_results import planner_of
from helpers.small_project import TABLE, snakemake
from tessera.planning.rerun_reasons import Cause, explain_reruns, shorten


def reasons(project, forced=()):
    """The lines for all outdated outputs, as if Snakemake ran exactly these."""
    planner = planner_of(project)
    jobs = {output: "" for output in planner.all_outputs() if planner.is_outdated(*output)}
    return explain_reruns(planner, jobs | dict.fromkeys(forced, "forced"))


def set_setting(section, key, value):
    path = Path("config/config.yaml")
    settings = yaml.safe_load(path.read_text())
    settings.setdefault(section, {})[key] = value
    path.write_text(yaml.safe_dump(settings))


def test_no_reasons_are_given_if_nothing_runs(project):
    assert reasons(project) == []


def test_setting_is_named_with_both_values(project):
    set_setting("segment", "min_area_px", 20)
    assert reasons(project) == [
        "segment (2 batches): segment.min_area_px auto -> 20",
        f"then: {in_words(measuring(2))}",
    ]


def test_setting_without_a_value_is_shown_as_null(project):
    set_setting("segment", "min_area_um2", 20)
    assert reasons(project)[0] == "segment (2 batches): segment.min_area_um2 null -> 20"


def test_added_training_images_are_named(project):
    row = "\t../raw/spare.ome.tif\t../raw/spare_truth\ttrain\tone\n"
    Path("config/images.tsv").write_text(TABLE + "day4_p1" + row + "day4_p2" + row)
    lines = reasons(project)
    assert "augment fold1: 2 training images added (day4_p1, day4_p2)" in lines
    assert "ingest one: 2 images added (day4_p1, day4_p2)" in lines
    assert lines[-1].startswith("then: train fold1, ")


def test_changed_raw_file_is_named_by_its_path(project):
    shutil.copy("raw/spare.ome.tif", "raw/plain.ome.tif")
    assert reasons(project) == [
        "ingest one: raw/plain.ome.tif changed",
        f"then: {in_words(predicting(1), 'one')}",
    ]


def test_changed_cell_is_named_with_both_values(project):
    header, *rows = TABLE.splitlines()
    rows = [f"{row}\t{'0:1' if row.startswith('plain') else ''}" for row in rows]
    Path("config/images.tsv").write_text("\n".join([f"{header}\tframes", *rows]) + "\n")
    assert reasons(project)[0] == "predict one: frames (empty) -> 0:1 of plain"


def test_deleted_output_is_named(project):
    shutil.rmtree("results/labels/one")
    Path("results/report.html").unlink()
    assert reasons(project) == [
        "segment one: results/labels/one missing",
        "report: results/report.html missing",
    ]


def test_damaged_record_is_named(project):
    Path("results/provenance/track/one.json").write_text("{")
    assert reasons(project)[0] == "track one: the record is damaged: results/provenance/track/one.json"


def test_forced_job_is_called_forced(project):
    assert reasons(project, forced=[("train", "fold1")]) == ["train fold1: forced"]


def test_first_run_takes_one_line(project):
    shutil.rmtree("results")
    assert reasons(project) == ["Nothing has been made yet: all steps run."]


def test_output_made_from_earlier_results_says_so(project):
    planner = planner_of(project)
    old = planner.provenance.record("segment", "one")
    old["hash"] = dict.fromkeys(old["hash"], "old")
    old["upstream"] = {"predict": "old"}
    Path(planner.record_path("segment", "one")).write_text(json.dumps(old))
    assert reasons(project)[0] == "segment one: made from earlier results of predict"


def test_many_items_are_counted():
    items = tuple(f"raw/p{number}.tif" for number in range(10_000))
    assert Cause("{items} changed", items).render() == "raw/p0.tif, raw/p1.tif, raw/p2.tif and 9997 more changed"
    assert Cause("{count image} added ({items})", ("a",)).render() == "1 image added (a)"
    assert shorten(["a", "b"]) == "a, b"


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_dry_run_says_why_jobs_run(project, quiet):
    path = project / "workflow" / "scripts" / "tessera" / "tracking" / "frame_linking.py"
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    output = snakemake(project, "--dry-run", *quiet).stdout
    assert output.count("track (2 batches)") == 1
    assert ": code of tracking/frame_linking.py" in output
