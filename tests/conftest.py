"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import pytest

from helpers.repository import REPOSITORY
from helpers.small_project import SWEPT_SETTINGS, SWEPT_TABLE, make_project, snakemake


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """With two processes, run all tests of a costly project in one of them, and otherwise all tests of a file."""
    for item in items:
        project = next((name for name in ("finished", "swept") if name in item.fixturenames), item.path.stem)
        item.add_marker(pytest.mark.xdist_group(project))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images. Tests that need it are skipped if it is missing."""
    folder = Path(os.environ.get("TESSERA_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set TESSERA_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small finished project, run on two cores. Tests must not change it."""
    folder = make_project(tmp_path_factory.mktemp("finished") / "project")
    snakemake(folder, "--cores", "2", "--max-threads", "2")
    return folder


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A small finished project of two variants in two folds. Tests must not change it."""
    folder = make_project(tmp_path_factory.mktemp("swept") / "project", table=SWEPT_TABLE, settings=SWEPT_SETTINGS)
    snakemake(folder, "--cores", "2", "--max-threads", "1")
    return folder
