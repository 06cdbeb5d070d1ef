"""Writes rendered patches to a Zarr group, in several threads."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tessera.common.progress import Progress
from tessera.data.patch_renderer import Patch

PER_SHARD = 32  # patches
logger = logging.getLogger(__name__)


def write_patches(
    path: Path, keys: Sequence[Any], make: Callable[[Any], Patch], shape: tuple[int, int, int], workers: int
) -> NDArray[np.int64]:
    """Write the Patch `make(key)` of each key to a Zarr group; each thread writes whole shards.

    Args:
        path: folder of the group.
        keys: argument of `make` for each patch.
        make: returns a Patch of `shape`.
        shape: (y, x, c).
        workers: number of threads.

    Returns:
        Number of target pixels of each class, (256,).
    """
    group = zarr.create_group(path, zarr_format=3)
    arrays = {
        name: group.create_array(
            name,
            shape=(len(keys), *patch_shape),
            dtype=dtype,
            chunks=(1, *patch_shape),
            shards=(PER_SHARD, *patch_shape),
        )
        for name, patch_shape, dtype in (("image", shape, "float16"), ("target", shape[:2], "uint8"))
    }

    progress = Progress(len(keys), "patches", path.stem)

    def write_shard(start: int) -> NDArray[np.int64]:
        patches = [make(key) for key in keys[start : start + PER_SHARD]]
        stop = start + len(patches)
        arrays["image"][start:stop] = np.stack([patch.pixels for patch in patches]).astype(np.float16)
        arrays["target"][start:stop] = targets = np.stack([patch.target for patch in patches])
        progress.advance(len(patches))
        return np.bincount(targets.ravel(), minlength=256)

    counts = np.zeros(256, np.int64)
    with ThreadPoolExecutor(workers) as threads:
        for shard_counts in threads.map(write_shard, range(0, len(keys), PER_SHARD)):
            counts += shard_counts
    logger.info("%s: %d patches", path.stem, len(keys))
    return counts
