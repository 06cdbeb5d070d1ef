"""A full disk of temporary files is refused before Snakemake's scheduler fails on it."""

import pytest

from tessera.common.errors import InputError
from tessera.planning.temporary_folder import check_temporary_folder


def test_full_disk_of_temporary_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(InputError, match=f"{tmp_path}: the disk of temporary files is full; free space, or set TMPDIR"):
        check_temporary_folder(least_free_bytes=2**62)


def test_disk_with_space_is_accepted(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    check_temporary_folder(least_free_bytes=0)


def test_folder_that_does_not_exist_is_left_to_python(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    check_temporary_folder(least_free_bytes=2**62)
