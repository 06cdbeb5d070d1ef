"""Masks imported through the table are tracked, measured and scored, without any network."""

import re
import shutil

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
import tifffile

from helpers.expected_jobs import TRACKING, importing, measuring
from helpers.small_project import make_project, planned, set_settings, snakemake
from tessera.io.ome_zarr_store import open_array

pytestmark = pytest.mark.slow

TABLE = """\
image\tpath\tmasks\ttruth\tbatch
spare\t../raw/spare.ome.tif\t../raw/spare_truth\t../raw/spare_truth\tone
plain\t../raw/plain.ome.tif\t../raw/plain_truth\t\ttwo
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished project with imported masks. Tests must not change it."""
    folder = make_project(tmp_path_factory.mktemp("given") / "project", table=TABLE)
    assert planned(folder) == {"ingest": 2, "ingest_truth": 1} | importing(2)
    snakemake(folder, "--cores", "2", "--max-threads", "2")
    return folder


@pytest.fixture
def project(done, tmp_path):
    """A copy of the finished project, with its timestamps."""
    return shutil.copytree(done, tmp_path / "project", symlinks=True)


def test_imported_masks_become_labels_and_are_tracked_and_scored(done):
    results = done / "results"
    frames = [tifffile.imread(path) for path in sorted((done / "raw" / "plain_truth").glob("*.tif"))]
    assert (open_array(results / "labels" / "two" / "plain.ome.zarr")[:, 0, 0] == np.stack(frames)).all()
    table = pd.read_csv(results / "metrics.tsv", sep="\t", index_col="image")
    assert table.loc["spare", ["ap_50", "tra", "frames_scored"]].tolist() == [1, 1, 2]
    assert table["split"].to_dict() == {"plain": "predict", "spare": "test"}
    tracks = pq.read_table(results / "tracked" / "two.parquet")["track"].to_pylist()
    assert set(tracks) == set(np.unique(frames)[1:].tolist()), "each id of the ground truth is one track"


def test_report_mentions_imported_masks_and_has_no_section_on_networks(done):
    page = (done / "results" / "report.html").read_text()
    assert "No network was used" in page
    sections = ("training", "explanation", "seams", "split")
    assert not [name for name in sections if f'id="{name}"' in page or f'href="#{name}"' in page]
    outputs = {path.name for path in (done / "results").iterdir()}
    assert not outputs & {"models", "patches", "predictions", "selected.json", "explanation", "split.tsv"}


def test_edited_masks_rerun_their_batch_and_settings_of_networks_rerun_nothing(project):
    assert planned(project) == {}
    set_settings(project, train={"epochs": 5}, predict={"tile_px": 256}, segment={"foreground_threshold": 0.3})
    assert planned(project) == {}
    frame = next((project / "raw" / "plain_truth").glob("*.tif"))
    ids = tifffile.imread(frame)
    tifffile.imwrite(frame, np.where(ids == ids.max(), 0, ids))
    assert planned(project) == importing(1)


def test_bad_masks_fail_the_run_by_name_and_can_then_be_skipped(project):
    for frame in (project / "raw" / "plain_truth").glob("*.tif"):
        tifffile.imwrite(frame, tifffile.imread(frame)[:40])
    done = snakemake(project, "--cores", "2", check=False)
    assert done.returncode != 0
    assert "its image is" in done.stdout
    assert "Traceback" not in done.stdout
    set_settings(project, ingest={"on_bad_image": "skip"})
    snakemake(project, "--cores", "2")
    page = (project / "results" / "report.html").read_text()
    assert '<section id="skipped"' in page
    assert "spare" in page
    table = pd.read_csv(project / "results" / "metrics.tsv", sep="\t")
    assert table["image"].tolist() == ["spare"]


def test_run_without_any_readable_image_says_so(project):
    for path in (project / "raw").glob("*.ome.tif"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    set_settings(project, ingest={"on_bad_image": "skip"})
    done = snakemake(project, "--cores", "2", check=False)
    assert done.returncode == 1
    assert "results/report.html: No image could be read: raw/plain.ome.tif: is truncated" in done.stdout
    assert "Skipped: plain, spare; results/report.html says why" in done.stdout
    assert "All images were skipped" in done.stdout
    page = (project / "results" / "report.html").read_text()
    assert "<strong>No image could be read</strong>" in page


def test_settings_of_tracks_do_not_rerun_the_import_of_masks(project):
    set_settings(project, track={"allow_divisions": False})
    assert planned(project) == TRACKING


def test_labels_are_replaced_when_masks_are_added_to_or_removed_from_the_table(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    table = folder / "config" / "images.tsv"
    text = table.read_text()
    header, *rows = text.splitlines()
    masks = [f"{row}\t../raw/{row.split()[0]}_truth" for row in rows]
    table.write_text("\n".join([f"{header}\tmasks", *masks, ""]))
    assert planned(folder) == importing(2)
    snakemake(folder, "--cores", "2", "results/tracked/one.parquet", "results/labels/two")
    assert planned(folder) == measuring(2) | {"track": 1}
    frames = [tifffile.imread(path) for path in sorted((folder / "raw" / "plain_truth").glob("*.tif"))]
    assert (open_array(folder / "results" / "labels" / "one" / "plain.ome.zarr")[:, 0, 0] == np.stack(frames)).all()
    table.write_text(text)
    assert planned(folder) == {"segment": 2, "track": 1}, "only batch one was tracked by its masks"


@pytest.mark.parametrize(
    ("settings", "table", "words"),
    [
        ({"task": "semantic"}, TABLE, "task: is semantic, but the masks in the table are instances"),
        ({"model": "raw"}, TABLE, "model: is given, but the table gives masks"),
        ({"evaluate": {"min_seam_f1": 0.9}}, TABLE, "evaluate.min_seam_f1: is given, but masks in the table have"),
        ({}, TABLE.replace("../raw/plain_truth", ""), "line 3: masks: is empty, but line 2 has masks"),
        ({}, TABLE.replace("../raw/plain_truth", "../raw/plain.ome.tif"), "line 3: masks: ../raw/plain.ome.tif is the"),
        ({}, TABLE.replace("../raw/plain_truth", "../raw/nowhere"), "line 3: masks:"),
    ],
)
def test_settings_that_contradict_masks_are_refused_at_planning(project, settings, table, words):
    set_settings(project, **settings)
    (project / "config" / "images.tsv").write_text(table)
    done = snakemake(project, "--dry-run", check=False)
    assert done.returncode != 0
    assert words in done.stdout
    assert "Traceback" not in done.stdout


def test_image_that_moves_to_a_batch_is_added_without_rewriting_the_others(project):
    results = project / "results"
    stores = ["images/one/spare.ome.zarr", "truth/one/spare.ome.zarr", "labels/one/spare.ome.zarr", "tracks/one/spare"]
    before = {path: path.stat().st_ino for store in stores for path in (results / store).rglob("*") if path.is_file()}
    objects = [pd.read_parquet(results / "tracked" / f"{batch}.parquet") for batch in ("one", "two")]
    table = project / "config" / "images.tsv"
    table.write_text(table.read_text().replace("\ttwo\n", "\tone\n"))
    snakemake(project, "--cores", "2", "results/labels/one", "results/tracked/one.parquet")
    assert before == {path: path.stat().st_ino for path in before}
    joined = pd.read_parquet(results / "tracked" / "one.parquet").sort_values(
        ["image", "t", "label"], ignore_index=True
    )
    expected = pd.concat(objects).sort_values(["image", "t", "label"], ignore_index=True)
    pd.testing.assert_frame_equal(joined, expected)
    assert planned(project) == {"evaluate": 1, "report": 1}


def test_jobs_share_the_memory_of_the_machine_and_run_one_network_at_a_time(project):
    def provided(*arguments):
        target = ("results/truth/one", "--forcerun", "ingest_truth")
        output = snakemake(project, "--cores", "2", *target, *arguments).stdout
        line = next(line for line in output.splitlines() if line.startswith("Provided resources"))
        return {name: int(value) for name, value in re.findall(r'"(\w+)", (\d+)', line)}

    total_mb = psutil.virtual_memory().total / 1e6
    assert provided() == {"networks": 1, "mem_mb": pytest.approx(0.9 * total_mb, abs=1)}
    assert provided("--resources", "mem_mb=1500") == {"networks": 1, "mem_mb": 1500}


def test_forcerun_rewrites_stores_that_did_not_change(project):
    store = project / "results" / "images" / "one" / "spare.ome.zarr" / "zarr.json"
    before = store.stat().st_mtime_ns
    table = project / "config" / "images.tsv"
    table.write_text(table.read_text().replace("\ttwo\n", "\tone\n"))
    snakemake(project, "--cores", "2", "--forcerun", "ingest", "--until", "ingest")
    assert store.stat().st_mtime_ns != before
