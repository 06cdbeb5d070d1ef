"""Memory and run time that jobs request: they grow with the raw files of a batch, and with each attempt."""

import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from tessera.planning.project import Project

LONGEST_MINUTES = 1440
SIMULATED_MB = 50.0
Resource: TypeAlias = Callable[[Any, int], int]  # of the wildcards and the attempt


class JobResources:
    """Functions that Snakemake calls for the resources of the job of a batch.

    Args:
        project: the settings and the table.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.raw_mb = cache(self._measure_raw_files)

    def memory_mb(self, base: int, per_mb: float, most: int = 16_000) -> Resource:
        """Memory that grows with the largest raw file of the batch up to `most`, and with each attempt."""

        def memory_mb(wildcards: Any, attempt: int) -> int:
            return int(attempt * min(base + per_mb * self.raw_mb(wildcards.batch)[0], most))

        return memory_mb

    def minutes(self, base: int, per_mb: float) -> Resource:
        """Run time that grows with all raw files of the batch, and with each attempt, up to a day.

        A cluster may never start a job that requests more time than it allows. A job that is stopped because its time
        is over continues at the next attempt.
        """

        def minutes(wildcards: Any, attempt: int) -> int:
            return min(int(attempt * (base + per_mb * self.raw_mb(wildcards.batch)[1])), LONGEST_MINUTES)

        return minutes

    def training_minutes(self, model: str) -> int:
        """Run time to request for the training of a model."""
        settings = self._project.models[model]["train"]
        return 60 + int(1.2 * (settings["max_minutes"] or 150))

    def _measure_raw_files(self, batch: str) -> tuple[float, float]:
        """Megabytes of the largest raw file of a batch, and of all of them."""
        simulated = self._project.simulated
        paths = [path for image in self._project.batches[batch] for path in self._project.rows[image]["files"]]
        files = [file for path in paths for file in (path, *path.rglob("*"))]
        sizes = [
            SIMULATED_MB if file in simulated else os.path.getsize(file) / 1e6
            for file in files
            if file in simulated or file.is_file()
        ]
        return max(sizes, default=0.0), sum(sizes)
