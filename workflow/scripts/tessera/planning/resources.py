"""Memory and run time that jobs request: they grow with the raw files of a batch, and with each attempt."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from tessera.planning.input_functions import with_signature
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

        @with_signature
        def memory_mb(wildcards: Any, attempt: int) -> int:
            return int(attempt * min(base + per_mb * self.raw_mb(wildcards.batch)[0], most))

        return memory_mb

    def minutes(self, base: int, per_mb: float) -> Resource:
        """Run time that grows with all raw files of the batch, and with each attempt, up to a day.

        A cluster may never start a job that requests more time than it allows. A job that is stopped because its time
        is over continues at the next attempt.
        """

        @with_signature
        def minutes(wildcards: Any, attempt: int) -> int:
            return min(int(attempt * (base + per_mb * self.raw_mb(wildcards.batch)[1])), LONGEST_MINUTES)

        return minutes

    def training_minutes(self, model: str) -> int:
        """Run time to request for the training of a model."""
        settings = self._project.models[model]["train"]
        return 60 + int(1.2 * (settings["max_minutes"] or 150))

    def _measure_raw_files(self, batch: str) -> tuple[float, float]:
        """Megabytes of the largest raw file of a batch, and of all of them."""
        sizes: list[float] = []
        for image in self._project.batches[batch]:
            for path in self._project.rows[image]["files"]:
                if path in self._project.simulated:
                    sizes.append(SIMULATED_MB)
                elif os.path.isfile(path):
                    sizes.append(os.path.getsize(path) / 1e6)
                else:
                    sizes += [file.stat().st_size / 1e6 for file in Path(path).rglob("*") if file.is_file()]
        return max(sizes, default=0.0), sum(sizes)
