"""Ensembles: the mean output of several models, each for several views of the same pixels."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tessera.common.memory_budget import measure_bytes_per_px, resident_mb
from tessera.common.types import StrPath
from tessera.data.dihedral import apply_dihedral, invert_dihedral
from tessera.inference.backends import choose_engine, load_engine, reduced_precision
from tessera.inference.precision_check import check_precision
from tessera.networks.model_folder import read_model_card, read_validation_patches
from tessera.settings.sections import PredictSettings

BATCH_PX = {"cpu": 2**20, "gpu": 2**25}
VIEWS = {"none": [0], "flips": [0, 2, 4, 6], "all": [*range(8)]}
logger = logging.getLogger(__name__)


class Engine(Protocol):
    """A network that is ready to run, see `tessera.inference.backends`."""

    settings: dict[str, Any]
    precision: str
    device: str

    def predict(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `tessera.inference.backends.OpenVINOEngine.predict`."""
        ...


class Ensemble:
    """Engines whose mean output counts.

    Args:
        engines: at least one; all have the same channels and outputs.
        augmentation: views of the pixels that each engine predicts: "none", "flips" (4), or "all" flips and rotations
            (8).
        batch_px: largest number of pixels that an engine gets at once, unless one tile has more. It becomes smaller
            when memory is exhausted.
    """

    def __init__(self, engines: Sequence[Engine], *, augmentation: str = "none", batch_px: int = 2**20) -> None:
        self.engines, self.batch_px = engines, batch_px
        self.settings = engines[0].settings
        self._views = VIEWS[augmentation]

    def bytes_per_px(self, resident: Callable[[], float] = resident_mb) -> float:
        """Measure the memory that all engines together need for each pixel of a tile, in bytes.

        Args:
            resident: returns the memory of this process in MiB.
        """
        channels = len(self.settings["channels"])
        return sum(measure_bytes_per_px(engine.predict, channels, resident) for engine in self.engines)

    def predict(self, tiles: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Predict tiles of one shape.

        When memory is exhausted, the batch is halved, and so are all later ones.

        Args:
            tiles: (n, y, x, c), normalized.

        Returns:
            Probabilities (n, outputs, y, x), 255 = 1.

        Raises:
            MemoryError: there is not enough memory for a single tile.
        """
        per_batch = max(1, self.batch_px // (tiles.shape[1] * tiles.shape[2]))
        outputs: list[NDArray[np.uint8]] = []
        while (done := sum(map(len, outputs))) < len(tiles):
            batch = tiles[done : done + per_batch]
            try:
                outputs.append(self._mean(batch))
            except MemoryError as error:
                if len(batch) == 1:
                    raise
                per_batch = len(batch) // 2
                self.batch_px = per_batch * tiles.shape[1] * tiles.shape[2]
                logger.info(
                    "Not enough memory for %d tiles at once (%s); continuing with %d", len(batch), error, per_batch
                )
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _mean(self, tiles: NDArray[np.float32]) -> NDArray[np.uint8]:
        runs = [(engine, view) for engine in self.engines for view in self._views]
        if len(runs) == 1:
            return self.engines[0].predict(tiles).copy()
        total: Any = 0
        for engine, view in runs:
            output = engine.predict(np.ascontiguousarray(apply_dihedral(tiles, view, (1, 2))))
            total = total + invert_dihedral(output, view, (2, 3)).astype(np.uint16)
        return np.rint(total / len(runs)).astype(np.uint8)


def load_ensemble(
    folders: Sequence[Path], converted: StrPath | None, settings: PredictSettings, workers: int | None
) -> tuple[Ensemble, list[dict[str, Any]]]:
    """Load all models, each in the precision that its check allows.

    Args:
        folders: of the models.
        converted: folder of converted models.
        settings: section `predict`.
        workers: number of CPU cores; None: all.

    Returns:
        The ensemble; for each model {"model", "engine", "device", "precision", "check": see
        `tessera.inference.precision_check`, or None}.
    """
    engine, device = choose_engine(settings.engine, settings.device, threads=workers)
    reduced = {"auto": reduced_precision(engine, device), "float32": None}.get(settings.precision, settings.precision)
    engines: list[Engine] = []
    report: list[dict[str, Any]] = []
    for folder in folders:
        model, patches, check = dict(read_model_card(folder)), read_validation_patches(folder), None
        options: dict[str, Any] = {"converted": converted, "threads": workers}
        chosen = load_engine(engine, device, model, folder, **options)
        if reduced and patches:
            candidate = load_engine(engine, device, model, folder, precision=reduced, **options)
            check = check_precision(chosen.predict, candidate.predict, patches, settings.max_precision_iou_change)
            chosen = candidate if check["passed"] else chosen
        engines.append(chosen)
        report.append({"model": folder.name, "engine": engine, "device": device, "precision": chosen.precision})
        report[-1]["check"] = check
        reason = _explain_precision(reduced, check)
        logger.info("%s: %s on the %s, %s; %s", folder.name, engine, device.upper(), chosen.precision, reason)
    return Ensemble(engines, augmentation=settings.test_time_augmentation, batch_px=BATCH_PX[device]), report


def _explain_precision(reduced: str | None, check: dict[str, Any] | None) -> str:
    if not reduced:
        return "no lower precision is set, or none is faster on this machine"
    if not check:
        return f"{reduced} cannot be checked, since the model folder has no validation patches"
    return (
        f"{reduced} changes the IoU of {check['patches']} validation patches by at most {check['iou_change']:.5f}, "
        f"{'within' if check['passed'] else 'more than'} the {check['tolerance']:g} of predict.max_precision_iou_change"
    )
