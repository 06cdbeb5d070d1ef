"""The folder of a model: its model card, validation patches and digest."""

import json

import numpy as np
import pytest
import zarr

from tessera.common.constants import MODEL_FORMAT, MODEL_JSON, VALIDATION_ZARR
from tessera.common.errors import InputError
from tessera.networks.model_folder import (
    digest_model,
    read_model_card,
    read_validation_patches,
    write_validation_patches,
)


@pytest.fixture
def folder(tmp_path):
    card = {"format": MODEL_FORMAT, "task": "semantic", "channels": ["red", "green"], "outputs": ["a", "b"]}
    (tmp_path / MODEL_JSON).write_text(json.dumps(card | {"normalization": {"method": "percentile"}}))
    return tmp_path


def patches(number, side=32, channels=2):
    random = np.random.default_rng(0)
    images = random.random((number, side, side, channels)).astype(np.float16)
    return images, random.integers(0, 2, (number, side, side), np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalization": {"method": "zscore"}}, "its normalization is {'method': 'zscore'}"),
        ({"normalization": {"method": "percentile", "low": 0}}, "its normalization is"),
        ({"normalization": {"method": "fixed", "contrast_limits": [[0, 1]]}}, "two numbers for each of 2 channels"),
        ({"scale": {"method": "pixel_size", "typical": 0, "range": [1, 1]}}, "its scale is"),
        ({"pixel_size_um": "0.5"}, "must be positive numbers or null"),
        ({"diameter_px": 0}, "must be positive numbers or null"),
        ({"pixel_size_um_range": 0.5}, "must be positive numbers or null"),
        ({"pixel_size_um_range": [0.5]}, "must be positive numbers or null"),
        ({"channels": []}, "missing or invalid entries: channels"),
    ],
)
def test_model_card_with_invalid_entries_is_refused(folder, changes, message):
    path = folder / MODEL_JSON
    card = json.loads(path.read_text())
    sizes = {"pixel_size_um": 0.5, "pixel_size_um_range": [0.4, 1], "diameter_px": 20.5}
    path.write_text(json.dumps(card | sizes | {"normalization": {"method": "percentile", "low": 1, "high": 99.8}}))
    read_model_card(folder)
    path.write_text(json.dumps(card | changes))
    with pytest.raises(InputError) as refused:
        read_model_card(folder)
    assert f"{path}: " in str(refused.value)
    assert message in str(refused.value)


def test_few_validation_patches_are_all_kept_unchanged(folder):
    images, targets = patches(5)
    write_validation_patches(folder, images, targets)
    kept = read_validation_patches(folder)
    assert kept[0].dtype == np.float32
    assert kept[1].dtype == np.uint8
    assert np.array_equal(kept[0], images)
    assert np.array_equal(kept[1], targets)


def test_many_validation_patches_are_thinned_to_sixteen_from_first_to_last(folder, tmp_path):
    images, targets = patches(100)
    stored = zarr.create_array(tmp_path / "images.zarr", data=images)
    write_validation_patches(folder, stored, targets)
    kept = read_validation_patches(folder)
    assert kept[0].shape == (16, 32, 32, 2)
    assert np.array_equal(kept[0][[0, -1]], images[[0, -1]])
    assert np.array_equal(kept[1][[0, -1]], targets[[0, -1]])


def test_model_without_validation_patches_gives_none(folder):
    assert read_validation_patches(folder) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"image": ((4, 32, 32, 3), (1, 32, 32, 3), "f2")},
        {"image": ((4, 32, 32), (1, 32, 32), "f2")},
        {"image": ((4, 32, 32, 2), (1, 32, 32, 2), "c8")},
        {"image": ((4, 32, 32, 2), (1, 32, 2**20, 2), "f2")},
        {"target": ((4, 32, 64), (1, 32, 64), "u1")},
        {"target": ((4, 32, 32), (1, 32, 32), "i8")},
        {"target": ((), (), "u1")},
        {"image": ((0, 32, 32, 2), (1, 32, 32, 2), "f2"), "target": ((0, 32, 32), (1, 32, 32), "u1")},
        {"image": ((10**9, 32, 32, 2), (1, 32, 32, 2), "f2"), "target": ((10**9, 32, 32), (1, 32, 32), "u1")},
        {"image": ((4, 2**20, 32, 2), (1, 2**20, 32, 2), "f2"), "target": ((4, 2**20, 32), (1, 2**20, 32), "u1")},
        {"image": ((4, 40, 32, 2), (1, 40, 32, 2), "f2"), "target": ((4, 40, 32), (1, 40, 32), "u1")},
    ],
)
def test_validation_patches_of_invalid_form_are_refused_before_they_are_read(folder, changes):
    group = zarr.create_group(folder / VALIDATION_ZARR)
    usual = {"image": ((4, 32, 32, 2), (1, 32, 32, 2), "f2"), "target": ((4, 32, 32), (1, 32, 32), "u1")}
    for name, (shape, chunks, dtype) in (usual | changes).items():
        group.create_array(name, shape=shape, chunks=chunks, dtype=dtype)
    with pytest.raises(
        InputError, match=rf"{VALIDATION_ZARR}: cannot be read \(.*; remove it, or train the model again"
    ):
        read_validation_patches(folder)


@pytest.mark.parametrize("lost", ["zarr.json", "image/zarr.json", "target/zarr.json"])
def test_validation_patches_with_missing_files_are_refused_with_their_path(folder, lost):
    write_validation_patches(folder, *patches(3))
    (folder / VALIDATION_ZARR / lost).unlink()
    with pytest.raises(InputError, match=rf"{VALIDATION_ZARR}: cannot be read"):
        read_validation_patches(folder)


def test_truncated_chunk_of_validation_patches_is_refused_with_its_path(folder):
    write_validation_patches(folder, *patches(3))
    chunk = next(path for path in (folder / VALIDATION_ZARR / "image" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-20])
    with pytest.raises(InputError, match=rf"{VALIDATION_ZARR}: cannot be read"):
        read_validation_patches(folder)


def test_digest_depends_on_model_card_weights_and_graph_only(folder):
    digests = [digest_model(folder)]
    for path in ("model.weights.h5", "saved_model/saved_model.pb", "saved_model/variables/index"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"1")
        digests.append(digest_model(folder))
        (folder / path).write_bytes(b"2")
        digests.append(digest_model(folder))
    (folder / MODEL_JSON).write_text("{}")
    digests.append(digest_model(folder))
    assert len(set(digests)) == 8
    (folder / "history.csv").write_text("epoch\n")
    assert digest_model(folder) == digests[-1]
