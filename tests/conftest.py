"""Fixtures that tests of several folders share."""

import fcntl
import os
from pathlib import Path

import pytest

from helpers.repository import REPOSITORY
from helpers.small_project import SWEPT_SETTINGS, SWEPT_TABLE, make_project, snakemake


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """With two processes, run all tests of a file in one of them, and start with the workflows, which take longest."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


def make_once(tmp_path_factory, name, make):
    """Return the folder `name` that all processes of a session share. The first one calls `make` with its path."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / name
    with (root / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = root / f"{name}-{os.getpid()}"
            make(part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images. Tests that need it are skipped if it is missing."""
    folder = Path(os.environ.get("TESSERA_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set TESSERA_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small finished project, run on two cores. Tests must not change it, nor run Snakemake in it."""

    def make(folder):
        snakemake(make_project(folder), "--cores", "2", "--max-threads", "2")

    return make_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A small finished project of two variants in two folds. Tests must not change it, nor run Snakemake in it."""

    def make(folder):
        make_project(folder, table=SWEPT_TABLE, settings=SWEPT_SETTINGS)
        snakemake(folder, "--cores", "2", "--max-threads", "1")

    return make_once(tmp_path_factory, "swept", make)
