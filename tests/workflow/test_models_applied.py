"""An existing model is applied to new images, without training and without ground truth."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers.expected_jobs import APPLYING, predicting
from helpers.small_project import SETTINGS, make_project, planned, set_settings, snakemake
from tessera.io.ome_zarr_store import open_array

pytestmark = pytest.mark.slow

TABLE = """\
image\tpath\tbatch\troi\tframes
spare\t../raw/spare.ome.tif\tone\t0:64,32:96\t1
plain\t../raw/plain.ome.tif\ttwo\t\t
"""


@pytest.fixture(scope="module")
def applied(finished, tmp_path_factory):
    """A finished project that applied the model of another project. Tests must not change it."""
    root = tmp_path_factory.mktemp("applied")
    shutil.copytree(finished / "results" / "models" / "fold1", root / "project" / "given")
    folder = make_project(root / "project", table=TABLE, settings=SETTINGS | {"model": "given"})
    assert planned(folder) == {"ingest": 2} | APPLYING
    snakemake(folder, "--cores", "2", "--max-threads", "2")
    return folder


@pytest.fixture
def project(applied, tmp_path):
    """A copy of the finished project, with its timestamps."""
    return shutil.copytree(applied, tmp_path / "project", symlinks=True)


def test_images_without_ground_truth_get_labels_objects_and_a_report(applied):
    results = applied / "results"
    table = pd.read_csv(results / "metrics.tsv", sep="\t")
    assert sorted(table["image"]) == ["plain", "spare"]
    assert set(table["split"]) == {"predict"}
    assert (results / "objects" / "two.parquet").is_file()
    page = (results / "report.html").read_text()
    assert "An existing model was applied" in page
    assert "No score" in page
    assert not (results / "split.tsv").exists()
    assert json.loads((results / "selected.json").read_text())["model"] == "given"


def test_prediction_is_limited_to_the_region_and_frames_of_the_table(applied):
    background = open_array(applied / "results" / "predictions" / "one" / "spare.ome.zarr")[:, 0, 0]
    of_interest = np.zeros(background.shape, bool)
    of_interest[1, 0:64, 32:96] = True
    assert (background[~of_interest] == 255).all()
    assert (background[of_interest] < 255).any()


def test_settings_of_training_and_a_moved_model_rerun_nothing(project):
    assert planned(project) == {}
    set_settings(project, train={"epochs": 5}, split={"seed": 1}, augment={"patch_size_px": 128})
    assert planned(project) == {}
    shutil.move(project / "given", project / "moved" / "given")
    set_settings(project, model="moved/given")
    assert planned(project) == {}


def test_edited_model_reruns_all_predictions(project):
    path = project / "given" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"note": "edited"}))
    assert planned(project) == APPLYING


def test_changed_region_reruns_only_its_batch(project):
    table = project / "config" / "images.tsv"
    table.write_text(TABLE.replace("0:64,32:96", "0:96,32:96"))
    assert planned(project) == predicting(1)


def test_ground_truth_makes_test_images_and_is_scored_in_the_region_of_interest_alone(project):
    table = """\
image\tpath\ttruth\tsplit\tbatch\troi\tframes
plain\t../raw/plain.ome.tif\t../raw/plain_truth\ttrain\ttwo\t\t
part\t../raw/plain.ome.tif\t../raw/plain_truth\t\ttwo\t0:48,0:96\t0
spare\t../raw/spare.ome.tif\t\t\ttwo\t\t
"""
    (project / "config" / "images.tsv").write_text(table)
    snakemake(project, "--cores", "2", "--max-threads", "2", "results/metrics/two.tsv")
    scores = pd.read_csv(project / "results" / "metrics" / "two.tsv", sep="\t", index_col="image")
    assert scores["split"].to_dict() == {"plain": "test", "part": "test", "spare": "predict"}
    assert scores["frames_scored"].to_dict() == {"plain": 2, "part": 1, "spare": 0}
    assert scores.loc["part", "pixels"] == 48 * 96


def test_project_can_apply_its_own_model_without_retraining(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    set_settings(folder, model="results/models/fold1", train={"epochs": 9})
    jobs = planned(folder)
    assert jobs["predict"] == 2
    assert not {"split", "augment", "train"} & jobs.keys()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "nowhere"}, "model: there is no folder"),
        ({"task": "semantic"}, "given has the task instances, but the configuration has semantic"),
        ({"classes": ["background", "yeast"]}, "given has the classes background, cell, but the configuration has"),
        ({"model": ["given", "other/given"]}, "have the same name; rename one of the folders"),
        ({"model": "raw"}, "model.json: cannot be read"),
        ({"model": "other"}, "other contains folders of models; give one of them, such as "),
    ],
)
def test_unusable_model_is_refused_at_planning(project, settings, words):
    shutil.copytree(project / "given", project / "other" / "given")
    set_settings(project, **settings)
    done = snakemake(project, "--dry-run", check=False)
    assert done.returncode != 0
    assert words in done.stdout.replace("'", "")
    assert "Traceback" not in done.stdout
