"""Train a network on patches.

Reads `patches`: train.zarr and val.zarr with image (n, y, x, c) float16, normalized, and target (n, y, x) uint8, and
patches.json. Writes the folder `output`, see `tessera.training.model_export`. During the training, the state is in a
hidden folder beside `output`, see `tessera.training.checkpoint`; a training with the same provenance continues from it.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tessera.common.atomic_write import partial_path, replace_folder
from tessera.common.constants import LAST_WEIGHTS_H5, RANGE_TEST_PNG
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.networks.architectures import encoder_layers
from tessera.networks.devices import (
    choose_device,
    choose_precision,
    distribution_strategy,
    mixed_precision_policy,
    translate_device_errors,
)
from tessera.networks.model_folder import AutoChoice
from tessera.settings.sections import TrainSettings
from tessera.training.batch_size import resolve_batch_size
from tessera.training.checkpoint import TrainingCheckpoint, explain_write_errors
from tessera.training.data_loader import read_patches
from tessera.training.learning_rate import plot_range_test
from tessera.training.loggers import ProgressCallback, make_logger_callback
from tessera.training.model_export import make_model_card, write_model_folder
from tessera.training.trainer import Trainer, stopping_rule
from tessera.training.training_model import build_training_model, copy_in_float32, log_summary, set_seed


def train(
    patches: StrPath,
    *,
    settings: TrainSettings,
    provenance: Any,
    output: StrPath,
    threads: int | None = None,
    memory_mb: float | None = None,
    training_data: Any = None,
    logs: StrPath | None = None,
) -> None:
    """Train a network and write the folder of the model.

    Args:
        patches: folder of patches.
        settings: section train.
        provenance: provenance hash of the model; an interrupted training continues only with the same one.
        output: folder of the model; it appears when it is complete.
        threads: number of CPU cores to use; None: all.
        memory_mb: MiB that the job may use; None: free memory of the machine.
        training_data: provenance hash of the patches, for the model card.
        logs: folder for the logs of TensorBoard; None: no logs.

    Raises:
        InputError: a subset has no patches, a name is unknown, a device or weights are not available, the loss is not
            finite, or the memory of the machine or the device, or the disk, is too small.
    """
    output = Path(output)
    run_folder = partial_path(output)
    patch_info = json.loads((Path(patches) / "patches.json").read_text())
    train_set, val_set = (read_patches(Path(patches) / f"{subset}.zarr") for subset in ("train", "val"))
    device = choose_device(settings.device, threads)
    precision, precision_reason = choose_precision(settings.precision, device)
    set_seed(settings)
    strategy = distribution_strategy(device, settings.gpus, settings.device)
    with strategy.scope(), mixed_precision_policy(precision), translate_device_errors():
        network, model = build_training_model(settings, patch_info)
        batch_size, batch_size_reason = resolve_batch_size(
            run_folder, provenance, settings.batch_size, network, train_set.images.shape, device, memory_mb
        )
        resolved = settings.model_copy(update={"precision": precision, "batch_size": batch_size})
        log_summary(resolved, network, patch_info, train_set, val_set)
        checkpoint = TrainingCheckpoint(network, run_folder, provenance, stopping_rule(settings))
        encoder = encoder_layers(network, settings.architecture, settings.backbone)
        trainer = Trainer(model, encoder, train_set, val_set, checkpoint, resolved)
        learning_rate = trainer.resolve_learning_rate(run_folder)
        callbacks: list[Any] = [ProgressCallback(batch_size, settings.epochs)]
        if logs:
            outputs = patch_info["outputs"]
            callbacks.insert(
                0, make_logger_callback(network, val_set, outputs, resolved, folder=logs, name=output.name)
            )
        trainer.run(callbacks)
        with explain_write_errors(run_folder):
            network.save_weights(run_folder / LAST_WEIGHTS_H5)
        throughput = trainer.measure_throughput()
        checkpoint.load_best()

    choices: list[AutoChoice] = [
        {"setting": "train.precision", "value": precision, "reason": precision_reason},
        {"setting": "train.batch_size", "value": batch_size, "reason": batch_size_reason},
        {"setting": "train.learning_rate", "value": learning_rate.rate, "reason": learning_rate.reason},
    ]
    card = make_model_card(patch_info, network, checkpoint.rows, settings, choices)
    card |= {"provenance": provenance, "training_data": training_data, "throughput": throughput, "device": device}
    float32_network = copy_in_float32(network, settings, patch_info)
    with explain_write_errors(run_folder):
        write_model_folder(run_folder / "model", card, float32_network, checkpoint.rows, val_set)
        if learning_rate.curve:
            plot_range_test(learning_rate.curve, learning_rate.rate, run_folder / "model" / RANGE_TEST_PNG)
        (run_folder / LAST_WEIGHTS_H5).rename(run_folder / "model" / LAST_WEIGHTS_H5)
    replace_folder(run_folder / "model", output)
    shutil.rmtree(run_folder)


if __name__ == "__main__":
    with running(snakemake):
        if snakemake.input.get("weights"):
            os.environ["KERAS_HOME"] = str(snakemake.input.weights)  # no download on a compute node
        train(
            snakemake.input.patches,
            settings=TrainSettings.model_validate(snakemake.config["train"] | snakemake.params.settings),
            provenance=snakemake.params.provenance,
            output=snakemake.output.model,
            threads=snakemake.threads,
            memory_mb=snakemake.resources.mem_mb,
            training_data=snakemake.params.training_data,
            logs=f"logs/tensorboard/{snakemake.wildcards.model}",
        )
