"""`snakemake --touch` marks existing results as up to date, says what differed, and keeps what they were made from."""

import json
import shutil
from pathlib import Path

import yaml

from helpers.expected_jobs import segmenting
from helpers.fake_results import planner_of
from helpers.small_project import planned, snakemake
from tessera.planning.acceptance import list_accepted, record_with_acceptance, remember_acceptance
from tessera.report.accepted_results import END, START


def set_setting(section, key, value):
    path = Path("config/config.yaml")
    settings = yaml.safe_load(path.read_text())
    settings.setdefault(section, {})[key] = value
    path.write_text(yaml.safe_dump(settings))


def edit_code(project, name):
    path = project / "workflow" / "scripts" / name
    path.write_text(path.read_text() + "\nEDITED = 1\n")


def read_record(name):
    return json.loads(Path("results/provenance", f"{name}.json").read_text())


def test_touch_accepts_results_of_changed_code_and_settings(project):
    before = read_record("segment/one")
    Path("results/report.html").write_text(f"<main>{START}{END}</main>")
    set_setting("segment", "min_area_px", 8)
    edit_code(project, "train.py")
    assert planned(project)["train"] == 1
    output = snakemake(project, "--touch").stdout
    assert "Accepted, though made with other code: train fold1: code of train.py" in output
    assert (
        "Warning: accepted, though settings or inputs differ: segment (2 batches): segment.min_area_px auto -> 8"
        in output
    )
    assert planned(project) == {}
    record = read_record("segment/one")
    assert record["accepted"]["made_from"] == before
    assert record["accepted"]["differences"] == ["segment.min_area_px auto -> 8"]
    assert record["settings"]["segment.min_area_px"] == 8
    page = Path("results/report.html").read_text()
    assert "segment (2 batches)" in page
    assert "segment.min_area_px auto -&gt; 8" in page
    # The record keeps the original provenance when a result is accepted a second time.
    set_setting("segment", "min_area_px", 9)
    snakemake(project, "--touch")
    accepted = read_record("segment/one")["accepted"]
    assert accepted["made_from"] == before
    assert accepted["differences"] == ["segment.min_area_px auto -> 8", "segment.min_area_px 8 -> 9"]


def test_touch_accepts_only_the_targets(project):
    edit_code(project, "train.py")
    snakemake(project, "--touch", "results/models/fold1")
    assert "train" not in planned(project)
    assert planned(project)["select_model"] == 1
    assert [each["results"] for each in list_accepted(planner_of(project))] == ["train fold1"]


def test_touch_does_not_accept_what_is_missing_nor_what_is_made_from_it(project):
    set_setting("segment", "min_area_px", 8)
    shutil.rmtree("results/labels/two")
    output = snakemake(project, "--touch").stdout
    assert "Not accepted: segment two: missing: results/labels/two" in output
    assert planned(project) == segmenting(1)


def test_touch_does_not_accept_a_batch_with_new_images(project):
    table = Path("config/images.tsv")
    table.write_text(table.read_text() + "spare\t../raw/spare.ome.tif\t\t\tone\n")
    before = planned(project)
    assert "Not accepted: ingest one: images were added or removed: spare" in snakemake(project, "--touch").stdout
    assert planned(project) == before


def test_touch_accepts_a_training_whose_patches_were_deleted(project):
    edit_code(project, "augment.py")
    shutil.rmtree("results/patches")
    snakemake(project, "--touch")
    assert planned(project) == {}


def test_touch_changes_nothing_that_is_up_to_date(project):
    before = read_record("train/fold1")
    snakemake(project, "--touch")
    assert read_record("train/fold1") == before
    assert list_accepted(planner_of(project)) == []


def test_images_that_stay_keep_their_acceptance_when_their_batch_is_made_again(project):
    before = read_record("segment/one")
    set_setting("segment", "min_area_px", 8)
    snakemake(project, "--touch")
    for image in ("train", "plain"):
        Path("results/labels/one", f"{image}.ome.zarr").mkdir()
    shutil.copy("raw/spare.ome.tif", "raw/plain.ome.tif")
    planner = planner_of(project)
    remember_acceptance(planner)
    path = Path(planner.record_path("segment", "one"))
    path.unlink()  # as Snakemake does before it runs the job
    remember_acceptance(planner_of(project))  # the job was interrupted
    record = record_with_acceptance(planner, "segment", "one")
    assert record["accepted"]["images"] == {"train": record["hash"]["train"]}
    assert record["accepted"]["made_from"] == before
    path.write_text(json.dumps(record))
    assert "segment one: train" in [each["results"] for each in list_accepted(planner_of(project))]
    # All images of batch two stay accepted as a whole, and nothing of it is made again.
    assert "accepted" not in record_with_acceptance(planner, "segment", "two")
