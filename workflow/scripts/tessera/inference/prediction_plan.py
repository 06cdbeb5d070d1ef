"""How the images of a batch are predicted: the selected models, the size of tiles, and what identifies both."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tessera.common.errors import InputError
from tessera.common.memory_budget import memory_limit_mb, resident_mb
from tessera.common.types import StrPath
from tessera.inference.ensemble import Ensemble, load_ensemble
from tessera.inference.tiling import TilePlan, plan_tiles
from tessera.networks.model_folder import digest_model
from tessera.settings.sections import PredictSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The models that predict.

    Attributes:
        selected: file that names the members of the ensemble.
        converted: folder of converted models.
        folders: folders of all models.
    """

    selected: StrPath
    converted: StrPath
    folders: Iterable[StrPath]


@dataclass(frozen=True)
class PredictionPlan:
    """How the images of a batch are predicted.

    Attributes:
        ensemble: the networks.
        tiles: size of the tiles.
        settings: section `predict`.
        provenance: text that identifies the models and the code.
        description: what the store keeps about the networks.
        workers: number of threads; None: the default.
    """

    ensemble: Ensemble
    tiles: TilePlan
    settings: PredictSettings
    provenance: str
    description: dict[str, Any] = field(default_factory=dict)
    workers: int | None = None


def find_members(models: Models) -> tuple[list[Path], dict[str, Any]]:
    """Return the folders of the selected models, and the content of the file that names them.

    Raises:
        InputError: the file names a model that does not exist.
    """
    content = json.loads(Path(models.selected).read_text())
    folders = {Path(folder).name: Path(folder) for folder in models.folders}
    if missing := [name for name in content["members"] if name not in folders]:
        raise InputError(
            f"{models.selected}: names {', '.join(missing)}, not among {', '.join(map(str, models.folders))}; remove "
            "the file"
        )
    return [folders[name] for name in content["members"]], content


def choose_tiles(ensemble: Ensemble, settings: PredictSettings, halo_px: int, memory_mb: float | None) -> TilePlan:
    """Choose the size of tiles for the memory of this job, and log it.

    Args:
        ensemble: the networks; on a CPU, the memory that they need is measured if the size of tiles is "auto".
        settings: section `predict`.
        halo_px: halo that the selected models need, used if `settings.halo_px` is "auto".
        memory_mb: memory of the job in MiB; None: what the machine has.
    """
    bytes_per_px = None
    if settings.tile_px == "auto" and ensemble.engines[0].device == "cpu":
        bytes_per_px = ensemble.bytes_per_px()
        logger.info("The networks need %.0f bytes per pixel", bytes_per_px)
    limit_mb, used_mb = memory_limit_mb(memory_mb), resident_mb()
    plan = plan_tiles(
        tile_px=settings.tile_px,
        halo_px=halo_px if settings.halo_px == "auto" else settings.halo_px,
        batch_tiles=settings.batch_tiles,
        bytes_per_px=bytes_per_px,
        free_mb=limit_mb - used_mb,
    )
    logger.info(
        "Tiles of %d px, with a halo of %d px on each side; %.0f of %.0f MiB of memory are in use",
        plan.tile_px, plan.halo_px, used_mb, limit_mb,
    )  # fmt: skip
    return plan


def plan_prediction(
    models: Models,
    settings: PredictSettings,
    *,
    code: str = "",
    workers: int | None = None,
    memory_mb: float | None = None,
) -> PredictionPlan:
    """Load the selected models, and decide how they are applied.

    Args:
        models: the models.
        settings: section `predict`.
        code: hash of the code of this rule.
        workers: number of threads; None: the default.
        memory_mb: memory of the job in MiB; None: what the machine has.

    Raises:
        InputError: a setting or a model cannot be used.
    """
    folders, content = find_members(models)
    ensemble, report = load_ensemble(folders, models.converted, settings, workers)
    tiles = choose_tiles(ensemble, settings, content["halo_px"], memory_mb)
    if tiles.batch_px is not None:
        ensemble.batch_px = tiles.batch_px
    digests = [
        (digest_model(folder), member["engine"], member["precision"])
        for folder, member in zip(folders, report, strict=True)
    ]
    description = {
        "engines": report,
        "test_time_augmentation": settings.test_time_augmentation,
        "core_px": tiles.core_px,
        "halo_px": tiles.halo_px,
        "thresholds": content.get("thresholds"),
    }
    provenance = json.dumps([code, digests, settings.test_time_augmentation])
    return PredictionPlan(ensemble, tiles, settings, provenance, description, workers)
