"""Patches as a network is fed with them."""

import functools

import numpy as np

from tessera.data.dihedral import apply_dihedral
from tessera.networks.tensorflow_setup import tf


def training_minibatches(images, targets, *, batch_size, seed, first_epoch, epochs):
    """Batches of `epochs` passes over all patches, from `first_epoch` on, each in an order and turned at random.

    What an epoch looks like depends on the seed and its number alone.

    Args:
        images: (n, y, x, c), y = x, an array in memory or a Zarr array.
        targets: (n, y, x) uint8.

    Returns:
        A tf.data.Dataset of float32 (b, y, x, c) and uint8 (b, y, x), and its number of steps in an epoch.
    """
    steps = max(1, images.shape[0] // batch_size)

    @functools.lru_cache(maxsize=2)
    def order(epoch):
        return np.random.default_rng((seed, epoch)).permutation(images.shape[0])

    def load(number):
        epoch, step = divmod(int(number), steps)
        chosen = order(epoch)[step * batch_size : (step + 1) * batch_size]
        ways = np.random.default_rng((seed, epoch, step)).integers(8, size=len(chosen))
        pairs = [
            (apply_dihedral(images[i], way), apply_dihedral(targets[i], way))
            for i, way in zip(chosen, ways, strict=True)
        ]
        return _stacked(pairs)

    numbers = tf.data.Dataset.range(first_epoch * steps, epochs * steps)
    return _dataset(numbers, load, images), steps


def validation_minibatches(images, targets, *, batch_size):
    """All patches as they are, in order, as in `training_minibatches`."""

    def load(number):
        chosen = range(int(number), min(int(number) + batch_size, images.shape[0]))
        return _stacked([(images[i], targets[i]) for i in chosen])

    return _dataset(tf.data.Dataset.range(0, images.shape[0], batch_size), load, images)


def _stacked(pairs):
    images, targets = zip(*pairs, strict=True)
    return np.stack(images).astype(np.float32), np.stack(targets)


def _dataset(numbers, load, images):
    def batch(number):
        patches, targets = tf.numpy_function(load, [number], [tf.float32, tf.uint8])
        patches.set_shape((None, *images.shape[1:]))
        targets.set_shape((None, *images.shape[1:3]))
        return patches, targets

    return numbers.map(batch).prefetch(tf.data.AUTOTUNE)
