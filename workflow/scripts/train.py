"""Train a network on patches.

Reads `patches`: train.zarr and val.zarr with image (n, y, x, c) float16, normalised, and target (n, y, x) uint8, and
patches.json. Writes the folder `output`: model.json, model.weights.h5, saved_model/, history.csv, curves.png. While it
trains, weights, optimiser and history are in a hidden folder beside `output`, from where the same recipe goes on.
"""

import json
import shutil
from pathlib import Path

import zarr
from lib.errors import InputError
from lib.frameworks import keras, tf
from lib.jobs import running
from lib.losses import weighted_sum
from lib.models import describe, write_model
from lib.networks import build_network, choose_device
from lib.patches import training_batches, validation_batches
from lib.trainings import ClassIoU, Record, Schedule

IN_MEMORY_BYTES = 2**31


def train(
    patches,
    recipe,
    output,
    *,
    seed,
    architecture,
    backbone,
    encoder_weights,
    losses,
    learning_rate,
    batch_size,
    epochs,
    patience,
    minutes,
    device="auto",
    threads=None,
    training_data=None,
):
    """Train a network; the settings are those of the section train, as config/config.yaml explains them.

    Args:
        patches: folder of patches.
        recipe: what the model is made from; an interrupted training goes on only under the same.
        output: folder of the model, in place only when whole.
        threads: CPU cores to use; None for all.
        training_data: recipe of the patches, for the record.

    Raises:
        InputError: a side without patches, an unknown name, a device or weights that cannot be had, or a loss that is
            no longer a number.
    """
    settings = {
        "seed": seed,
        "architecture": architecture,
        "backbone": backbone,
        "encoder_weights": encoder_weights,
        "losses": losses,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
        "minutes": minutes,
        "device": device,
    }
    output = Path(output)
    about = json.loads((Path(patches) / "patches.json").read_text())
    sides = {side: read_side(Path(patches) / f"{side}.zarr") for side in ("train", "val")}
    choose_device(device, threads)
    keras.utils.disable_interactive_logging()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    network = build_network(
        architecture,
        backbone,
        channels=len(about["channels"]),
        outputs=len(about["outputs"]),
        encoder_weights=encoder_weights,
    )
    workplace = output.with_name(f".{output.name}.part")
    record = Record(network, workplace, recipe, {"epochs": epochs, "patience": patience, "minutes": minutes})
    fit(network, sides, about["outputs"], record, settings)
    model = describe(about, network, record.rows, settings) | {"recipe": recipe, "training_data": training_data}
    write_model(workplace / "model", model, network, record.rows, sides["val"])
    shutil.rmtree(output, ignore_errors=True)
    (workplace / "model").rename(output)
    shutil.rmtree(workplace)


def read_side(path):
    """Images and targets of train.zarr or val.zarr, in memory where they fit into IN_MEMORY_BYTES."""
    group = zarr.open_group(path, mode="r")
    images, targets = group["image"], group["target"]
    if images.shape[0] == 0:
        raise InputError(
            f"{path}: holds no patches; give this side annotated images, by split in the table or in config"
        )
    if images.nbytes + targets.nbytes > IN_MEMORY_BYTES:
        return images, targets
    return images[:], targets[:]


def fit(network, sides, outputs, record, settings):
    """Train `network` until `record` finds that it is over, and leave it with its best weights."""
    trainee = keras.Model(network.inputs, network.outputs)
    trainee.compile(keras.optimizers.Adam(), weighted_sum(settings["losses"]), [ClassIoU(outputs)])
    record.resume(trainee)
    done, epochs, batch_size = len(record.rows), settings["epochs"], settings["batch_size"]
    batches, steps = training_batches(
        *sides["train"], batch_size=batch_size, seed=settings["seed"], first_epoch=done, epochs=epochs
    )
    print(
        f"{settings['architecture']} {settings['backbone']}: {network.count_params():,} parameters, "
        f"{network.input_shape[-1]} channels to {', '.join(outputs)}\n"
        f"Patches: {sides['train'][0].shape[0]} train, {sides['val'][0].shape[0]} validate; {steps} steps an epoch",
        flush=True,
    )
    if not record.verdict:
        trainee.fit(
            batches,
            steps_per_epoch=steps,
            initial_epoch=done,
            epochs=epochs,
            validation_data=validation_batches(*sides["val"], batch_size=batch_size),
            callbacks=[
                Schedule(settings["learning_rate"], steps * epochs, settings["minutes"], steps * done, record.seconds),
                record,
            ],
            verbose=0,
        )
    print(f"Training is over: {record.verdict}; the best epoch was {record.best['epoch']}", flush=True)
    record.load_best()


if __name__ == "__main__":
    with running(snakemake):
        train(
            patches=snakemake.input.patches,
            recipe=snakemake.params.recipe,
            output=snakemake.output.model,
            training_data=snakemake.params.training_data,
            threads=snakemake.threads,
            device=snakemake.config["train"]["device"],
            **snakemake.params.settings,
        )
