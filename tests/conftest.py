"""What all tests share."""

import os
from pathlib import Path

import pytest

from helpers.repository import REPOSITORY
from helpers.small_project import SWEPT_SETTINGS, SWEPT_TABLE, make_project, planned, snakemake


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items):
    """Where two processes share the tests, those on one costly project go to one, and else those of a file."""
    for item in items:
        project = next((name for name in ("finished", "swept") if name in item.fixturenames), item.path.stem)
        item.add_marker(pytest.mark.xdist_group(project))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TESSERA_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; TESSERA_DATA names their folder")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small project that has run to its end on two cores; tests must not change it."""
    folder = make_project(tmp_path_factory.mktemp("finished") / "project")
    planned_jobs = dict.fromkeys(("ingest", "ingest_truth", "predict", "segment", "track", "evaluate"), 2)
    planned_jobs |= dict.fromkeys(("split", "augment", "train", "select_model", "explain", "report"), 1)
    assert planned(folder) == planned_jobs
    snakemake(folder, "--cores", "2", "--max-threads", "2")
    return folder


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A small project of two variants in two folds that has run to its end; tests must not change it."""
    folder = make_project(tmp_path_factory.mktemp("swept") / "project", table=SWEPT_TABLE, settings=SWEPT_SETTINGS)
    snakemake(folder, "--cores", "2", "--max-threads", "1")
    return folder
