"""Data loader: reads the patches of a training and feeds the network with minibatches.

The order of the patches and their random rotations and flips depend only on the seed and the number of the epoch, so an
interrupted training that continues sees the same minibatches.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.data.dihedral import apply_dihedral
from tessera.networks.tensorflow_setup import tf

MAX_BYTES_IN_MEMORY = 2**31


class PatchSet(NamedTuple):
    """The patches of one subset, train or val, in memory or as Zarr arrays.

    Attributes:
        images: (n, y, x, c) float16, normalized, y = x.
        targets: (n, y, x) uint8, the class of each pixel.
    """

    images: Any
    targets: Any


def read_patches(path: StrPath) -> PatchSet:
    """Open train.zarr or val.zarr; read it into memory if it has at most MAX_BYTES_IN_MEMORY.

    Raises:
        InputError: there are no patches.
    """
    group = zarr.open_group(path, mode="r")
    images: Any = group["image"]
    targets: Any = group["target"]
    if images.shape[0] == 0:
        raise InputError(
            f"{path}: has no patches; give annotated images to this subset, by the column split of the table or by the "
            f"section split of the settings (subset {Path(path).stem})"
        )
    if images.nbytes + targets.nbytes > MAX_BYTES_IN_MEMORY:
        return PatchSet(images, targets)
    return PatchSet(images[:], targets[:])


def training_minibatches(
    images: Any, targets: Any, *, batch_size: int, seed: int, first_epoch: int, epochs: int
) -> tuple[Any, int]:
    """Return shuffled minibatches of the epochs `first_epoch` to `epochs` - 1, each patch rotated or flipped at random.

    Args:
        images: (n, y, x, c), y = x, an array in memory or a Zarr array.
        targets: (n, y, x) uint8.
        batch_size: patches per minibatch.
        seed: of the random order and orientation.
        first_epoch: number of the first epoch, from 0.
        epochs: number of the last epoch, plus 1.

    Returns:
        A tf.data.Dataset of float32 (b, y, x, c) and uint8 (b, y, x), and its number of steps per epoch.
    """
    steps = max(1, images.shape[0] // batch_size)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((seed, epoch)).permutation(images.shape[0])

    def load(number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        epoch, step = divmod(int(number), steps)
        indices = order(epoch)[step * batch_size : (step + 1) * batch_size]
        orientations = np.random.default_rng((seed, epoch, step)).integers(8, size=len(indices))
        pairs = [
            (apply_dihedral(images[index], orientation), apply_dihedral(targets[index], orientation))
            for index, orientation in zip(indices, orientations, strict=True)
        ]
        return _stack(pairs)

    numbers = tf.data.Dataset.range(first_epoch * steps, epochs * steps)
    return _make_dataset(numbers, load, images), steps


def validation_minibatches(images: Any, targets: Any, *, batch_size: int) -> Any:
    """Return minibatches of all patches, in order and unchanged; see `training_minibatches`."""

    def load(number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        indices = range(int(number), min(int(number) + batch_size, images.shape[0]))
        return _stack([(images[i], targets[i]) for i in indices])

    return _make_dataset(tf.data.Dataset.range(0, images.shape[0], batch_size), load, images)


def _stack(pairs: Sequence[tuple[Any, Any]]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    images, targets = zip(*pairs, strict=True)
    return np.stack(images).astype(np.float32), np.stack(targets)


def _make_dataset(numbers: Any, load: Callable[[int], tuple[Any, Any]], images: Any) -> Any:
    """Return the dataset of `load(number)` for each of `numbers`, prefetched."""

    def load_in_graph(number: Any) -> tuple[Any, Any]:
        patches, targets = tf.numpy_function(load, [number], [tf.float32, tf.uint8])
        patches.set_shape((None, *images.shape[1:]))
        targets.set_shape((None, *images.shape[1:3]))
        return patches, targets

    return numbers.map(load_in_graph).prefetch(tf.data.AUTOTUNE)
