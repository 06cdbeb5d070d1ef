"""The data loader: minibatches for training and validation, and where the patches are."""

import numpy as np
import pytest
import zarr

from tessera.common.errors import InputError
from tessera.training import data_loader
from tessera.training.data_loader import read_patches, training_minibatches, validation_minibatches


def make_patches(number, size=32):
    """Return images (n, y, x, 1) whose pixels are 10 times their number plus their class, and classes (n, y, x)."""
    targets = np.random.default_rng(0).integers(0, 3, (number, size, size)).astype("uint8")
    return np.arange(number)[:, None, None, None] * 10 + targets[..., None].astype("float32"), targets


def read_epochs(images, targets, first_epoch=0, seed=0):
    """Return the minibatches of three epochs, or of those from `first_epoch` on, one list per epoch."""
    dataset, steps = training_minibatches(images, targets, batch_size=4, seed=seed, first_epoch=first_epoch, epochs=3)
    minibatches = list(dataset.as_numpy_iterator())
    return [minibatches[i : i + steps] for i in range(0, len(minibatches), steps)]


def test_epoch_has_every_patch_once_with_its_target_in_a_new_order():
    images, targets = make_patches(10)
    epochs = read_epochs(images, targets)
    assert [len(epoch) for epoch in epochs] == [2, 2, 2]
    orders = []
    for epoch in epochs:
        pixels, classes = (np.concatenate(arrays) for arrays in zip(*epoch, strict=True))
        assert pixels.dtype == np.float32
        assert np.array_equal(pixels[..., 0] % 10, classes)
        numbers = (pixels[:, 0, 0, 0] // 10).astype(int)
        assert len(set(numbers)) == 8
        orders.append(tuple(numbers))
        assert not np.array_equal(classes, targets[numbers])
    assert len(set(orders)) == 3


def test_epoch_depends_only_on_seed_and_number(tmp_path):
    images, targets = make_patches(8)
    in_memory = read_epochs(images, targets)
    stored = zarr.create_array(tmp_path / "images.zarr", data=images, chunks=(1, 32, 32, 1))
    later = read_epochs(stored, targets, first_epoch=1)
    other_seed = read_epochs(images, targets, seed=1)
    assert np.array_equal(in_memory[1][0][0], later[0][0][0])
    assert np.array_equal(in_memory[2][1][1], later[1][1][1])
    assert not np.array_equal(in_memory[1][0][0], other_seed[1][0][0])


def test_fewer_patches_than_the_batch_size_make_one_step():
    images, targets = make_patches(3)
    minibatches, steps = training_minibatches(images, targets, batch_size=8, seed=0, first_epoch=0, epochs=2)
    assert steps == 1
    assert [len(pixels) for pixels, _ in minibatches] == [3, 3]


def test_validation_minibatches_have_every_patch_unchanged():
    images, targets = make_patches(5)
    minibatches = list(validation_minibatches(images, targets, batch_size=2).as_numpy_iterator())
    assert [len(pixels) for pixels, _ in minibatches] == [2, 2, 1]
    assert np.array_equal(np.concatenate([pixels for pixels, _ in minibatches]), images)
    assert np.array_equal(np.concatenate([classes for _, classes in minibatches]), targets)


def write_subset(path, number):
    images, targets = make_patches(max(number, 1))
    group = zarr.open_group(path, mode="w")
    group.create_array("image", data=images[:number], chunks=(1, 32, 32, 1))
    group.create_array("target", data=targets[:number], chunks=(1, 32, 32))


def test_large_patches_stay_on_disk(tmp_path, monkeypatch):
    write_subset(tmp_path / "train.zarr", 3)
    assert isinstance(read_patches(tmp_path / "train.zarr").images, np.ndarray)
    monkeypatch.setattr(data_loader, "MAX_BYTES_IN_MEMORY", 0)
    assert isinstance(read_patches(tmp_path / "train.zarr").images, zarr.Array)


def test_subset_without_patches_is_refused_with_its_path(tmp_path):
    write_subset(tmp_path / "val.zarr", 0)
    with pytest.raises(InputError, match=r"val\.zarr: has no patches"):
        read_patches(tmp_path / "val.zarr")
