"""The package installs, and the files that other tools read are what those tools expect."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers.repository import REPOSITORY

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `pip install .` builds, from a copy of the files that git tracks."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", output]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next(output.glob("*.whl"))


def test_wheel_holds_every_module_and_template_of_the_package(wheel):
    package = REPOSITORY / "workflow" / "scripts" / "tessera"
    files = {
        str(path.relative_to(package.parent))
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pyo")
    }
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_installed_package_imports_without_the_repository(wheel, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "site", wheel]
    subprocess.run(command, check=True, capture_output=True)
    code = "import tessera, tessera.tracking.lineage, json; print(json.dumps(tessera.__file__))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == str(tmp_path / "site" / "tessera" / "__init__.py")


@pytest.mark.parametrize(
    ("schema", "file"),
    [("github-workflows", ".github/workflows/ci.yml"), ("citation-file-format", "CITATION.cff")],
)
def test_file_follows_the_schema_of_the_tool_that_reads_it(schema, file):
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", file]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_pre_commit_configuration_is_valid():
    command = [BIN / "pre-commit", "validate-config", ".pre-commit-config.yaml"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
