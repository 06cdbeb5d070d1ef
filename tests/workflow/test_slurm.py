"""The whole pipeline on a SLURM cluster that the tests start: the same results, and a cancelled job is made good."""

import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.repository import REPOSITORY
from helpers.small_project import make_project, snakemake
from slurm.cluster import missing_packages, running_cluster
from tessera.io.ome_zarr_store import open_array

# A job gets the cores that it has on the workstation, as floating-point sums need.
THREADS = ["--max-threads", "2"]
GPU = ["--set-resources", "train:slurm_partition=gpu", "train:gpu=1"]
QUICK = ["--slurm-init-seconds-before-status-checks", "1"]
PATIENCE_S = 600


def read_profile(name):
    return yaml.safe_load((REPOSITORY / "profiles" / name / "config.yaml").read_text())


def test_both_profiles_rerun_for_the_same_reasons():
    kept = ["rerun-triggers", "rerun-incomplete", "keep-going"]
    assert {key: read_profile("slurm")[key] for key in kept} == {key: read_profile("default")[key] for key in kept}


@pytest.fixture(scope="module")
def projects(tmp_path_factory, finished):
    """(a finished project on the workstation, the same on SLURM, the cluster's jobs); a training job was cancelled."""
    if missing := missing_packages():
        pytest.skip(f"needs a SLURM cluster: apt-get install {' '.join(missing)}")
    there = make_project(tmp_path_factory.mktemp("slurm") / "cluster")
    with running_cluster() as cluster:
        run_with_a_cancelled_training(there, cluster)
        return finished, there, cluster.jobs()


def run_with_a_cancelled_training(folder, cluster):
    """Run the pipeline on `cluster`, and cancel its first training job after an epoch."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "slurm", *THREADS, *GPU, *QUICK]
    output = folder / "output.txt"
    with open(output, "w") as stream:
        process = subprocess.Popen(command, cwd=folder, env=cluster.environment, stdout=stream, stderr=stream)
    try:
        wait_for_line(folder / "logs" / "train" / "fold1.log", "epoch 1/", process, output)
        cluster.ask("scancel", next(job["JobId"] for job in cluster.jobs() if rule_of(job) == "train"))
        process.wait(PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, output.read_text()


def wait_for_line(path, text, process, output):
    """Wait until the file `path` holds `text`, while `process`, which prints into `output`, runs."""
    end = time.monotonic() + PATIENCE_S
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.1)


def rule_of(job):
    return re.match(r"rule_(\w+?)(_wildcards_.*)?$", job["Comment"])[1]


@pytest.mark.slow
def test_labels_are_those_of_a_workstation(projects):
    here, there, _ = projects
    stores = sorted(path.relative_to(here) for path in here.glob("results/labels/*/*.ome.zarr"))
    assert len(stores) == 4
    for store in stores:
        np.testing.assert_array_equal(open_array(there / store)[:], open_array(here / store)[:])


@pytest.mark.slow
def test_objects_and_metrics_are_those_of_a_workstation(projects):
    here, there, _ = projects
    for batch in ("one", "two"):
        table = f"results/objects/{batch}.parquet"
        pd.testing.assert_frame_equal(pd.read_parquet(there / table), pd.read_parquet(here / table))
    assert (there / "results/metrics.tsv").read_text() == (here / "results/metrics.tsv").read_text()


@pytest.mark.slow
def test_every_rule_that_computes_is_a_job_of_the_cluster(projects):
    _, _, jobs = projects
    rules = {rule_of(job) for job in jobs}
    assert {"ingest", "ingest_truth", "augment", "train", "predict", "segment", "evaluate"} <= rules
    assert {job["JobState"] for job in jobs if rule_of(job) != "train"} == {"COMPLETED"}


@pytest.mark.slow
def test_a_cancelled_job_is_done_again_with_more_memory_and_time(projects):
    _, _, jobs = projects
    first, second = (job for job in jobs if rule_of(job) == "train")
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("6000M", "12000M")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("04:00:00", "08:00:00")


@pytest.mark.slow
def test_a_rule_that_is_sent_to_the_gpu_partition_gets_a_gpu(projects):
    _, _, jobs = projects
    assert {(job["Partition"], job.get("TresPerJob")) for job in jobs if rule_of(job) == "train"} == {
        ("gpu", "gres:gpu:1")
    }
    assert {(job["Partition"], job.get("TresPerJob")) for job in jobs if rule_of(job) != "train"} == {("cpu", None)}


@pytest.mark.slow
def test_a_finished_run_on_the_cluster_has_nothing_left_to_do_on_a_workstation(projects):
    _, there, _ = projects
    assert "Nothing to be done" in snakemake(there, "--cores", "2", "--dry-run").stdout
