"""Accepting results: `snakemake --touch` marks existing results as up to date with the present code and settings.

An accepted result gets a new record, so that it does not rerun. The record keeps, under `accepted`, the record of what
the result was really made from.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tessera.common.atomic_write import write_json
from tessera.planning.provenance import Output
from tessera.planning.rerun_planner import RerunPlanner
from tessera.planning.rerun_reasons import Cause, find_causes, render_causes, shorten

IMAGE_STORES = ("{}.ome.zarr", "{}")


def accept_results(planner: RerunPlanner, jobs: Iterable[Output], today: date) -> list[str]:
    """Mark the outputs of jobs as up to date, where they exist.

    A result is not accepted if it does not exist, if images joined or left its batch, or if a result that it is made
    from is not accepted.

    Args:
        planner: compares the records with what results should be made from.
        jobs: (step, key) of the jobs that would run.
        today: the date that the records keep.

    Returns:
        Lines that say what was accepted although it differs, and what was not accepted.
    """
    order = {name: position for position, name in enumerate(planner.steps)}
    accepted: dict[Output, list[Cause]] = {}
    refused: dict[Output, str] = {}
    for job in sorted(jobs, key=lambda job: (order[job[0]], str(job[1]))):
        problem = _find_problem(planner, job, refused)
        if problem:
            refused[job] = problem
        elif planner.is_changed(*job) or not planner.has_record(*job):
            accepted[job] = find_causes(planner, *job)
    for job, causes in accepted.items():
        _write_record(planner, job, causes, today)
    return _describe(planner, accepted, refused)


def list_accepted(planner: RerunPlanner) -> list[dict[str, str]]:
    """The accepted results of a project, for the report.

    Returns:
        Dicts with `results`, such as "segment (2 batches)", `date`, and `differences`, which is empty if a result
        differs only in what it was made from.
    """
    groups: dict[tuple[str, str, str], list[Output]] = {}
    for name, step in planner.steps.items():
        for key in step.keys(planner.project) if step.key else [None]:
            record = planner.read_record(name, key) or {}
            if accepted := record.get("accepted"):
                differences = "; ".join(accepted["differences"])
                groups.setdefault((name, accepted["date"], differences), []).append((name, key))
    return [
        {"results": planner.list_outputs(outputs), "date": day, "differences": differences}
        for (_, day, differences), outputs in groups.items()
    ]


def _find_problem(planner: RerunPlanner, job: Output, refused: Mapping[Output, str]) -> str:
    """Why a result cannot be accepted; empty if it can."""
    name, key = job
    step = planner.steps[name]
    before = [output for output in planner.provenance.upstream(name, key) if output in refused]
    if before:
        return f"made from results of {before[0][0]} that are not accepted"
    hashes, made = planner.provenance.hashes(name, key), planner.made_from(name, key)
    if isinstance(hashes, dict) and isinstance(made, dict) and hashes.keys() != made.keys():
        return f"images were added or removed: {shorten(sorted(hashes.keys() ^ made.keys()))}"
    missing = [path for path in planner.missing(name, key) if path != planner.record_path(name, key)]
    # An intermediate result that was deleted to free space is made again when a job reads it.
    if missing and (step.is_deliverable or made is None):
        return f"missing: {shorten(missing)}"
    if made is None and step.stores and isinstance(hashes, dict):
        folder = Path(step.path(step.stores, key))
        absent = [image for image in hashes if not any((folder / form.format(image)).exists() for form in IMAGE_STORES)]
        return f"missing in {folder}: {shorten(absent)}" if absent else ""
    return ""


def _write_record(planner: RerunPlanner, job: Output, causes: Sequence[Cause], today: date) -> None:
    path = Path(planner.record_path(*job))
    original: dict[str, Any] | None = planner.read_record(*job)
    differences = [cause.render() for cause in causes]
    if original and "accepted" in original:  # accepted before: keep the record of what really made it
        differences = [*original["accepted"]["differences"], *differences]
        original = original["accepted"]["made_from"]
    accepted = {"date": today.isoformat(), "differences": list(dict.fromkeys(differences)), "made_from": original}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, json.loads(json.dumps(planner.provenance.record(*job), default=str)) | {"accepted": accepted})


def _describe(
    planner: RerunPlanner, accepted: Mapping[Output, Sequence[Cause]], refused: Mapping[Output, str]
) -> list[str]:
    code = {job: [cause for cause in causes if cause.is_code] for job, causes in accepted.items()}
    other = {job: [cause for cause in causes if not cause.is_code] for job, causes in accepted.items()}
    lines = [f"Accepted, though made with other code: {line}" for line in render_causes(planner, code)]
    lines += [f"Warning: accepted, though settings or inputs differ: {line}" for line in render_causes(planner, other)]
    lines += [
        f"Not accepted: {line}"
        for line in render_causes(planner, {job: [Cause(problem)] for job, problem in refused.items()})
    ]
    if accepted:
        lines.append(f"Up to date now: {planner.list_outputs(list(accepted))}")
    return lines
