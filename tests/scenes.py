"""Small batches of stores, as ingest, annotate and segment leave them, for what comes after."""

import json

import numpy as np
from lib.stores import create_store, finish_image, finish_labels


def place_discs(shape, centres, radius):
    """Ids 1, 2, ... of discs: int32 (y, x)."""
    rows, columns = np.indices(shape)
    ids = np.zeros(shape, dtype=np.int32)
    for number, (row, column) in enumerate(centres, start=1):
        ids[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return ids


def photograph(ids, channels=1):
    """A noisy picture of labels: uint16 (c, y, x)."""
    random = np.random.default_rng(0)
    return random.normal(200 + 900 * (ids > 0), 60, (channels, *ids.shape)).clip(0).astype(np.uint16)


def write_image(folder, name, pixels, channels=None):
    """A store of an image (t, c, z, y, x) in the batch `folder`."""
    path = folder / f"{name}.ome.zarr"
    create_store(path, pixels.shape, pixels.dtype)[...] = pixels
    finish_image(path, name=name, channels=channels)
    return path


def write_labels(folder, name, labels, classes=None, extra=None):
    """A store of labels (t, y, x) in the batch `folder`."""
    path = folder / f"{name}.ome.zarr"
    labels = labels[:, None, None]
    create_store(path, labels.shape, labels.dtype)[...] = labels
    finish_labels(path, name=name, classes=classes, extra=extra)
    return path


def write_batch(root, images, *, batch="one", classes=None, set_aside=None):
    """Stores of a batch under `root`/images, truth and labels.

    Args:
        images: {name: (found (t, y, x), truth (t, y, x) or None)}.
        set_aside: {name: reason} of images that are nowhere.

    Returns:
        (folder of images, of labels, of truth).
    """
    folders = [root / kind / batch for kind in ("images", "labels", "truth")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (folders[0] / "set_aside.json").write_text(json.dumps(set_aside or {}))
    for name, (found, truth) in images.items():
        pixels = np.stack([photograph(frame)[:, None] for frame in (found if truth is None else truth)])
        write_image(folders[0], name, pixels)
        write_labels(folders[1], name, found, classes)
        if truth is not None:
            write_labels(folders[2], name, truth, classes)
    return folders
