"""The pipeline on a SLURM cluster that the tests start gives the same results, and retries a cancelled job."""

import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.repository import REPOSITORY
from helpers.small_project import snakemake
from slurm.cluster import missing_packages, running_cluster
from tessera.io.ome_zarr_store import open_array

# Jobs get as many cores as on the workstation: the order of floating-point sums depends on it.
THREADS = ["--max-threads", "2"]
GPU = ["--set-resources", "train:slurm_partition=gpu", "train:gpu=1"]
QUICK = ["--slurm-init-seconds-before-status-checks", "1"]
PATIENCE_S = 3000
# Results that the cluster makes again: with those of the other batch, each step would take its jobs twice as long.
MADE_AGAIN = [
    "images/one",
    "truth/one",
    "patches/fold1",
    "models/fold1",
    "predictions/one",
    "labels/one",
    "objects/one.parquet",
    "metrics/one.tsv",
    "metrics.tsv",
]


def read_profile(name):
    return yaml.safe_load((REPOSITORY / "profiles" / name / "config.yaml").read_text())


def test_profiles_share_the_rerun_triggers():
    kept = ["rerun-triggers", "rerun-incomplete", "keep-going"]
    assert {key: read_profile("slurm")[key] for key in kept} == {key: read_profile("default")[key] for key in kept}


@pytest.fixture(scope="module")
def projects(tmp_path_factory, finished):
    """The finished project of a workstation, a copy that SLURM finished again, and the jobs of the cluster."""
    if missing := missing_packages():
        pytest.skip(f"needs a SLURM cluster: apt-get install {' '.join(missing)}")
    on_slurm = shutil.copytree(finished, tmp_path_factory.mktemp("slurm") / "cluster", symlinks=True)
    shutil.rmtree(on_slurm / "logs")
    for path in (on_slurm / "results" / name for name in MADE_AGAIN):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with running_cluster() as cluster:
        run_with_a_cancelled_training(on_slurm, cluster)
        return finished, on_slurm, cluster.jobs()


def run_with_a_cancelled_training(folder, cluster):
    """Run the pipeline on `cluster`, and cancel its first training job after one epoch."""
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
    """Wait until the file `path` contains `text`, and fail with the file `output` if `process` ends before."""
    end = time.monotonic() + PATIENCE_S
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.1)


def rule_of(job):
    return re.match(r"rule_(\w+?)(_wildcards_.*)?$", job["Comment"])[1]


@pytest.mark.slow
def test_labels_equal_those_of_a_workstation(projects):
    local, on_slurm, _ = projects
    stores = sorted(path.relative_to(local) for path in local.glob("results/labels/one/*.ome.zarr"))
    assert len(stores) == 2
    for store in stores:
        np.testing.assert_array_equal(open_array(on_slurm / store)[:], open_array(local / store)[:])


@pytest.mark.slow
def test_objects_and_metrics_equal_those_of_a_workstation(projects):
    local, on_slurm, _ = projects
    table = "results/objects/one.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(on_slurm / table), pd.read_parquet(local / table))
    assert (on_slurm / "results/metrics.tsv").read_text() == (local / "results/metrics.tsv").read_text()


@pytest.mark.slow
def test_rules_that_compute_run_as_jobs_of_the_cluster(projects):
    _, _, jobs = projects
    rules = {rule_of(job) for job in jobs}
    assert {"ingest", "ingest_truth", "augment", "train", "predict", "segment", "evaluate"} <= rules
    assert {job["JobState"] for job in jobs if rule_of(job) != "train"} == {"COMPLETED"}


@pytest.mark.slow
def test_cancelled_job_is_retried_with_more_memory_and_time(projects):
    _, _, jobs = projects
    first, second = (job for job in jobs if rule_of(job) == "train")
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("6000M", "12000M")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("04:00:00", "08:00:00")


@pytest.mark.slow
def test_gpu_partition_gives_its_jobs_a_gpu(projects):
    _, _, jobs = projects
    assert {(job["Partition"], job.get("TresPerJob")) for job in jobs if rule_of(job) == "train"} == {
        ("gpu", "gres:gpu:1")
    }
    assert {(job["Partition"], job.get("TresPerJob")) for job in jobs if rule_of(job) != "train"} == {("cpu", None)}


@pytest.mark.slow
def test_finished_cluster_run_has_nothing_to_do_on_a_workstation(projects):
    _, on_slurm, _ = projects
    assert "Nothing to be done" in snakemake(on_slurm, "--cores", "2", "--dry-run").stdout
