"""Exact reruns need Snakemake's rerun trigger mtime alone; a workflow that imports Tessera decides for itself."""

import pytest
import yaml

from helpers.small_project import make_project, snakemake

OUTER = """
configfile: "config/config.yaml"

module tessera:
    snakefile: "tessera/Snakefile"
    config: config

use rule * from tessera

rule outer:
    input: "results/report.html"
    default_target: True
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which nothing has run, with a profile that leaves the triggers at Snakemake's defaults."""
    folder = make_project(tmp_path_factory.mktemp("triggers") / "project")
    profile = folder / "other" / "config.yaml"
    profile.parent.mkdir()
    profile.write_text(yaml.safe_dump({"cores": 1}))
    return folder


@pytest.fixture(scope="module")
def outer(tmp_path_factory):
    """A workflow that imports Tessera as a module."""
    folder = tmp_path_factory.mktemp("outer") / "project"
    make_project(folder)
    (folder / "tessera").mkdir()
    for name in ("Snakefile", "workflow", "envs", "profiles"):
        (folder / name).rename(folder / "tessera" / name)
    (folder / "Snakefile").write_text(OUTER)
    return folder


def test_profile_with_other_triggers_is_refused_with_the_line_to_add(project):
    finished = snakemake(project, "--dry-run", "--workflow-profile", "other", check=False)
    assert finished.returncode != 0
    assert "    rerun-triggers: [mtime]" in finished.stdout
    assert "params" in finished.stdout


def test_trigger_may_be_given_on_the_command_line(project):
    output = snakemake(project, "--dry-run", "--workflow-profile", "other", "--rerun-triggers", "mtime").stdout
    assert "rerun-triggers: [mtime]" not in output


def test_workflow_that_imports_tessera_keeps_its_triggers_and_is_warned(outer):
    output = snakemake(outer, "--dry-run", "--cores", "1").stdout
    assert output.count("    rerun-triggers: [mtime]") == 1
    assert "Warning: Snakemake's rerun triggers are code, input, mtime, params, software-env" in output
    assert "segment" in output


def test_workflow_that_imports_tessera_plans_all_of_its_jobs(outer):
    output = snakemake(outer, "--dry-run", "--cores", "1", "--rerun-triggers", "mtime").stdout
    assert "Warning: Snakemake's rerun triggers" not in output
    for rule in ("ingest", "train", "predict", "report"):
        assert f"rule {rule}:" in output
