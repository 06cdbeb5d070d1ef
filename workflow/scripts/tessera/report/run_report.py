"""The run in the report: run times, versions, provenance hashes and settings."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

PACKAGES = ("python", "tensorflow", "segmentation-models", "albumentations", "zarr", "dask", "numpy", "scikit-image")


class RuleTimes(NamedTuple):
    """Resources that the jobs of a rule used.

    Attributes:
        rule: name of the rule.
        jobs: number of its jobs.
        seconds: their total run time.
        longest: the longest run time, in seconds.
        memory_mb: the largest resident memory, or NaN.
    """

    rule: str
    jobs: int
    seconds: float
    longest: float
    memory_mb: float


@dataclass(frozen=True)
class RunSection:
    """How the results were made.

    Attributes:
        times: resources of each rule, the slowest first; empty without benchmarks.
        versions: {package: version} of the packages installed where the report was made.
        packages: all packages to list, also those only a model was trained with.
        hashes: [(what, its provenance hash)].
        settings: the whole configuration as YAML.
    """

    times: list[RuleTimes]
    versions: dict[str, str]
    packages: list[str]
    hashes: list[tuple[str, str]]
    settings: str


def summarize_run(
    benchmarks: Path,
    model_versions: Iterable[Mapping[str, str]],
    hashes: list[tuple[str, str]],
    config: Mapping[str, Any],
) -> RunSection:
    """How the results were made.

    Args:
        benchmarks: folder of Snakemake's benchmarks; it may be missing.
        model_versions: {package: version} of each model's training.
        hashes: [(what, its provenance hash)].
        config: the whole configuration.
    """
    versions = installed_versions(PACKAGES)
    return RunSection(
        times=run_times(benchmarks),
        versions=versions,
        packages=sorted({*versions, *(package for used in model_versions for package in used)}),
        hashes=hashes,
        settings=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    )


def run_times(folder: Path) -> list[RuleTimes]:
    """Resources of each rule that left benchmarks in `folder`, the slowest rule first."""
    folder = Path(folder)
    parts = []
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        parts.append(pd.read_csv(path, sep="\t", na_values=["-"])[["s", "max_rss"]].assign(rule=rule))
    if not parts:
        return []
    grouped = pd.concat(parts).groupby("rule")
    times = grouped.agg(jobs=("s", "size"), seconds=("s", "sum"), longest=("s", "max"), memory_mb=("max_rss", "max"))
    ordered = times.sort_values("seconds", ascending=False).reset_index()
    return [RuleTimes(*row) for row in ordered[list(RuleTimes._fields)].itertuples(index=False)]


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """{package: version} of Python and of those packages that are installed."""
    distributions = {name: next(iter(metadata.distributions(name=name)), None) for name in packages}
    versions = {name: distribution.version for name, distribution in distributions.items() if distribution}
    return {"python": platform.python_version()} | versions
