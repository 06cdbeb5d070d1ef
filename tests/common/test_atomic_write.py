"""Files and folders are in place whole or not at all, also when the job that writes them is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tessera.common.atomic_write import atomic_file, atomic_folder, write_json

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"


def write_half(path):
    with atomic_file(path) as partial:
        partial.write_text("{")
        raise OSError("the disk is full")


def test_unfinished_file_leaves_the_previous_file(tmp_path):
    path = tmp_path / "known.json"
    write_json(path, {"b": 1, "a": [None]})
    assert path.read_text() == '{\n "a": [\n  null\n ],\n "b": 1\n}'
    with pytest.raises(OSError, match="full"):
        write_half(path)
    assert json.loads(path.read_text()) == {"a": [None], "b": 1}
    write_json(path, "new")
    assert os.listdir(tmp_path) == ["known.json"]
    assert json.loads(path.read_text()) == "new"


def test_folder_of_a_killed_job_leaves_the_previous_folder_and_is_restarted(tmp_path):
    output = tmp_path / "deep" / "patches"
    with atomic_folder(output) as workplace:
        (workplace / "first").touch()
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from tessera.common.atomic_write import atomic_folder\n"
        "with atomic_folder(sys.argv[2]) as workplace:\n"
        "    (workplace / 'half').touch(); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(SCRIPTS), str(output)])
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(output) == ["first"]
    with atomic_folder(output) as workplace:
        assert list(workplace.iterdir()) == []
        (workplace / "second").touch()
    assert os.listdir(output) == ["second"]
    assert os.listdir(output.parent) == ["patches"]
