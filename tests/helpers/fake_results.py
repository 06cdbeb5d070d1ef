"""Projects whose results look finished to the plan, without the hours or minutes that real jobs take."""

import contextlib
import json
from pathlib import Path

import yaml

from tessera.planning.digests import digest_path
from tessera.planning.project import load_project
from tessera.planning.rerun_planner import RerunPlanner

FILES = (".html", ".json", ".parquet", ".png", ".tif", ".tsv")


def planner_of(folder):
    """The rerun planner of the project in `folder`; use it with `folder` as the working directory."""
    path = Path(folder, "config", "config.yaml")
    digest_path.cache_clear()
    return RerunPlanner(load_project(yaml.safe_load(path.read_text()), [path]))


def fake_results(folder):
    """Write a record and an empty file or folder for every output of the project in `folder`."""
    with contextlib.chdir(folder):
        planner = planner_of(folder)
        for step in planner.steps.values():
            for key in step.keys(planner.project) if step.key else [None]:
                for path in map(Path, step.paths(key)):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if path.suffix in FILES:
                        path.touch()
                    else:
                        path.mkdir(exist_ok=True)
                record = Path(planner.record_path(step.name, key))
                record.write_text(json.dumps(planner.provenance.record(step.name, key)))
    return folder
