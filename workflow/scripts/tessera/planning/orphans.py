"""Orphans: results that belong to no batch, fold or model any more. Only the user removes them."""

import re
from collections.abc import Iterable
from pathlib import Path

from tessera.planning.project import Project
from tessera.planning.steps import STEPS

SUFFIXES = re.compile(r"(\.(part|regions|parquet|tsv|png|json))+$")


def list_orphans(results: Path, project: Project) -> list[str]:
    """Sentences that name what a user may delete.

    Where nothing is trained, because a model or masks are given, patches and models of other settings are no orphans.

    Args:
        results: the folder `results`.
        project: the settings and the table.
    """
    orphans: dict[tuple[str, str], set[Path]] = {}
    for step in STEPS.values():
        is_training = step.key in ("fold", "model")
        if step.key in (None, "movie", "backbone") or (is_training and not project.folds):
            continue
        kind = "truth" if step.raw_files == "truth_files" else {"batch": "batches"}.get(str(step.key), f"{step.key}s")
        owner = "settings" if is_training else "table"
        paths = orphans.setdefault((kind, owner), set())
        for pattern in (*step.outputs, step.record):
            folder = results.parent / Path(pattern).parent
            paths |= _find_others(folder, step.keys(project))
    return [
        f"Left over from {kind} no longer in the {owner}; delete if not needed: {' '.join(sorted(map(str, paths)))}"
        for (kind, owner), paths in orphans.items()
        if paths
    ]


def _find_others(folder: Path, names: Iterable[str]) -> set[Path]:
    """Files and folders in a folder that belong to none of the batches, folds or models in `names`."""
    expected = set(names)
    return {path for path in folder.glob("*") if not {path.name, _name_of(path)} & expected}


def _name_of(path: Path) -> str:
    """The batch, fold or model that a file or folder belongs to: hidden ones are remains of a stopped job."""
    return SUFFIXES.sub("", path.name).removeprefix(".")
