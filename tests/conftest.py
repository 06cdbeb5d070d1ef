"""What all tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("TESSERA_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; TESSERA_DATA names their folder")
    return folder
