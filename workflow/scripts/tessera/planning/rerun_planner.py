"""The rerun planner: which outputs are outdated, and which inputs make Snakemake run exactly the jobs that are needed.

All data are `ancient` inputs, so that a job that reruns does not rerun every job after it. Snakemake 9.27 then has two
gaps, related to https://github.com/snakemake/snakemake/issues/4166. It does not check whether a job must run if any job
before it runs, because it expects the job to follow. But if the job reads only `ancient` files, it does not follow.

So an outdated output gets plain inputs, `rerun_if`: a file that is newer than anything else, if its own provenance hash
changed, and the records of the nearest jobs before it that will run. Jobs farther up need not be named, because the
nearest ones wait for them in turn. An output that is up to date gets no plain input, and stays as it is.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tessera.planning.project import Project
from tessera.planning.provenance import Hashes, Output, Provenance
from tessera.planning.records import read_incomplete, read_record

PLURALS = {"batch": "batches"}
NEWER_THAN_ALL = Path(".snakemake/tessera/now")


class RerunPlanner:
    """Compares the records in `results/provenance` with what the results should be made from.

    Args:
        project: the settings and the table.
        known: see `tessera.planning.provenance.Provenance`.
        list_forced: returns the rules and files that the user forces with --forcerun.
    """

    def __init__(
        self,
        project: Project,
        known: Mapping[str, Any] | None = None,
        list_forced: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self.project = project
        self._list_forced = list_forced
        self._incomplete = cache(read_incomplete)
        self.provenance = Provenance(project, known)
        self.steps = self.provenance.steps
        self.is_outdated = cache(self._is_outdated)
        self.is_changed = cache(self._is_changed)
        self._nearest = cache(self._find_nearest)
        self._newer_than_all = cache(_write_time)

    def record_path(self, name: str, key: str | None = None) -> str:
        """Path of the file that says what an output was made from."""
        step = self.steps[name]
        return step.path(step.record, key)

    def has_record(self, name: str, key: str | None = None) -> bool:
        """Whether an output was made before."""
        return Path(self.record_path(name, key)).exists()

    def read_record(self, name: str, key: str | None = None) -> dict[str, Any] | None:
        """What an output was made from; None if nothing is known."""
        return read_record(self.record_path(name, key))

    def made_from(self, name: str, key: str | None = None) -> Hashes | None:
        """The hashes of what an output was made from; None if nothing is known."""
        record = self.read_record(name, key)
        return record["hash"] if record else None

    def rerun_if(self, name: str, key: str | None = None) -> list[str]:
        """Paths that an outdated output waits for besides the data it reads; none for one that is up to date."""
        if not self.is_outdated(name, key):
            return []
        records = sorted(self.record_path(*output) for output in self._nearest(name, key))
        return [*records, self._newer_than_all()] if self.is_changed(name, key) else records

    def all_outputs(self) -> Iterator[Output]:
        """All outputs of the project, in the order of the steps."""
        for name, step in self.steps.items():
            for key in step.keys(self.project) if step.key else [None]:
                yield name, key

    def list_outputs(self, outputs: Sequence[Output]) -> str:
        """Text such as `train fold1, segment (2 batches), report`."""
        parts = []
        named = {name for name, _ in outputs}
        for name in [name for name in self.steps if name in named]:
            keys = [key for step, key in outputs if step == name]
            kind = self.steps[name].key
            if kind is None:
                parts.append(name)
            else:
                parts.append(f"{name} {keys[0]}" if len(keys) == 1 else f"{name} ({count(len(keys), kind)})")
        return ", ".join(parts)

    def missing(self, name: str, key: str | None = None) -> list[str]:
        """The files and folders of an output that do not exist."""
        return [path for path in self.steps[name].paths(key) if not Path(path).exists()]

    def store_folders(self) -> list[str]:
        """The folders of all batches that are made image by image, and list what was skipped."""
        return [
            step.path(step.stores, batch)
            for step in self.steps.values()
            if step.stores
            for batch in step.keys(self.project)
        ]

    def unchanged_stores(self) -> list[tuple[str, Hashes, Hashes]]:
        """Batches that are made again, though some of their images need not be.

        Returns:
            [(folder, {image: hash of what it was made from}, {image: hash of what it is to be made from})].
        """
        batches = []
        # A value that this run estimates may turn out to be the same.
        hashes = Provenance(self.project, self.provenance.recorded_values()).hashes
        for step in self.steps.values():
            if step.stores and step.keeps_unchanged:
                for batch in step.keys(self.project):
                    made = self.made_from(step.name, batch)
                    if made and self.is_outdated(step.name, batch):
                        folder = step.path(step.stores, batch)
                        batches.append((folder, made, hashes(step.name, batch)))
        return batches

    def _is_outdated(self, name: str, key: str | None = None) -> bool:
        return bool(self.missing(name, key)) or self.is_changed(name, key) or self._runs_anyway(name, key)

    def _runs_anyway(self, name: str, key: str | None) -> bool:
        """Whether Snakemake runs the job of an output though its record may be right: interrupted and forced jobs."""
        forced = self._list_forced()
        paths = self.steps[name].paths(key) if forced or self._incomplete() else []
        return name in forced or any(path in forced or path in self._incomplete() for path in paths)

    def _is_changed(self, name: str, key: str | None = None) -> bool:
        """Whether the record of an output shows another hash, or is damaged."""
        if not self.has_record(name, key):
            return False
        return self.made_from(name, key) != self.provenance.hashes(name, key)

    def _find_nearest(self, name: str, key: str | None) -> frozenset[Output]:
        """The nearest outputs before this one that will be made for themselves."""
        nearest: set[Output] = set()
        for output in self.provenance.upstream(name, key):
            nearest |= {output} if self._runs(*output) else self._nearest(*output)
        return frozenset(nearest)

    def _runs(self, name: str, key: str | None) -> bool:
        """Whether an output is made for itself. An intermediate one that was deleted is made when a job reads it."""
        if self.is_changed(name, key) or self._runs_anyway(name, key):
            return True
        return self.steps[name].is_deliverable and self.is_outdated(name, key)


class JobPlanners:
    """Planners that say what a job that starts now makes its results from.

    Snakemake evaluates the params of a job when the jobs before it are done. By then this run may have estimated values
    that were unknown when it was planned.

    Args:
        planner: the planner of the run.
    """

    def __init__(self, planner: RerunPlanner) -> None:
        self._planner = planner
        self._time_of_plan = self._time_of_values()
        self._planner_since = cache(self._plan_again)

    def current(self) -> RerunPlanner:
        """Return a planner that knows the values that exist now."""
        time_of_values = self._time_of_values()
        return self._planner if time_of_values == self._time_of_plan else self._planner_since(time_of_values)

    def _time_of_values(self) -> tuple[int | None, ...]:
        """When the values that other jobs depend on were estimated; None if they are not there."""
        paths = [self._planner.record_path(name) for name, step in self._planner.steps.items() if step.values]
        return tuple(os.stat(path).st_mtime_ns if os.path.exists(path) else None for path in paths)

    def _plan_again(self, time_of_values: tuple[int | None, ...]) -> RerunPlanner:
        """Return a planner that knows the values that were estimated at this time."""
        return RerunPlanner(self._planner.project, self._planner.provenance.known_values())


def count(number: int, noun: str) -> str:
    """`1 batch`, `2 batches`, `2 images with ground truth`."""
    word, space, rest = noun.partition(" with ")
    if number != 1:
        word = PLURALS.get(word, f"{word}s")
    return f"{number:,} {word}{space}{rest}"


def _write_time() -> str:
    NEWER_THAN_ALL.parent.mkdir(parents=True, exist_ok=True)
    NEWER_THAN_ALL.write_text(str(time.time_ns()))
    return str(NEWER_THAN_ALL)
