"""A plan keeps what it remembers in the folder of the project, if that folder can be written."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from helpers.repository import REPOSITORY
from helpers.small_project import snakemake
from tessera.planning.disk_memory import DiskMemory

REMEMBER = """
import os, sys
from tessera.planning.disk_memory import DiskMemory
memory = DiskMemory()
memory.connect(sys.argv[1], keep=True)
memory["a"] = 1
os.chdir("/")
"""


def remember(path, cwd):
    command = [sys.executable, "-c", REMEMBER, str(path)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow" / "scripts")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True)


def files_without_bytecode(folder):
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


def test_memory_is_written_to_the_folder_in_which_it_was_connected(tmp_path):
    remember("inside/memory.json", tmp_path)
    assert json.loads((tmp_path / "inside" / "memory.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("content", [None, '{"cut o'])
def test_missing_or_damaged_memory_counts_as_empty(tmp_path, content):
    if content:
        (tmp_path / "memory.json").write_text(content)
    memory = DiskMemory()
    memory.connect(tmp_path / "memory.json", keep=False)
    assert memory == {}


def test_memory_that_cannot_be_written_is_left_out_without_a_traceback(tmp_path):
    (tmp_path / "file").touch()  # no folder can be made here, as on a file system without write access
    assert remember("file/memory.json", tmp_path).stderr == ""


def test_plan_of_another_folder_writes_nothing_to_the_clone(made, tmp_path):
    project = shutil.copytree(made, tmp_path / "project", symlinks=True)
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("workflow", "profiles", "envs"):
        (project / name).rename(clone / name)
    (project / "Snakefile").rename(clone / "Snakefile")
    before = files_without_bytecode(clone)
    # In a process of its own, since the memory is written when the process ends.
    snakemake(clone, "-n", "--configfile", str(project / "config" / "config.yaml"), "--directory", str(project))
    assert files_without_bytecode(clone) == before
    assert json.loads((project / ".snakemake" / "tessera" / "code.json").read_text())
