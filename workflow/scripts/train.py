"""Train a network on patches.

Reads `patches`: train.zarr and val.zarr with image (n, y, x, c) float16, normalized, and target (n, y, x) uint8, and
patches.json. Writes the folder `output`: model.json, model.weights.h5 (of the best epoch), last.weights.h5,
saved_model/, validation.zarr, history.csv, curves.png, and rates.png where a learning rate was looked for. While it
trains, weights, optimiser and history are in a hidden folder beside `output`, from where the same provenance goes on.
"""

import json
import shutil
from pathlib import Path

import zarr

from tessera.common.atomic_write import partial_path, replace_folder
from tessera.common.constants import LAST, RATES
from tessera.common.errors import InputError
from tessera.common.job import running
from tessera.networks.architectures import encoder_layers
from tessera.networks.devices import (
    choose_device,
    choose_precision,
    distribution_strategy,
    mixed_precision_policy,
    translate_device_errors,
)
from tessera.networks.tensorflow_setup import keras, tf
from tessera.training.checkpoint import Record, room_on_disk
from tessera.training.learning_rate import plot_learning_rate_trial
from tessera.training.loggers import make_display
from tessera.training.model_export import describe, write_model_folder
from tessera.training.progress import Pace
from tessera.training.trainer import Training
from tessera.training.training_model import DESIGN, build_training_model, copy_in_float32, resolve_batch_size

IN_MEMORY_BYTES = 2**31
LIMITS = ("epochs", "patience", "max_minutes", "monitor", "min_delta", "frozen_epochs")


def train(patches, provenance, output, *, threads=None, memory_mb=None, training_data=None, logs=None, **settings):
    """Train a network; the settings are those of the section train, as config/config.yaml explains them.

    Args:
        patches: folder of patches.
        provenance: what the model is made from; an interrupted training goes on only under the same.
        output: folder of the model, in place only when whole.
        threads: CPU cores to use; None for all.
        memory_mb: MiB that the job was given; None for what the machine has left.
        training_data: provenance of the patches, for the record.
        logs: folder for the logs of TensorBoard; None for none.

    Raises:
        InputError: a side without patches, an unknown name, a device or weights that cannot be had, a loss that is no
            longer a number, or memory, of the machine or the device, or room on the disk that does not suffice.
    """
    output = Path(output)
    workplace = partial_path(output)
    about = json.loads((Path(patches) / "patches.json").read_text())
    sides = {side: read_side(Path(patches) / f"{side}.zarr") for side in ("train", "val")}
    kind = choose_device(settings["device"], threads)
    precision, why_precision = choose_precision(settings["precision"], kind)
    keras.utils.disable_interactive_logging()
    keras.utils.set_random_seed(settings["seed"])
    # What layers draw at random can then be set anew for each epoch, by `tessera.training.training_model.reseed`.
    keras.backend.experimental.enable_tf_random_generator()
    if settings["deterministic"]:
        tf.config.experimental.enable_op_determinism()

    devices = distribution_strategy(kind, settings["gpus"], settings["device"])
    with devices.scope(), mixed_precision_policy(precision), translate_device_errors():
        network, trainee = build_training_model(settings, about)
        batch_size, why_batch = resolve_batch_size(
            workplace, provenance, settings["batch_size"], network, sides["train"][0].shape, kind, memory_mb
        )
        taken = settings | {"precision": precision, "batch_size": batch_size}
        introduce(taken, network, about, sides)
        record = Record(network, workplace, provenance, {key: settings[key] for key in LIMITS})
        encoder = encoder_layers(network, settings["architecture"], settings["backbone"])
        training = Training(trainee, encoder, sides, record, taken)
        rate, why_rate, trial = training.settle_rate(workplace)
        options = {
            "every": taken["log_images_every"],
            "wandb_mode": taken["wandb_mode"],
            "name": output.name,
            "settings": taken,
        }
        shown = [make_display(network, *sides["val"], about["outputs"], folder=logs, **options)] if logs else []
        training.run([*shown, Pace(batch_size, settings["epochs"])])
        with room_on_disk(workplace):
            network.save_weights(workplace / LAST)
        throughput = training.measure_throughput()
        record.load_best()

    plan = [
        {"setting": "train.precision", "value": precision, "reason": why_precision},
        {"setting": "train.batch_size", "value": batch_size, "reason": why_batch},
        {"setting": "train.learning_rate", "value": rate, "reason": why_rate},
    ]
    model = describe(about, network, record.rows, settings, plan)
    model |= {"provenance": provenance, "training_data": training_data, "throughput": throughput, "device": kind}
    with room_on_disk(workplace):
        kept = copy_in_float32(network, settings, about)
        write_model_folder(workplace / "model", model, kept, record.rows, sides["val"])
        if trial:
            plot_learning_rate_trial(trial, rate, workplace / "model" / RATES)
        (workplace / LAST).rename(workplace / "model" / LAST)
    replace_folder(workplace / "model", output)
    shutil.rmtree(workplace)


def read_side(path):
    """Images and targets of train.zarr or val.zarr, in memory where they fit into IN_MEMORY_BYTES."""
    group = zarr.open_group(path, mode="r")
    images, targets = group["image"], group["target"]
    if images.shape[0] == 0:
        raise InputError(
            f"{path}: holds no patches; give this set annotated images, by split in the table or in config"
        )
    if images.nbytes + targets.nbytes > IN_MEMORY_BYTES:
        return images, targets
    return images[:], targets[:]


def introduce(settings, network, about, sides):
    """Say what is about to be trained."""
    design = " ".join(str(settings[key]) for key in DESIGN if settings[key] is not None)
    print(
        f"{design}: {network.count_params():,} parameters, {len(about['channels'])} channels to "
        f"{', '.join(about['outputs'])}; {settings['precision']}, batches of {settings['batch_size']}\n"
        f"Patches: {sides['train'][0].shape[0]} train, {sides['val'][0].shape[0]} validate",
        flush=True,
    )


if __name__ == "__main__":
    with running(snakemake):
        train(
            patches=snakemake.input.patches,
            provenance=snakemake.params.provenance,
            output=snakemake.output.model,
            training_data=snakemake.params.training_data,
            threads=snakemake.threads,
            memory_mb=snakemake.resources.mem_mb,
            logs=f"logs/tensorboard/{snakemake.wildcards.model}",
            **snakemake.config["train"] | snakemake.params.settings,
        )
