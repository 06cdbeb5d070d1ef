"""Simulated images of touching cells, and a network that learns them in a minute."""

import json
from pathlib import Path

import numpy as np
from scipy import ndimage
from tasks import answer

from tessera.common.constants import HISTORY_CSV, MODEL_FORMAT, MODEL_JSON, SAVED_MODEL_FOLDER, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.data.normalization import normalize
from tessera.io.ome_zarr_store import create_store, finish_image, read_metadata
from tessera.io.shards import iterate_shards
from tessera.networks.model_folder import write_validation_patches
from tessera.training.history import write_history

PERIOD = 1472  # no divisor of a tile or shard, so that their seams fall anywhere in the scene
SPACING, RADIUS = 24, 13
PATCH, TRAINED, PATCHES, VALIDATION, EPOCHS, BATCH = 256, 128, 320, 16, 5, 8
OUTPUTS = ["background", "interior", "boundary"]


def draw_scene(seed):
    """Draw a periodic scene (y, x): light, float32, and classes, uint8, with the names OUTPUTS."""
    rng = np.random.default_rng(seed)
    count = PERIOD // SPACING
    places = (np.indices((count, count)).reshape(2, -1).T + 0.5) * (PERIOD / count)
    places = places[rng.random(len(places)) < 0.8]
    places = np.rint(places + rng.normal(0, 4, places.shape)).astype(int) % PERIOD
    centres = np.zeros((PERIOD, PERIOD), np.int32)
    centres[tuple(places.T)] = np.arange(1, len(places) + 1)
    wide = np.pad(centres, 4 * SPACING, mode="wrap")
    distance, nearest = ndimage.distance_transform_edt(wide == 0, return_indices=True)
    inner = (slice(4 * SPACING, -4 * SPACING),) * 2
    owners = wide[tuple(nearest)][inner]
    radius = rng.uniform(0.7, 1.1, len(places) + 1) * RADIUS
    owners[distance[inner] > radius[owners]] = 0
    edge = ndimage.maximum_filter(owners, 3, mode="wrap") != ndimage.minimum_filter(owners, 3, mode="wrap")
    depth = 1 - (distance[inner] / radius[owners]) ** 2
    texture = ndimage.gaussian_filter(rng.standard_normal((PERIOD, PERIOD)), 2, mode="wrap")
    brightness = rng.lognormal(0, 0.4, len(places) + 1)[owners]
    light = np.where(owners > 0, brightness * np.sqrt(np.maximum(depth, 0.05)) * (1 + texture / texture.std() / 5), 0)
    light = ndimage.gaussian_filter(light, 1.2, mode="wrap").astype(np.float32)
    return light, np.where(owners > 0, 1 + edge, 0).astype(np.uint8)


def expose(light, rng):
    """Image of light (any shape) by a camera: uint16 with shot and read noise."""
    signal = 300 + 2000 * light
    noise = np.sqrt(4 * signal + 400) * rng.standard_normal(light.shape, np.float32)
    return np.clip(signal + noise, 0, 65535).astype(np.uint16)


def write_image(path, side, *, shard_px=2048):
    """Write the image of `side` pixels, uint16, shard by shard, to `path`, unless it exists."""
    try:
        read_metadata(path)
        return
    except InputError:
        path.parent.mkdir(parents=True, exist_ok=True)
    light, _ = draw_scene(0)
    store = create_store(path, (1, 1, 1, side, side), np.uint16, shard_px=shard_px)
    for region in iterate_shards(store):
        rows, columns = (np.arange(part.start, part.stop) % PERIOD for part in region[-2:])
        rng = np.random.default_rng([part.start for part in region])
        store[region] = expose(light[np.ix_(rows, columns)], rng)[None, None, None]
    finish_image(path, name=path.name.partition(".")[0])


def train_model(folder):
    """Train Unet/resnet18 on another scene, and write the folder of the model, unless it exists."""
    if (folder / MODEL_JSON).is_file():
        return
    from tessera.networks.build import build_network
    from tessera.networks.tensorflow_setup import keras

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    light, classes = draw_scene(1)
    pixels = expose(light, rng)
    pixels = normalize(pixels[..., None], [np.percentile(pixels, (1, 99.8))])
    corners = rng.integers(0, PERIOD - PATCH, (PATCHES + VALIDATION, 2))
    boxes = [(slice(y, y + PATCH), slice(x, x + PATCH)) for y, x in corners]
    images, targets = (np.stack([array[box] for box in boxes]) for array in (pixels, classes))
    network = build_network("Unet", "resnet18", channels=1, outputs=len(OUTPUTS))
    network.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(
        images[:PATCHES, :TRAINED, :TRAINED],
        targets[:PATCHES, :TRAINED, :TRAINED],
        batch_size=BATCH,
        epochs=EPOCHS,
        verbose=2,
    )
    loss, accuracy = network.evaluate(images[PATCHES:], targets[PATCHES:], verbose=2)
    folder.mkdir(parents=True, exist_ok=True)
    network.save_weights(folder / WEIGHTS_H5)
    network.export(folder / SAVED_MODEL_FOLDER)
    write_validation_patches(folder, images[PATCHES:], targets[PATCHES:])
    write_history([{"epoch": EPOCHS, "val_loss": loss, "val_accuracy": accuracy}], folder / HISTORY_CSV)
    settings = {"format": MODEL_FORMAT, "task": "instances", "classes": ["background", "cell"], "outputs": OUTPUTS}
    settings |= {"channels": ["0"], "architecture": "Unet", "backbone": "resnet18", "best_epoch": EPOCHS}
    settings |= {"normalization": {"method": "percentile", "low": 1, "high": 99.8}}
    (folder / MODEL_JSON).write_text(json.dumps(settings))


def run(folder, sides, whole):
    """Make what `folder` lacks: images of these `sides`, and one of width `whole` that is a single shard."""
    images = Path(folder) / "images"
    for side in sides:
        write_image(images / f"side{side}.ome.zarr", side)
    write_image(images / f"whole{whole}.ome.zarr", whole, shard_px=whole)
    train_model(Path(folder) / "models" / "unet")
    return {}


if __name__ == "__main__":
    answer(run)
