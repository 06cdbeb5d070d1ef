"""Which outputs are outdated, and what makes Snakemake run exactly their jobs."""

import json
import os
import random
import re
import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
import yaml

from helpers.dry_run import dry_run
from helpers.fake_results import planner_of
from helpers.small_project import make_project, planned
from tessera.planning.steps import STEPS, Step


def change_hash(folder, step, key):
    """Change the hash in the record of an output, as if a setting of that step had changed."""
    path = Path(folder, planner_of(folder).record_path(step, key))
    record = json.loads(path.read_text())
    record["hash"] = dict.fromkeys(record["hash"], "other") if isinstance(record["hash"], dict) else "other"
    path.write_text(json.dumps(record))


def downstream(planner, changed):
    """The outputs that are made from those that changed, and these."""
    outputs = [(name, key) for name, step in planner.steps.items() for key in step.keys(planner.project) or [None]]
    reached = set(changed)
    for _ in planner.steps:
        reached |= {output for output in outputs if set(planner.provenance.upstream(*output)) & reached}
    return reached


def test_outputs_that_are_up_to_date_wait_for_nothing(project):
    planner = planner_of(project)
    for name, step in planner.steps.items():
        for key in step.keys(planner.project) or [None]:
            assert planner.rerun_if(name, key) == []
    assert planned(project) == {}


@pytest.mark.parametrize("seed", range(3))
def test_jobs_that_run_are_those_of_changed_and_deleted_outputs(project, seed):
    """Whatever changes together: what changed runs, deleted deliverables run, deleted intermediates run if read."""
    draw = random.Random(seed)
    planner = planner_of(project)
    outputs = [(name, key) for name, step in planner.steps.items() for key in step.keys(planner.project) or [None]]
    outputs = [output for output in outputs if output[0] != "simulate"]
    changed = downstream(planner, draw.sample(outputs, 1))
    for output in changed:
        change_hash(project, *output)
    deleted = [output for output in draw.sample(outputs, 3) if output not in changed]
    for name, key in deleted:
        for path in map(Path, planner.steps[name].outputs):
            path = Path(planner.steps[name].path(str(path), key))
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    output = dry_run(project)
    read_by = {
        (output_paths.split(", ")[-1]): set(inputs.split(", "))
        for inputs, output_paths in re.findall(r"^    input: (.*)\n    output: (.*)$", output, re.M)
    }
    runs = changed | {output for output in deleted if planner.steps[output[0]].is_deliverable}
    for _ in planner.steps:  # a deleted intermediate is made again for a job that reads it
        read = set().union(*(read_by.get(planner.record_path(*job), set()) for job in runs))
        runs |= {output for output in deleted if read & set(planner.steps[output[0]].paths(output[1])[:-1])}
    expected = {}
    for name, _ in runs:
        expected[name] = expected.get(name, 0) + 1
    assert planned(project) == expected


def test_first_run_names_the_nearest_jobs_alone(tmp_path, monkeypatch):
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    planner = planner_of(folder)
    assert planner.rerun_if("predict", "one") == []
    assert planner.rerun_if("report") == sorted(
        planner.record_path(name, batch) for name in ("evaluate",) for batch in ("one", "two")
    )


def test_changed_output_waits_for_the_nearest_jobs_that_run(project):
    for output in (("ingest", "two"), ("predict", "one"), ("segment", "one")):
        change_hash(project, *output)
    planner = planner_of(project)
    *records, newer = planner.rerun_if("predict", "one")
    # Ingest of batch two comes before the network; nothing between the two runs.
    assert records == ["results/provenance/ingest/two.json"]
    assert not newer.startswith("results/")
    assert planner.rerun_if("segment", "one")[:-1] == ["results/provenance/predict/one.json"]


def producers(planner, text):
    """{rule: rules whose outputs it reads} of a dry run that runs everything."""
    made = {
        planner.steps[name].path(pattern, key): name
        for name in planner.steps
        for key in planner.steps[name].keys(planner.project) or [None]
        for pattern in planner.steps[name].outputs
    }
    rules = {}
    for rule, inputs in re.findall(r"^(?:local)?rule (\w+):\n    input: (.*)$", text, re.M):
        rules.setdefault(rule, set()).update(made[path] for path in inputs.split(", ") if path in made)
    return rules


@pytest.mark.parametrize("kind", ["trained", "pretrained", "masks", "semantic", "simulated"])
def test_declared_upstream_steps_are_those_that_rules_read(tmp_path, monkeypatch, kind):
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    settings = yaml.safe_load(Path("config/config.yaml").read_text())
    if kind == "masks":
        Path("config/images.tsv").write_text(
            "image\tpath\tmasks\ttruth\na\t../raw/val.ome.tif\t../raw/val_truth\t../raw/val_truth\n"
        )
    if kind == "pretrained":
        settings["train"] = {"encoder_weights": "imagenet"}
    if kind == "semantic":
        settings |= {"task": "semantic", "classes": ["background", "cell"]}
    if kind == "simulated":
        settings |= {"simulate": {"movies": {"a": {"seed": 1}}}}
        table = Path("config/images.tsv")
        row = "sim\t../resources/demo/a.ome.tif\t../resources/demo/a_truth\ttest\tone\n"
        table.write_text(table.read_text() + row)
    Path("config/config.yaml").write_text(yaml.safe_dump(settings))
    planner = planner_of(folder)
    read = producers(planner, dry_run(folder, "--forceall"))
    for name, step in planner.steps.items():
        if name == "simulate" and kind != "simulated":
            continue
        declared = {other for other in step.upstream if other in planner.steps}
        if kind != "simulated":
            declared -= {"simulate"}
        before, waiting = set(), list(declared)
        while waiting:
            before.add(each := waiting.pop())
            waiting += [other for other in STEPS[each].upstream if other in planner.steps]
        assert read.get(name, set()) - before == set(), f"{name} reads what its step does not declare"
        if name not in ("report", "ingest_truth"):
            assert declared - read.get(name, set()) == set(), f"{name} does not read what its step declares"


@pytest.mark.parametrize("cause", ["interrupted", "forced"])
def test_job_that_runs_anyway_does_not_hide_missing_results_after_it(project, cause):
    """Snakemake does not check the jobs after a job that runs, if they read only `ancient` files."""
    options = []
    if cause == "interrupted":
        marker = Path(".snakemake", "incomplete", urlsafe_b64encode(b"results/images/one").decode())
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}")
    else:
        options = ["--forcerun", "ingest"]
    shutil.rmtree("results/labels/one")
    jobs = planned(project, *options)
    assert jobs["segment"] == 1
    assert jobs["ingest"] == (1 if cause == "interrupted" else 2)


def test_declared_outputs_are_those_of_the_rules():
    for name, step in STEPS.items():
        text = Path(__file__, "..", "..", "..", "workflow", "rules", f"{name}.smk").resolve().read_text()
        block = text.split("    output:\n")[1].split("    log:\n")[0]
        assert sorted(re.findall(r'"((?:results|resources)/[^"]+)"', block)) == sorted([*step.outputs, step.record])


def test_step_for_the_whole_project_has_one_path():
    step = Step("report", ("results/report.html",))
    assert step.paths(None) == ["results/report.html", "results/provenance/report.json"]


def test_damaged_record_makes_its_output_outdated(project):
    Path("results/provenance/select_model.json").write_text('{"hash": ')
    assert planner_of(project).is_changed("select_model")
    os.remove("results/provenance/select_model.json")
    planner = planner_of(project)
    assert planner.is_outdated("select_model")
    assert not planner.is_changed("select_model")
