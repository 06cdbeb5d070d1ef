"""Rule train: what a network learns, the folder of the model, and interrupted trainings."""

import json
import logging

import numpy as np
import pytest
import zarr

from helpers.small_network import SMALL_NETWORK
from tessera.common.errors import InputError
from tessera.networks.build import load_network
from tessera.networks.model_folder import read_model_card, read_validation_patches
from tessera.networks.tensorflow_setup import tf
from tessera.training import checkpoint
from tessera.training.history import epoch_summary, read_history
from train import train

SETTINGS = SMALL_NETWORK


def discs(number, side, seed):
    """Return noisy images (n, y, x, 1) of touching discs, and their background, interior and boundary (n, y, x)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    depths = []
    for _ in range(number):
        centres, radii = random.uniform(0, side, (4, 2)), random.uniform(5, 10, 4)
        depths.append(np.max([r - np.hypot(y - cy, x - cx) for (cy, cx), r in zip(centres, radii, strict=True)], 0))
    depths = np.array(depths)
    images = 0.6 * (depths > 0) + random.normal(0, 0.3, depths.shape)
    targets = np.where(depths > 0, np.where(depths > 2, 1, 2), 0)
    return images[..., None].astype("float16"), targets.astype("uint8")


def write_patches(folder, side=32, train=16, val=4):
    folder.mkdir()
    for name, number, seed in (("train", train, 0), ("val", val, 1)):
        images, targets = discs(number, side, seed) if number else discs(1, side, 0)
        group = zarr.open_group(folder / f"{name}.zarr", mode="w")
        group.create_array("image", data=images[:number], chunks=(1, side, side, 1))
        group.create_array("target", data=targets[:number], chunks=(1, side, side))
    patch_info = {
        "task": "instances",
        "classes": ["background", "cell"],
        "outputs": ["background", "interior", "boundary"],
        "channels": ["grey"],
        "pixel_size_um": 0.5,
        "patch_size_px": side,
        "diameter_px": 15.0,
        "class_share": [0.7, 0.2, 0.1],
        "sources": {"train": ["a"], "val": ["b"]},
        "normalization": {"method": "percentile", "low": 1, "high": 99.8},
        "plan": [{"setting": "augment.patch_size_px", "value": 64, "reason": "cells of 15 px"}],
    }
    (folder / "patches.json").write_text(json.dumps(patch_info))
    return folder


def train_model(patches, output, training_data=None, **changes):
    """Train with SETTINGS and `changes`, which are not checked."""
    settings = SETTINGS.model_copy(update=changes)
    train(patches, settings=settings, provenance="provenance", output=output, threads=2, training_data=training_data)


@pytest.fixture(scope="module")
def small_patches(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("small") / "patches")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a model after 40 steps on discs."""
    folder = tmp_path_factory.mktemp("discs")
    patches = write_patches(folder / "patches", side=64, train=32, val=8)
    train_model(patches, folder / "model", training_data="digest")
    return folder / "model"


@pytest.mark.slow
def test_network_learns_discs_in_forty_steps(model):
    rows = read_history(model / "history.csv")
    assert rows[0]["val_iou"] < 0.3
    images, targets = discs(8, 64, seed=2)
    predicted = load_network(model)(images.astype("float32"), training=False).numpy().argmax(-1)
    overlap, union = ((predicted > 0) & (targets > 0)).sum(), ((predicted > 0) | (targets > 0)).sum()
    assert overlap / union > 0.75


@pytest.mark.slow
def test_model_folder_is_complete_and_model_card_describes_the_training(model):
    assert sorted(path.name for path in model.iterdir()) == [
        "curves.png",
        "history.csv",
        "last.weights.h5",
        "model.json",
        "model.weights.h5",
        "saved_model",
        "validation.zarr",
    ]
    assert not list(model.parent.glob(".*"))
    card = read_model_card(model)
    rows = read_history(model / "history.csv")
    best = min(rows, key=lambda row: row["val_loss"])
    assert list(rows[0])[-2:] == ["lr", "seconds"]
    assert card["best_epoch"] == best["epoch"]
    assert card["validation"]["val_iou"] == pytest.approx(best["val_iou"])
    assert card["epochs"] == len(rows) == 10
    assert card["training_data"] == "digest"
    assert card["pixel_size_um"] == 0.5
    assert card["divisor"] == 32
    assert card["settings"] == SETTINGS.model_dump()
    assert {choice["setting"]: choice["value"] for choice in card["plan"]} == {
        "augment.patch_size_px": 64,
        "train.precision": "float32",
        "train.batch_size": 8,
        "train.learning_rate": 0.01,
    }
    assert card["throughput"]["bound"] in ("input", "compute")
    assert set(card["versions"]) == {"python", "tensorflow", "tf-keras", "segmentation-models", "numpy"}
    # The state of the optimizer is not in it; it would make the file three times as large.
    assert (model / "model.weights.h5").stat().st_size < 8 * card["parameters"]


@pytest.mark.slow
def test_saved_model_predicts_the_same_without_tessera(model):
    pixels = np.random.default_rng(0).random((2, 96, 32, 1)).astype("float32")
    loaded = tf.saved_model.load(str(model / "saved_model"))
    probabilities = loaded.serve(pixels).numpy()
    assert probabilities == pytest.approx(load_network(model)(pixels, training=False).numpy(), abs=1e-5)


@pytest.mark.slow
def test_kept_validation_patches_reproduce_the_score_of_the_history(model):
    images, targets = read_validation_patches(model)
    kept = zarr.open_group(model.parent / "patches" / "val.zarr", mode="r")
    assert np.array_equal(images, kept["image"][:])
    assert np.array_equal(targets, kept["target"][:])
    predicted = load_network(model)(images, training=False).numpy().argmax(-1)
    interior = ((predicted == 1) & (targets == 1)).sum() / ((predicted == 1) | (targets == 1)).sum()
    assert interior == pytest.approx(read_model_card(model)["validation"]["val_iou_interior"], abs=0.01)


@pytest.mark.slow
def test_interrupted_training_continues_to_the_same_weights(small_patches, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    train_model(small_patches, tmp_path / "whole", epochs=3)

    def interrupt(rows, rule):
        if len(rows) == 2:
            raise KeyboardInterrupt
        return epoch_summary(rows, rule)

    monkeypatch.setattr(checkpoint, "MAX_SAVING_FRACTION", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "epoch_summary", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_model(small_patches, tmp_path / "stopped", epochs=3)
    assert not (tmp_path / "stopped").exists()
    train_model(small_patches, tmp_path / "stopped", epochs=3)
    assert "Continuing after epoch 2" in caplog.text
    whole, stopped = (load_network(tmp_path / name).get_weights() for name in ("whole", "stopped"))
    assert all(np.array_equal(a, b) for a, b in zip(whole, stopped, strict=True))
    histories = [read_history(tmp_path / name / "history.csv") for name in ("whole", "stopped")]
    for row in histories[0] + histories[1]:
        del row["seconds"]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_loss_that_is_not_finite_stops_the_training_and_leaves_no_model(small_patches, tmp_path):
    with pytest.raises(InputError, match=r"loss (is no longer finite at epoch 1, minibatch \d|after epoch)"):
        train_model(small_patches, tmp_path / "model", learning_rate=1e30)
    assert not (tmp_path / "model").exists()


def test_subset_without_patches_is_refused_with_its_path(tmp_path):
    patches = write_patches(tmp_path / "patches", val=0)
    with pytest.raises(InputError, match=r"val\.zarr: has no patches"):
        train_model(patches, tmp_path / "model")
