"""The job wrapper: its log, its provenance record, its errors, and jobs that a killed run left behind."""

import errno
import json
import logging
import sys
from types import SimpleNamespace

import pytest

from helpers.small_project import start_holder
from tessera.common.errors import InputError
from tessera.common.file_lock import FOLDER, hold_lock
from tessera.common.job import find_full_disk, running


class Params(dict):
    """Parameters as Snakemake gives them: by name and as attributes."""

    __getattr__ = dict.__getitem__


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def job(tmp_path):
    output = SimpleNamespace(provenance=tmp_path / "provenance.json")
    return SimpleNamespace(log=["logs/job.log"], params=Params(record={"hash": "abc"}), output=output)


def read_log(job):
    with open(job.log[0]) as log:
        return log.read()


def test_output_reaches_the_terminal_and_the_log(job, capsys):
    with running(job):
        print("halfway")
        print("careful", file=sys.stderr)
    assert read_log(job) == "halfway\ncareful\n"
    assert capsys.readouterr() == ("halfway\n", "careful\n")


def test_log_messages_of_tessera_reach_the_terminal_and_the_log(job, capsys):
    with running(job):
        logging.getLogger("tessera.evaluation").info("halfway")
        logging.getLogger("another_library").info("not shown")
    logging.getLogger("tessera.evaluation").info("after the job")
    assert read_log(job) == "halfway\n"
    assert capsys.readouterr().out == "halfway\n"


def test_log_messages_are_shown_once_if_a_library_added_a_handler_to_the_root_logger(job):
    handler = logging.StreamHandler(sys.stdout)
    with running(job):
        handler.setStream(sys.stdout)
        logging.getLogger().addHandler(handler)
        try:
            logging.getLogger("tessera.training").info("halfway")
        finally:
            logging.getLogger().removeHandler(handler)
    assert read_log(job) == "halfway\n"


def test_library_that_closes_its_output_leaves_that_of_the_job_open(job, capsys):
    with running(job):
        sys.stdout.close()
        print("still here")
    assert read_log(job) == "still here\n"
    assert capsys.readouterr().out == "still here\n"


def test_successful_job_writes_its_provenance(job):
    with running(job):
        pass
    assert json.loads(job.output.provenance.read_text()) == {"hash": "abc"}


def test_input_error_has_no_traceback_and_leaves_no_provenance(job):
    with pytest.raises(SystemExit) as ended, running(job):
        raise InputError("a.tif: is cut off; copy it again")
    assert ended.value.code == 1
    assert read_log(job) == "Error: a.tif: is cut off; copy it again\n"
    assert not job.output.provenance.exists()


def test_other_errors_keep_their_traceback_in_the_log(job):
    with pytest.raises(SystemExit), running(job):
        raise RuntimeError("a fault of ours")
    assert "Traceback" in read_log(job)
    assert "a fault of ours" in read_log(job)


def held_lock(folder, name, seconds):
    """A process that holds the lock `name` of `folder` for so long."""
    (folder / FOLDER).mkdir(parents=True)
    return start_holder(folder / FOLDER / f"{name}.lock", seconds)


def test_job_waits_for_the_same_job_of_a_killed_run(job, tmp_path, capsys):
    with held_lock(tmp_path, job.log[0].replace("/", "+"), 0.5) as left_behind, running(job):
        assert left_behind.wait() == 0
    assert "waiting until it ends" in capsys.readouterr().out


def test_lock_is_held_by_a_process_until_it_is_killed(tmp_path):
    with held_lock(tmp_path, "results", 60) as process:
        with pytest.raises(InputError, match="another run"):
            hold_lock("results", "another run is at work")
        process.kill()
    hold_lock("results", "another run is at work")


def test_full_disk_is_named_even_if_another_error_followed():
    full = OSError(errno.ENOSPC, "No space left on device", "results/a.zarr")
    other = ValueError("later")
    other.__context__ = full
    sentence = (
        "the disk of results/a.zarr is full (No space left on device); free space, and run the same command again"
    )
    assert find_full_disk(full) == find_full_disk(other) == sentence
    assert find_full_disk(OSError(errno.EIO, "broken", "a")) is None
    assert find_full_disk(ValueError()) is None
