"""Accepting results: `snakemake --touch` marks existing results as up to date with the present code and settings.

An accepted result gets a new record, so that it does not rerun. The record keeps, under `accepted`, the record of what
the result was really made from. If a batch is made again later, its unchanged images stay, and so does their
acceptance; then `accepted` has `images`, {image: provenance hash}.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from tessera.common.atomic_write import write_json
from tessera.planning.provenance import Hashes, Output
from tessera.planning.rerun_planner import RerunPlanner
from tessera.planning.rerun_reasons import Cause, find_causes, render_causes, shorten

IMAGE_STORES = ("{}.ome.zarr", "{}")
KEPT = Path(".snakemake/tessera/accepted.json")


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
    groups: dict[tuple[str, str, str, str], list[Output]] = {}
    for name, key in planner.all_outputs():
        record = planner.read_record(name, key) or {}
        if accepted := record.get("accepted"):
            images = shorten(sorted(accepted.get("images", {})))
            group = (name, images, accepted["date"], "; ".join(accepted["differences"]))
            groups.setdefault(group, []).append((name, key))
    return [
        {
            "results": planner.list_outputs(outputs) + (f": {images}" if images else ""),
            "date": day,
            "differences": differences,
        }
        for (_, images, day, differences), outputs in groups.items()
    ]


def remember_acceptance(planner: RerunPlanner) -> None:
    """Keep the acceptance of images that stay as they are when their batch is made again.

    Snakemake removes the record of a batch before it runs the job, so the acceptance waits in the file KEPT.

    Args:
        planner: compares the records with what results should be made from.
    """
    # A job that was interrupted has no record yet.
    kept = {path: accepted for path, accepted in _read_kept().items() if not Path(path).exists()}
    for name, key in planner.all_outputs():
        step = planner.steps[name]
        record = planner.read_record(name, key)
        if record and "accepted" in record and step.stores and step.keeps_unchanged and planner.is_outdated(name, key):
            folder = Path(step.path(step.stores, key))
            accepted = record["accepted"]
            unchanged = _common(accepted.get("images", record["hash"]), planner.provenance.hashes(name, key))
            images = {image: image_hash for image, image_hash in unchanged.items() if _has_store(folder, image)}
            if images:
                kept[planner.record_path(name, key)] = accepted | {"images": images}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    write_json(KEPT, kept)
    _read_kept.cache_clear()


def forget_acceptance() -> None:
    """Keep no acceptance, because all images of the batches that run are made again."""
    KEPT.unlink(missing_ok=True)
    _read_kept.cache_clear()


def record_with_acceptance(planner: RerunPlanner, name: str, key: str | None = None) -> dict[str, Any]:
    """The record of a result, with the acceptance of images that stay as they are (see `remember_acceptance`)."""
    record = planner.provenance.record(name, key)
    accepted = _read_kept().get(planner.record_path(name, key))
    if not accepted:
        return record
    images = _common(accepted["images"], record["hash"])
    return record | ({"accepted": accepted | {"images": images}} if images else {})


@cache
def _read_kept() -> dict[str, dict[str, Any]]:
    """{path of a record: its `accepted`}; {} if nothing is kept."""
    try:
        kept: dict[str, dict[str, Any]] = json.loads(KEPT.read_text())
    except (OSError, ValueError):
        return {}
    return kept


def _common(before: Hashes, after: Hashes) -> dict[str, str]:
    """{image: hash} of the images whose hash is the same."""
    if isinstance(before, str) or isinstance(after, str):
        return {}
    return {image: image_hash for image, image_hash in before.items() if after.get(image) == image_hash}


def _has_store(folder: Path, image: str) -> bool:
    return any((folder / form.format(image)).exists() for form in IMAGE_STORES)


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
        absent = [image for image in hashes if not _has_store(folder, image)]
        return f"missing in {folder}: {shorten(absent)}" if absent else ""
    return ""


def _write_record(planner: RerunPlanner, job: Output, causes: Sequence[Cause], today: date) -> None:
    path = Path(planner.record_path(*job))
    original: dict[str, Any] | None = planner.read_record(*job)
    differences = [cause.render() for cause in causes]
    if original and "accepted" in original:  # accepted before: keep the record of what really made it
        differences = [*original["accepted"]["differences"], *differences]
        if "images" not in original["accepted"]:  # else only some images were accepted before
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
