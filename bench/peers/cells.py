"""A plane full of round cells, painted block by block: its image and the probabilities of a perfect network."""

import shutil
from pathlib import Path

import numpy as np
from tasks import CORES, answer

from tessera.common.constants import INSTANCE_OUTPUTS
from tessera.io.ome_zarr_store import create_store, finish_image
from tessera.segmentation.blocks import map_blocks, split_planes

SPACING_PX = 26  # 397,000 cells in 16384²
JITTER_PX = 3.0
BLOCK_PX = 2048
CLASSES = ["background", "cell"]


def paint(rows, columns, radius, seed):
    """Depth of each pixel of two slices in its cell: float32 (y, x), negative outside.

    Cell centers are the centers of squares of SPACING_PX, moved by up to JITTER_PX. A pixel belongs to the nearest.
    """
    y, x = (np.arange(span.start, span.stop, dtype=np.float32) for span in (rows, columns))
    row, column = (np.floor_divide(line, SPACING_PX).astype(np.int64) for line in (y, x))
    moves = np.random.default_rng(seed).uniform(-JITTER_PX, JITTER_PX, (2, 509, 521)).astype(np.float32)
    nearest = np.full((len(y), len(x)), np.inf, np.float32)
    second = nearest.copy()
    for down, right in np.ndindex(3, 3):
        of_row, of_column = row + down - 1, column + right - 1
        move = moves[:, of_row % 509][:, :, of_column % 521]
        distance = np.hypot(
            (y - (of_row + 0.5) * SPACING_PX)[:, None] - move[0], (x - (of_column + 0.5) * SPACING_PX) - move[1]
        ).astype(np.float32)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    return np.minimum(radius - nearest, (second - nearest) / 2)


def run(folder, side, radius, seed=1):
    """Write `images`, `predictions` and `classes` (probabilities of CLASSES) below `folder`, each with one store.

    Args:
        folder: folder to write to.
        side: width of the plane in pixels.
        radius: radius of the cells in pixels. Cells of radius 10 do not touch; most of radius 14 do.
        seed: seed of the positions.
    """
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    paths = {kind: folder / kind / "cells.ome.zarr" for kind in ("images", "predictions", "classes")}
    channels = {"images": ["dna"], "predictions": INSTANCE_OUTPUTS, "classes": CLASSES}
    stores = {}
    for kind, path in paths.items():
        path.parent.mkdir(parents=True)
        shape = (1, len(channels[kind]), 1, side, side)
        stores[kind] = create_store(path, shape, np.uint16 if kind == "images" else np.uint8, shard_px=BLOCK_PX)

    def write(block):
        depth = paint(block.rows, block.columns, radius, seed)
        foreground = np.clip(128 + 100 * depth, 0, 255).astype(np.uint8)
        interior = np.minimum(foreground, np.clip(128 + 80 * (depth - 2), 0, 255).astype(np.uint8))
        region = (0, slice(None), 0, block.rows, block.columns)
        stores["predictions"][region] = np.stack([255 - foreground, interior, foreground - interior])
        stores["classes"][region] = np.stack([255 - foreground, foreground])
        stores["images"][region] = (500 + 40 * np.clip(depth, 0, None)).astype(np.uint16)[None]

    for _ in map_blocks(write, split_planes([0], 1, (side, side), BLOCK_PX), CORES, f"painting {side}²"):
        pass
    for kind, path in paths.items():
        finish_image(path, name="cells", channels=channels[kind], pixel_size_um=(None, 0.5, 0.5), levels=1)
    return {}


if __name__ == "__main__":
    answer(run)
