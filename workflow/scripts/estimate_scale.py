"""Estimate the diameter of objects in images that belong together, so that they are predicted at the same scale.

Reads the `results/images/{batch}` of these images, `results/selected.json`, the folders of the models that it names,
and the models that `select_model` converted. Writes `results/scales.json` (`tessera.inference.common_diameters`).
Estimates are kept in `results/.scales.json`, so that after a change only new ones are made.
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tessera.common.batch_outputs import find_stores
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.inference.common_diameters import EstimateMemory, GroupedImage, estimate_sets, write_common_diameters
from tessera.inference.ensemble import Ensemble, load_ensemble
from tessera.inference.prediction_plan import Models, find_members
from tessera.networks.model_folder import digest_model
from tessera.settings.sections import PredictSettings


def estimate_scale(
    images: Iterable[StrPath],
    groups: dict[str, str],
    provenance: dict[str, str],
    output: StrPath,
    models: Models,
    settings: PredictSettings,
    *,
    regions: dict[str, dict[str, Any]] | None = None,
    code: str = "",
    workers: int | None = None,
) -> None:
    """Write the diameters of the objects in images that belong together to the file `output`.

    Args:
        images: folders of the batches of images.
        groups: {image: its group in the table}, of images whose group has several.
        provenance: {image: provenance hash of its pixels}.
        output: the file.
        models: the models that predict.
        settings: section `predict`.
        regions: {image: {"roi": (y0, y1, x0, x1) or None, "frames": text or None}}.
        code: hash of the code of this rule.
        workers: number of threads; None: the default.

    Raises:
        InputError: a setting, a model or a store cannot be used.
    """
    folders, _ = find_members(models)
    stores = find_stores(images, groups)
    members = [GroupedImage(name, path, groups[name], **(regions or {}).get(name, {})) for name, path in stores.items()]
    made_from = json.dumps(
        [code, [digest_model(folder) for folder in folders], settings.test_time_augmentation, settings.rescale]
    )
    memory = EstimateMemory(Path(output).with_name(f".{Path(output).name}"), made_from, provenance)

    @cache
    def load() -> Ensemble:
        return load_ensemble(folders, models.converted, settings, workers)[0]

    write_common_diameters(output, estimate_sets(members, load, settings, memory))
    memory.save()


if __name__ == "__main__":
    with running(snakemake):
        estimate_scale(
            images=snakemake.input.images,
            groups=snakemake.params.groups,
            provenance=snakemake.params.record["inputs"],
            output=snakemake.output.scales,
            models=Models(snakemake.input.selected, snakemake.input.converted, snakemake.input.models),
            settings=PredictSettings.model_validate(snakemake.config["predict"] | snakemake.params.settings),
            regions=snakemake.params.regions,
            code=snakemake.params.code,
            workers=snakemake.threads,
        )
