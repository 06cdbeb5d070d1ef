"""Explain the selected model: is it well calibrated, and which pixels speak for each class?

Reads results/selected.json, the folders of the models, and validation patches: val.zarr in the patches of the fold for
a model trained in this run, the patches in its folder for an existing model. Predicts up to
`tessera.evaluation.validation_patches.MAX_PIXELS` pixels of them.

Writes the folder results/explanation: explanation.json, and for each of the best and the worst patches a figure with
class activation maps and a figure with feature maps of layers. A model without Keras weights or without patches is
skipped; the reason is in explanation.json and in the report.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tessera.common.atomic_write import atomic_folder
from tessera.common.job import running
from tessera.evaluation.validation_patches import (
    ModelToExplain,
    choose_patches,
    find_patches,
    predict_patches,
    rank_patches,
)
from tessera.networks.model_folder import read_model_card
from tessera.settings.sections import ExplainSettings

logger = logging.getLogger(__name__)


def explain(
    selected: Path,
    models: Iterable[Path],
    patches: Iterable[Path],
    output: Path,
    *,
    folds: Mapping[str, str],
    n_examples: int,
    layers: Sequence[str] | Literal["auto"],
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """Write the explanation of the selected model.

    Args:
        selected: file of rule select_model.
        models: folders of the models.
        patches: folders of training patches, named as the folds are.
        output: folder to write; it appears when it is complete.
        folds: {model: fold} of the models trained in this run.
        n_examples: number of the best and of the worst patches to show; 0 skips the explanation.
        layers: names of layers, or "auto", see `tessera.evaluation.class_activation_maps.choose_layers`.
        device: auto, cpu or gpu.
        threads: CPU cores to use; None for all.

    Raises:
        InputError: the network lacks a layer, the model is damaged, or there is no GPU.
    """
    name = json.loads(Path(selected).read_text())["model"]
    folder = next(Path(folder) for folder in models if Path(folder).name == name)
    fold_patches = {Path(path).name: Path(path) for path in patches}.get(folds.get(name, ""))
    model = find_patches(folder, fold_patches) if n_examples else "explain.n_examples is 0"
    reason = model if isinstance(model, str) else None
    content = {"model": name, "reason_skipped": reason}
    with atomic_folder(output) as workplace:
        if isinstance(model, ModelToExplain):
            content |= explain_model(workplace, model, n_examples, layers, device=device, threads=threads)
        (workplace / "explanation.json").write_text(json.dumps(content, indent=1))
    logger.info(f"{name}: skipped, because {reason}" if reason else f"{name}: explained")


def explain_model(
    workplace: Path,
    model: ModelToExplain,
    n_examples: int,
    layers: Sequence[str] | Literal["auto"],
    *,
    device: str,
    threads: int | None,
) -> dict[str, Any]:
    """Draw the figures into `workplace`; the content of explanation.json. See `explain` for the other arguments."""
    from tessera.evaluation.class_activation_maps import LEVELS, Probe, choose_layers, last_level
    from tessera.networks.architectures import bottleneck
    from tessera.networks.build import load_network
    from tessera.networks.devices import choose_device
    from tessera.report.explanation_figures import draw_patch

    choose_device(device, threads)
    settings = read_model_card(model.folder)
    outputs, architecture = settings["outputs"], settings["architecture"]
    network = load_network(model.folder)
    chosen = choose_layers(network, architecture, layers)
    numbers = choose_patches(model)
    calibration, ious = predict_patches(network, model, numbers, outputs)
    probe = Probe(network, [bottleneck(network, architecture), last_level(network)], chosen)
    examples = rank_patches(ious, n_examples)
    for example in examples:
        pixels, target = model.images[example["patch"]].astype(np.float32), model.targets[example["patch"]]
        name = f"{example['kind']}_{example['rank']}"
        example |= draw_patch(workplace, name, network, probe, pixels, target, outputs=outputs, layers=chosen)
    return {
        "n_patches": len(numbers),
        "n_available": model.images.shape[0],
        "calibration": calibration.summarize(),
        "layers": [{"name": layer.name, "part": layer.part, "stride": layer.stride} for layer in chosen],
        "levels": LEVELS,
        "images": examples,
    }


if __name__ == "__main__":
    with running(snakemake):
        settings = ExplainSettings.model_validate(snakemake.params.settings)
        explain(
            selected=snakemake.input.selected,
            models=snakemake.input.models,
            patches=snakemake.input.patches,
            output=snakemake.output.explanation,
            folds=snakemake.params.folds,
            n_examples=settings.n_examples,
            layers=settings.layers,
            device=snakemake.config["predict"]["device"],
            threads=snakemake.threads,
        )
