"""Small batches of stores, as ingest, ingest_truth and segment leave them, for what comes after."""

import json

import numpy as np
from scipy import ndimage

from tessera.inference.seam_windows import choose_seam_windows, seam_window_shape, write_seam_windows
from tessera.io.ome_zarr_store import create_store, finish_image, finish_labels


def place_discs(shape, centres, radius):
    """Ids 1, 2, ... of discs: int32 (y, x)."""
    rows, columns = np.indices(shape)
    ids = np.zeros(shape, dtype=np.int32)
    for number, (row, column) in enumerate(centres, start=1):
        ids[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return ids


def scatter_discs(shape, count, radius, apart, seed=0):
    """Ids of at most `count` discs at random places whose centers are at least `apart` from each other."""
    random, centres = np.random.default_rng(seed), np.empty((0, 2))
    for _ in range(count):
        place = random.uniform(0, shape)
        if not len(centres) or np.hypot(*(centres - place).T).min() >= apart:
            centres = np.append(centres, [place], axis=0)
    return place_discs(shape, centres, radius)


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


def write_batch(root, images, *, batch="one", classes=None, skipped=None):
    """Stores of a batch under `root`/images, truth and labels.

    Args:
        images: {name: (found (t, y, x), truth (t, y, x) or None)}.
        skipped: {name: reason} of images that are nowhere.

    Returns:
        (folder of images, of labels, of truth).
    """
    folders = [root / kind / batch for kind in ("images", "labels", "truth")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (folders[0] / "skipped.json").write_text(json.dumps(skipped or {}))
    for name, (found, truth) in images.items():
        pixels = np.stack([photograph(frame)[:, None] for frame in (found if truth is None else truth)])
        write_image(folders[0], name, pixels)
        write_labels(folders[1], name, found, classes)
        if truth is not None:
            write_labels(folders[2], name, truth, classes)
    return folders


def damage(file):
    """Change bytes in the middle of a file of a store, which stays as long as it was."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 4
    content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    file.write_bytes(content)


def outputs_of(ids):
    """What a network that knows everything answers to a plane of ids: uint8 (3, y, x)."""
    inside = (ndimage.minimum_filter(ids, 3) == ids) & (ndimage.maximum_filter(ids, 3) == ids) & (ids > 0)
    return 255 * np.stack([ids == 0, inside, (ids > 0) & ~inside]).astype(np.uint8)


def write_predictions(path, outputs, rows, columns, *, side_px):
    """A store of `outputs` uint8 (t, c, z, y, x) with windows on these seams, cut out of them; their origins."""
    array = create_store(path, outputs.shape, np.uint8, chunk_px=64, shard_px=128)
    array[...] = outputs
    origins = choose_seam_windows(array, rows, columns, count=4, side_px=side_px)
    height, width = seam_window_shape(outputs.shape[-2:], side_px)
    write_seam_windows(path, origins, [outputs[t, :, z, y : y + height, x : x + width] for t, z, y, x in origins])
    finish_image(path, name=path.stem, channels=[str(number) for number in range(outputs.shape[1])], levels=1)
    return origins
