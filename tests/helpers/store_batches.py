"""Small batches of stores like those that ingest, ingest_truth, predict and segment write."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tessera.inference.seam_windows import choose_seam_windows, seam_window_shape, write_seam_windows
from tessera.io.ome_zarr_store import create_store, finish_image, finish_labels


def place_discs(shape: tuple[int, int], centers: Sequence[Sequence[float]], radius: float) -> NDArray[np.int32]:
    """Labels (y, x) with a disc at each of `centers`, with ids 1, 2, ... in their order."""
    rows, columns = np.indices(shape)
    ids = np.zeros(shape, dtype=np.int32)
    for number, (row, column) in enumerate(centers, start=1):
        ids[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return ids


def scatter_discs(shape: tuple[int, int], count: int, radius: float, apart: float, seed: int = 0) -> NDArray[np.int32]:
    """Labels (y, x) of at most `count` discs at random places with centers at least `apart` pixels from each other."""
    random, centers = np.random.default_rng(seed), np.empty((0, 2))
    for _ in range(count):
        place = random.uniform(0, shape)
        if not len(centers) or np.hypot(*(centers - place).T).min() >= apart:
            centers = np.append(centers, [place], axis=0)
    return place_discs(shape, centers, radius)


def photograph(ids: NDArray[Any], channels: int = 1) -> NDArray[np.uint16]:
    """A noisy image (c, y, x) of labels (y, x)."""
    random = np.random.default_rng(0)
    return random.normal(200 + 900 * (ids > 0), 60, (channels, *ids.shape)).clip(0).astype(np.uint16)


def write_image(folder: Path, name: str, pixels: NDArray[Any], channels: Sequence[str] | None = None) -> Path:
    """Write the store of an image (t, c, z, y, x) into the batch `folder`."""
    path = folder / f"{name}.ome.zarr"
    create_store(path, pixels.shape, pixels.dtype)[...] = pixels
    finish_image(path, name=name, channels=channels)
    return path


def write_labels(
    folder: Path,
    name: str,
    labels: NDArray[Any],
    classes: Sequence[str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Write a store of labels (t, y, x) into the batch `folder`."""
    path = folder / f"{name}.ome.zarr"
    labels = labels[:, None, None]
    create_store(path, labels.shape, labels.dtype)[...] = labels
    finish_labels(path, name=name, classes=classes, extra=extra)
    return path


def write_batch(
    root: Path,
    images: dict[str, tuple[NDArray[Any], NDArray[Any] | None]],
    *,
    batch: str = "one",
    classes: Sequence[str] | None = None,
    skipped: dict[str, str] | None = None,
) -> list[Path]:
    """Write the stores of a batch to `root`/images, `root`/truth and `root`/labels.

    Args:
        root: folder to write to.
        images: {name: (labels (t, y, x), ground truth (t, y, x) or None)}.
        batch: name of the batch.
        classes: names of the classes of semantic labels; None: instances.
        skipped: {name: reason} of images that ingest skipped.

    Returns:
        The folders of images, of labels and of ground truth.
    """
    folders = [root / kind / batch for kind in ("images", "labels", "truth")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (folders[0] / "skipped.json").write_text(json.dumps(skipped or {}))
    for name, (labels, truth) in images.items():
        pixels = np.stack([photograph(frame)[:, None] for frame in (labels if truth is None else truth)])
        write_image(folders[0], name, pixels)
        write_labels(folders[1], name, labels, classes)
        if truth is not None:
            write_labels(folders[2], name, truth, classes)
    return folders


def damage(file: Path) -> None:
    """Change eight bytes of a file of a store. Its length stays the same."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 4
    content[middle : middle + 8] = bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
    file.write_bytes(content)


def outputs_of(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Output (3, y, x) of a perfect network for a plane of ids: background, interior, boundary."""
    inside = (ndimage.minimum_filter(ids, 3) == ids) & (ndimage.maximum_filter(ids, 3) == ids) & (ids > 0)
    return 255 * np.stack([ids == 0, inside, (ids > 0) & ~inside]).astype(np.uint8)


def write_predictions(
    path: Path, outputs: NDArray[np.uint8], rows: Sequence[int], columns: Sequence[int], *, side_px: int
) -> list[tuple[int, int, int, int]]:
    """Write a store of predictions with seam windows that are cut out of it.

    Args:
        path: store to write.
        outputs: predictions (t, c, z, y, x).
        rows, columns: seams between tiles, in pixels.
        side_px: height and width of a seam window.

    Returns:
        The origins (t, z, y, x) of the windows.
    """
    array = create_store(path, outputs.shape, np.uint8, chunk_px=64, shard_px=128)
    array[...] = outputs
    origins = choose_seam_windows(array, rows, columns, count=4, side_px=side_px)
    height, width = seam_window_shape(outputs.shape[-2:], side_px)
    write_seam_windows(path, origins, [outputs[t, :, z, y : y + height, x : x + width] for t, z, y, x in origins])
    finish_image(path, name=path.stem, channels=[str(number) for number in range(outputs.shape[1])], levels=1)
    return origins
