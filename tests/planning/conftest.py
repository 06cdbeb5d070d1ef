"""Projects that several tests of planning share."""

import shutil

import pytest

from helpers.fake_results import fake_results
from helpers.small_project import make_project


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A project of two batches whose results look finished; tests must not change it."""
    return fake_results(make_project(tmp_path_factory.mktemp("made") / "project"))


@pytest.fixture
def project(made, tmp_path, monkeypatch):
    """A copy of that project, which is the working directory."""
    folder = shutil.copytree(made, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    return folder
