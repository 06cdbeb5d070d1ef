"""Small projects to run in tests: a copy of the workflow, a few tiny movies with ground truth, quick settings."""

import compileall
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from helpers.dry_run import FOREIGN, dry_run, run_forked
from helpers.repository import REPOSITORY
from simulate import simulate
from tessera.settings.sections import MovieSettings

SETTINGS = {
    "images": "config/images.tsv",
    "augment": {"patch_size_px": 64, "n_patches": 48},
    # A small network, which learns to find most cells in a few seconds on the CPU.
    "train": {
        "architecture": "PlainUnet", "backbone": None, "width": 8, "depth": 2, "epochs": 6, "batch_size": 4,
        "learning_rate": 0.01, "device": "cpu", "log_images_every": 0,
    },
    # Without `auto`, images do not depend on each other.
    "predict": {"tile_px": 128, "halo_px": 32, "object_diameter_px": None},
}  # fmt: skip

TABLE = """\
image\tpath\ttruth\tsplit\tbatch
train\t../raw/train.ome.tif\t../raw/train_truth\ttrain\tone
plain\t../raw/plain.ome.tif\t\t\tone
val\t../raw/val.ome.tif\t../raw/val_truth\tval\ttwo
test\t../raw/test.ome.tif\t../raw/test_truth\ttest\ttwo
"""

# Two variants in two folds of three groups. The networks learn next to nothing.
SWEPT_SETTINGS = SETTINGS | {
    "split": {"folds": 2},
    "augment": {"patch_size_px": 64, "n_patches": 16, "transforms": [{"name": "D4"}]},
    "train": SETTINGS["train"] | {"width": 4, "depth": 2, "epochs": 2},
    "sweep": {"learning_rate": [0.01, 0.03]},
    "explain": {"n_examples": 0},
}  # fmt: skip

SWEPT_TABLE = """\
image\tpath\ttruth\tsplit\tbatch
train\t../raw/train.ome.tif\t../raw/train_truth\t\tone
plain\t../raw/plain.ome.tif\t\t\tone
val\t../raw/val.ome.tif\t../raw/val_truth\t\tone
spare\t../raw/spare.ome.tif\t../raw/spare_truth\t\tone
test\t../raw/test.ome.tif\t../raw/test_truth\ttest\tone
"""


def make_project(folder: Path, *, table: str = TABLE, settings: dict[str, Any] = SETTINGS) -> Path:
    """Make a folder with the workflow, five raw movies of two frames, a table and settings."""
    # With their bytecode, the jobs of all copies of the project start faster.
    compileall.compile_dir(REPOSITORY / "workflow" / "scripts", quiet=1)
    shutil.copytree(REPOSITORY / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copytree(REPOSITORY / "profiles", folder / "profiles")
    shutil.copytree(REPOSITORY / "envs", folder / "envs")
    shutil.copy2(REPOSITORY / "Snakefile", folder)
    for seed, movie in enumerate(("train", "plain", "val", "test", "spare")):
        (folder / "raw").mkdir(exist_ok=True)
        path, truth = folder / "raw" / f"{movie}.ome.tif", folder / "raw" / f"{movie}_truth"
        simulate(path, truth, MovieSettings(seed=seed, frames=2, size_px=96, cells=6))
    (folder / "config").mkdir()
    (folder / "config" / "images.tsv").write_text(table)
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def set_settings(folder: Path, **settings: Any) -> None:
    """Replace whole sections of the settings of the project in `folder`."""
    path = folder / "config" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))


def snakemake(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `folder`, and return the finished process. `stdout` has all of its output.

    Runs without jobs, with the option --dry-run or --touch, start faster than others.

    Raises:
        AssertionError: it failed and `check` is True. The message is its output.
    """
    if {"-n", "--dry-run", "--touch"} & set(arguments):
        done = run_forked(folder, *arguments)
        assert not check or done.returncode == 0, done.stdout
        return done
    environment = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("snakemake")), *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert not check or done.returncode == 0, done.stdout
    return done


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """{rule: number of jobs} that Snakemake would run in `folder`, without rule `all`."""
    output = dry_run(folder, *arguments)
    if "Nothing to be done" in output:
        return {}
    table = re.search(r"^job +count\n-+ +-+\n(.*?)^total ", output, re.M | re.S)
    assert table, output
    jobs = {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}
    jobs.pop("all", None)
    return jobs


def start_holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a process that locks the file `path` and keeps the lock for `seconds`."""
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(1, flush=True)"
    command = [sys.executable, "-c", f"{code}; time.sleep({seconds})", path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    return process
