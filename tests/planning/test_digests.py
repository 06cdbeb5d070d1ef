"""Raw files count by what is in them, or by when they changed."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from helpers.repository import REPOSITORY
from tessera.planning import digests
from tessera.planning.digests import SMALL_FILE_BYTES, digest_path


def test_a_small_file_counts_by_its_content(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"pixels")
    before = digest_path(path)
    os.utime(path, (1, 1))
    digest_path.cache_clear()
    assert digest_path(path) == before
    path.write_bytes(b"pixelz")
    digest_path.cache_clear()
    assert digest_path(path) != before


def test_a_large_file_counts_by_size_and_time(tmp_path):
    path = tmp_path / "movie.tif"
    path.write_bytes(bytes(SMALL_FILE_BYTES + 1))
    before = digest_path(path)
    os.utime(path, (1, 1))
    digest_path.cache_clear()
    assert digest_path(path) != before


def test_a_folder_counts_by_its_files_wherever_it_lies(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mask1.png").write_bytes(b"1")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert digest_path(tmp_path / "a") == digest_path(tmp_path / "b")
    (tmp_path / "b" / "mask2.png").write_bytes(b"2")
    digest_path.cache_clear()
    assert digest_path(tmp_path / "a") != digest_path(tmp_path / "b")


def test_what_systems_leave_in_folders_does_not_count(tmp_path):
    (tmp_path / "1.tif").write_bytes(b"1")
    before = digest_path(tmp_path)
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / name).touch()
    digest_path.cache_clear()
    assert digest_path(tmp_path) == before


@pytest.mark.parametrize("most", [0, 10**8])
def test_a_changed_chunk_of_a_zarr_folder_counts_which_is_not_read_where_it_is_large(tmp_path, monkeypatch, most):
    monkeypatch.setattr(digests, "SMALL_STORE_BYTES", most)
    files = [tmp_path / name for name in (".zattrs", "0/.zarray", "0/0/0", "0/0/1")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1")
        os.utime(file, ns=(1, 1))
    digest_path.cache_clear()
    seen = [digest_path(tmp_path)]
    for file in (tmp_path / "0/0/1", tmp_path / "0/.zarray", tmp_path / ".zattrs"):
        file.write_bytes(b"2")
        digest_path.cache_clear()
        seen.append(digest_path(tmp_path))
    (tmp_path / "0/0/0").unlink()
    (tmp_path / "Thumbs.db").write_bytes(b"2")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/.zattrs").write_bytes(b"2")
    digest_path.cache_clear()
    assert len({*seen, digest_path(tmp_path)}) == 5
    for file in files:
        file.write_bytes(b"1")
    (tmp_path / "labels/.zattrs").write_bytes(b"3")
    digest_path.cache_clear()
    assert (digest_path(tmp_path) == seen[0]) == (most > 0), "small ones count by their content alone"


def test_a_large_file_is_the_same_where_its_time_is_kept_in_whole_seconds(tmp_path):
    for name, changed in (
        ("a", 1_700_000_000_987_654_321),
        ("b", 1_700_000_000_000_000_000),
        ("c", 1_700_000_001_000_000_000),
    ):
        (tmp_path / name).write_bytes(bytes(SMALL_FILE_BYTES + 1))
        os.utime(tmp_path / name, ns=(changed, changed))
    assert digest_path(tmp_path / "a") == digest_path(tmp_path / "b") != digest_path(tmp_path / "c")


SCRIPTS = REPOSITORY / "workflow" / "scripts"


@pytest.fixture
def planning(tmp_path):
    """A function that tells digests of files, and which it read, in a process of its own, as Snakemake is."""
    code = """
import json, os, sys
from tessera.planning import digests
from tessera.planning.digests import REMEMBERED_FILES, digest_path
opened = []
sys.addaudithook(lambda event, values: event == "open" and opened.append(str(values[0])))
memory, *files = sys.argv[1:]
REMEMBERED_FILES.connect(memory, keep=True)
os.chdir("/")
print(json.dumps([[digest_path(file) for file in files], [file for file in files if file in opened]]))
"""

    def plan(*files):
        command = [sys.executable, "-c", code, os.path.relpath(tmp_path / "memory.json", SCRIPTS), *map(str, files)]
        done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return plan


def test_small_files_are_read_once_until_they_change(planning, tmp_path):
    old, fresh = tmp_path / "old.tif", tmp_path / "fresh.tif"
    old.write_bytes(b"pixels")
    time.sleep(2.1)
    fresh.write_bytes(b"pixels")
    digests, read = planning(old, fresh)
    assert (digests[0] == digests[1], read) == (True, [str(old), str(fresh)])
    # What has just been written may still be written to.
    assert planning(old, fresh) == [digests, [str(fresh)]]
    times = old.stat()
    old.write_bytes(b"pixelz")
    os.utime(old, ns=(times.st_atime_ns, times.st_mtime_ns))
    again, read = planning(old)
    assert (again[0] != digests[0], read) == (True, [str(old)])


def test_what_was_remembered_is_read_again_where_the_memory_is_damaged(planning, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"pixels")
    os.utime(path, (1, 1))
    (tmp_path / "memory.json").write_text('{"cut o')
    assert planning(path)[1] == [str(path)]
