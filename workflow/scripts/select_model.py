"""Select the best variant and the best model on validation images, and prepare the models that predict.

Reads model.json, history.csv and the validation patches of each folder in `models`. Writes the JSON file `output`:

- model: the best model of the best variant; metric and value: the column it was selected by, and its value;
- candidates: {model: value};
- variant: the best variant; variants: {variant: `tessera.training.model_selection.VariantSummary`};
- note: why another metric than the monitored one was taken, or null;
- members: the models that predict;
- halo_px: halo of the tiles, the largest of all members; halo: {member: its measurements};
- thresholds: those of instances that suit the members, or null; tuning: {member: how they were tuned, or null}.

Writes the folder `converted` with each member in OpenVINO's format, if prediction uses OpenVINO.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tessera.common.constants import HISTORY_CSV, OPENVINO_SUFFIX
from tessera.common.errors import InputError
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.evaluation.threshold_tuning import tune_model
from tessera.inference.backends import choose_engine, convert, load_engine
from tessera.inference.halo_size import UNMEASURED, measure_halo
from tessera.networks.model_folder import ModelCard, read_model_card, read_validation_patches
from tessera.segmentation.thresholds import combine_thresholds
from tessera.settings.sections import SelectModelSettings
from tessera.training.history import read_history
from tessera.training.model_selection import (
    check_compatible,
    choose_members,
    choose_metric,
    choose_variant,
    summarize_variants,
)

logger = logging.getLogger(__name__)


def select_model(
    models: Sequence[StrPath],
    *,
    settings: SelectModelSettings,
    output: StrPath,
    converted: StrPath,
    variants: Mapping[str, str] | None = None,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Select the models that predict, and write down how all models did at the epochs whose weights they kept.

    Args:
        models: folders of models, each with the name of its model.
        settings: section select_model.
        output: JSON file to write.
        converted: folder for converted models.
        variants: {model: name of its variant}; a model without an entry is a variant of its own.
        engine: setting predict.engine.
        device: setting predict.device.
        threads: number of CPU cores to use; None: all.

    Raises:
        InputError: a model is damaged or lacks the column, no model has a value, or the models of an ensemble have
            different inputs or outputs.
    """
    folders = {Path(folder).name: Path(folder) for folder in models}
    cards = {name: read_model_card(folder) for name, folder in folders.items()}
    metric, note = choose_metric(settings.metric, [card.get("settings") or {} for card in cards.values()])
    candidates = {name: read_value(folders[name], cards[name], metric) for name in folders}
    summaries = summarize_variants({name: (variants or {}).get(name, name) for name in folders}, candidates)
    variant, best = choose_variant(summaries, candidates, metric, settings.ensemble)
    members = choose_members(settings.ensemble, list(folders), summaries[variant], best)
    check_compatible({name: cards[name] for name in members})
    engine, device = choose_engine(engine, device, threads=threads)
    Path(converted).mkdir(parents=True, exist_ok=True)
    halos: dict[str, tuple[int, list[Any]]] = {}
    tuning: dict[str, dict[str, Any] | None] = {}
    for name in members:
        if engine == "openvino":
            convert(folders[name], Path(converted) / f"{name}{OPENVINO_SUFFIX}")
        patches = read_validation_patches(folders[name])
        if patches is None:
            logger.info("%s: has no validation patches; a halo of %d px is assumed", folders[name], UNMEASURED)
            halos[name], tuning[name] = (UNMEASURED, []), None
        else:
            predictor = load_engine(engine, device, cards[name], folders[name], converted=converted, threads=threads)
            halos[name] = measure_halo(predictor.predict, patches[0])
            tuning[name] = tune_model(cards[name], predictor.predict, *patches)
        logger.info("%s: halo of %d px", name, halos[name][0])
    content = {"model": best, "metric": metric, "value": candidates[best], "candidates": candidates}
    content |= {"variant": variant, "variants": summaries, "note": note}
    content |= {"members": members, "halo_px": max(halo_px for halo_px, _ in halos.values())}
    content["halo"] = {name: measurements for name, (_, measurements) in halos.items()}
    content |= {"thresholds": combine_thresholds(list(tuning.values())), "tuning": tuning}
    Path(output).write_text(json.dumps(content, indent=1))
    if note:
        logger.info("%s", note)
    logger.info(
        "%s is the best of %d models by %s; models that predict: %s", best, len(folders), metric, ", ".join(members)
    )


def read_value(folder: Path, card: ModelCard, metric: str) -> float | None:
    """Return the metric of a model at its best epoch, or None if it has none (such as the IoU of an absent class).

    A model that was trained elsewhere may have no history, and then no value.

    Raises:
        InputError: the history lacks the best epoch or the metric.
    """
    best_epoch, path = card.get("best_epoch"), folder / HISTORY_CSV
    if best_epoch is None and not path.is_file():
        return None
    rows = read_history(path) if path.is_file() else []
    row = next((row for row in rows if row["epoch"] == best_epoch), None)
    if row is None:
        raise InputError(f"{path}: has no epoch {best_epoch}, the best one by model.json; train the model again")
    if metric not in row:
        raise InputError(f"select_model.metric: {metric} is not a column of {path}; choose from {', '.join(row)}")
    return row[metric] if math.isfinite(row[metric]) else None


if __name__ == "__main__":
    with running(snakemake):
        select_model(
            snakemake.input.models,
            settings=SelectModelSettings.model_validate(snakemake.params.settings),
            output=snakemake.output.selected,
            converted=snakemake.output.converted,
            variants=snakemake.params.variants,
            engine=snakemake.params.engine,
            device=snakemake.config["predict"]["device"],
            threads=snakemake.threads,
        )
