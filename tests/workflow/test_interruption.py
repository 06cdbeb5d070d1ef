"""A run that was killed can be finished with the same command, and gives the same results."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.small_project import planned, snakemake, start_holder
from tessera.io.ome_zarr_store import open_array

pytestmark = pytest.mark.slow

COMMAND = ["--cores", "2", "--max-threads", "2"]
# The results from the models to the metrics. A run makes them again if all are missing.
MADE_AGAIN = [
    "models",
    "selected.json",
    "converted",
    "predictions",
    "labels",
    "objects",
    "metrics",
    "pictures",
    "metrics.tsv",
]


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project."""
    return shutil.copytree(finished, tmp_path / "project", symlinks=True)


def kill_when(folder, log, text, *, with_jobs=True):
    """Start a run in `folder`, and kill it as soon as the file `log` contains `text`.

    Args:
        folder: the project.
        log: path of a log, relative to `folder`.
        text: text to wait for.
        with_jobs: kill its jobs too; else only the main process, and its jobs stop by themselves.
    """
    (folder / log).unlink(missing_ok=True)  # it may be from an earlier run
    process = subprocess.Popen(
        [Path(sys.executable).with_name("snakemake"), *COMMAND],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 300
    while not ((folder / log).exists() and text in (folder / log).read_text()):
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < end
        time.sleep(0.02)
    (os.killpg if with_jobs else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_run_gives_the_results_of_an_uninterrupted_one(finished, project):
    for path in (project / "results" / name for name in MADE_AGAIN):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    kill_when(project, "logs/train/fold1.log", "epoch 2/6")
    kill_when(project, "logs/train/fold1.log", "epoch 4/6", with_jobs=False)
    shutil.rmtree(project / "results" / "images")
    kill_when(project, "logs/ingest/two.log", "[1/2]")
    snakemake(project, *COMMAND)
    assert planned(project) == {}
    labels = sorted(path.relative_to(finished) for path in finished.glob("results/labels/*/*.ome.zarr"))
    assert len(labels) == 4
    for store in labels:
        np.testing.assert_array_equal(open_array(project / store)[:], open_array(finished / store)[:])
    metrics = [pd.read_csv(folder / "results" / "metrics.tsv", sep="\t") for folder in (project, finished)]
    pd.testing.assert_frame_equal(*metrics)
    assert metrics[0]["ap_50"].min() > 0.3, "the network found cells, so that there is something to compare"


def test_second_run_at_the_same_time_is_refused(project):
    with start_holder(project / ".snakemake" / "tessera" / "results.lock", 60) as process:
        try:
            output = snakemake(project, *COMMAND, "--forcerun", "select_model", check=False)
        finally:
            process.kill()
    assert output.returncode == 1
    assert "another run is at work on these results" in output.stdout
