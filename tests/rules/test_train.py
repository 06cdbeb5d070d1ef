"""Training: what it learns, what it writes, and that it goes on and comes out the same."""

import json

import numpy as np
import pytest
import zarr

import train as training
from tessera.common.errors import InputError
from tessera.networks.build import load_network
from tessera.networks.model_folder import read_model_card, read_validation_patches
from tessera.networks.tensorflow_setup import keras, tf
from tessera.planning.load_settings import load_settings
from tessera.training import checkpoint as records
from tessera.training.checkpoint import Record
from tessera.training.data_loader import training_minibatches, validation_minibatches
from tessera.training.history import progress_line, read_history, verdict
from tessera.training.learning_rate import Schedule, share_of_peak
from tessera.training.training_model import resolve_batch_size
from train import train

SETTINGS = load_settings({}, "defaults")["train"] | {
    "architecture": "PlainUnet",
    "backbone": None,
    "width": 8,
    "depth": 2,
    "learning_rate": 0.01,
    "batch_size": 8,
    "epochs": 10,
    "device": "cpu",
    "threads": 2,
}
LIMITS = {"epochs": 60, "patience": 12, "max_minutes": None, "monitor": "val_loss"}


def discs(number, side, seed):
    """Noisy images (n, y, x, 1) of discs that touch, and their background, interior and boundary (n, y, x)."""
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
    about = {
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
    (folder / "patches.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def small_patches(tmp_path_factory):
    return write_patches(tmp_path_factory.mktemp("small") / "patches")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network after 40 steps on discs."""
    folder = tmp_path_factory.mktemp("discs")
    patches = write_patches(folder / "patches", side=64, train=32, val=8)
    train(patches, "provenance", folder / "model", training_data="digest", **SETTINGS)
    return folder / "model"


@pytest.mark.slow
def test_forty_steps_on_discs_teach_what_no_untrained_network_knows(model):
    rows = read_history(model / "history.csv")
    assert rows[0]["val_iou"] < 0.3
    images, targets = discs(8, 64, seed=2)
    predicted = load_network(model)(images.astype("float32"), training=False).numpy().argmax(-1)
    overlap, union = ((predicted > 0) & (targets > 0)).sum(), ((predicted > 0) | (targets > 0)).sum()
    assert overlap / union > 0.75


@pytest.mark.slow
def test_a_model_folder_is_whole_and_says_all_about_itself(model):
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
    settings = read_model_card(model)
    rows = read_history(model / "history.csv")
    best = min(rows, key=lambda row: row["val_loss"])
    assert list(rows[0])[-2:] == ["lr", "seconds"]
    assert settings["best_epoch"] == best["epoch"]
    assert settings["validation"]["val_iou"] == pytest.approx(best["val_iou"])
    assert settings["epochs"] == len(rows) == 10
    assert settings["training_data"] == "digest"
    assert settings["pixel_size_um"] == 0.5
    assert settings["divisor"] == 32
    assert settings["settings"] == {key: value for key, value in SETTINGS.items() if key != "threads"}
    assert {choice["setting"]: choice["value"] for choice in settings["plan"]} == {
        "augment.patch_size_px": 64,
        "train.precision": "float32",
        "train.batch_size": 8,
        "train.learning_rate": 0.01,
    }
    assert settings["throughput"]["bound"] in ("input", "compute")
    assert set(settings["versions"]) == {"python", "tensorflow", "tf-keras", "segmentation-models", "numpy"}
    # No optimiser in it, which would make it three times as large.
    assert (model / "model.weights.h5").stat().st_size < 8 * settings["parameters"]


@pytest.mark.slow
def test_the_saved_model_works_without_tessera_and_gives_the_same(model):
    pixels = np.random.default_rng(0).random((2, 96, 32, 1)).astype("float32")
    loaded = tf.saved_model.load(str(model / "saved_model"))
    probabilities = loaded.serve(pixels).numpy()
    assert probabilities == pytest.approx(load_network(model)(pixels, training=False).numpy(), abs=1e-5)


@pytest.mark.slow
def test_a_model_keeps_validation_patches_on_which_it_does_as_its_history_says(model):
    images, targets = read_validation_patches(model)
    kept = zarr.open_group(model.parent / "patches" / "val.zarr", mode="r")
    assert np.array_equal(images, kept["image"][:])
    assert np.array_equal(targets, kept["target"][:])
    found = load_network(model)(images, training=False).numpy().argmax(-1)
    interior = ((found == 1) & (targets == 1)).sum() / ((found == 1) | (targets == 1)).sum()
    assert interior == pytest.approx(read_model_card(model)["validation"]["val_iou_interior"], abs=0.01)


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(small_patches, tmp_path, monkeypatch, capsys):
    settings = SETTINGS | {"epochs": 3}
    train(small_patches, "provenance", tmp_path / "whole", **settings)

    def stop(rows, limits):
        if len(rows) == 2:
            raise KeyboardInterrupt
        return progress_line(rows, limits)

    monkeypatch.setattr(records, "_SAVING_SHARE", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(records, "progress_line", stop)
        with pytest.raises(KeyboardInterrupt):
            train(small_patches, "provenance", tmp_path / "stopped", **settings)
    assert not (tmp_path / "stopped").exists()
    capsys.readouterr()
    train(small_patches, "provenance", tmp_path / "stopped", **settings)
    assert "Going on after epoch 2" in capsys.readouterr().out
    whole, stopped = (load_network(tmp_path / name).get_weights() for name in ("whole", "stopped"))
    assert all(np.array_equal(a, b) for a, b in zip(whole, stopped, strict=True))
    histories = [read_history(tmp_path / name / "history.csv") for name in ("whole", "stopped")]
    for row in histories[0] + histories[1]:
        del row["seconds"]
    assert histories[0] == histories[1]


def test_a_training_that_goes_on_keeps_its_batch_size_whatever_memory_there_is(tmp_path):
    seen = keras.Input((None, None, 1))
    asked = ("auto", keras.Model(seen, keras.layers.Conv2D(8, 3)(seen)), (4000, 512, 512, 1), "cpu")
    first = resolve_batch_size(tmp_path / "work", "provenance", *asked, 1)
    assert resolve_batch_size(tmp_path / "work", "provenance", *asked, 100_000) == first
    assert resolve_batch_size(tmp_path / "work", "another", *asked, 100_000)[0] > first[0]


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_at_its_step_and_leaves_no_model(small_patches, tmp_path):
    with pytest.raises(InputError, match=r"no longer a number (at epoch 1, batch \d|after epoch)"):
        train(small_patches, "provenance", tmp_path / "model", **SETTINGS | {"learning_rate": 1e30})
    assert not (tmp_path / "model").exists()


def test_a_side_without_patches_is_refused_by_name(tmp_path):
    patches = write_patches(tmp_path / "patches", val=0)
    with pytest.raises(InputError, match=r"val\.zarr: holds no patches"):
        train(patches, "provenance", tmp_path / "model", **SETTINGS)


def test_another_recipe_starts_anew(tmp_path):
    Record(None, tmp_path / "work", "one", LIMITS)
    (tmp_path / "work" / "history.csv").write_text("epoch")
    Record(None, tmp_path / "work", "one", LIMITS)
    assert (tmp_path / "work" / "history.csv").exists()
    Record(None, tmp_path / "work", "two", LIMITS)
    assert not (tmp_path / "work" / "history.csv").exists()


def epochs_of(images, targets, first_epoch=0, seed=0):
    """Batches of three epochs, or of those from `first_epoch` on, as one array of images each."""
    batches, steps = training_minibatches(images, targets, batch_size=4, seed=seed, first_epoch=first_epoch, epochs=3)
    batches = list(batches.as_numpy_iterator())
    return [batches[i : i + steps] for i in range(0, len(batches), steps)]


def test_an_epoch_holds_every_patch_once_with_its_target_and_no_two_are_alike():
    images, targets = discs(10, 32, seed=0)
    images = np.arange(10)[:, None, None, None] * 10 + targets[..., None].astype("float32")
    epochs = epochs_of(images, targets)
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


def test_an_epoch_depends_on_seed_and_number_alone(tmp_path):
    images, targets = discs(8, 32, seed=0)
    in_memory = epochs_of(images, targets)
    stored = zarr.create_array(tmp_path / "images.zarr", data=images, chunks=(1, 32, 32, 1))
    later = epochs_of(stored, targets, first_epoch=1)
    other = epochs_of(images, targets, seed=1)
    assert np.array_equal(in_memory[1][0][0], later[0][0][0])
    assert np.array_equal(in_memory[2][1][1], later[1][1][1])
    assert not np.array_equal(in_memory[1][0][0], other[1][0][0])


def test_fewer_patches_than_a_batch_make_one_step():
    images, targets = discs(3, 32, seed=0)
    batches, steps = training_minibatches(images, targets, batch_size=8, seed=0, first_epoch=0, epochs=2)
    assert steps == 1
    assert [len(batch[0]) for batch in batches] == [3, 3]


def test_validation_sees_every_patch_as_it_is():
    images, targets = discs(5, 32, seed=0)
    batches = list(validation_minibatches(images, targets, batch_size=2).as_numpy_iterator())
    assert [len(batch[0]) for batch in batches] == [2, 2, 1]
    assert np.array_equal(np.concatenate([batch[0] for batch in batches]), images.astype("float32"))
    assert np.array_equal(np.concatenate([batch[1] for batch in batches]), targets)


def test_large_patches_stay_on_disk(small_patches, monkeypatch):
    assert isinstance(training.read_side(small_patches / "train.zarr")[0], np.ndarray)
    monkeypatch.setattr(training, "IN_MEMORY_BYTES", 0)
    assert isinstance(training.read_side(small_patches / "train.zarr")[0], zarr.Array)


def test_the_learning_rate_rises_shortly_and_falls_to_nearly_nothing():
    rates = [share_of_peak("cosine", share) for share in np.linspace(0, 1, 201)]
    assert max(rates) == pytest.approx(1)
    assert np.argmax(rates) == 10
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.01)
    assert all(np.diff(rates[10:]) < 0)


def test_the_learning_rate_follows_the_clock_where_minutes_run_out_first():
    schedule = Schedule("cosine", 1.0, 1000, step=100, budget=60, seconds=30)
    schedule.model = keras.Sequential([keras.layers.Dense(1)])
    schedule.model.compile(keras.optimizers.Adam())
    schedule.on_epoch_begin(0)
    schedule.on_train_batch_begin(0)
    assert float(schedule.model.optimizer.learning_rate) == pytest.approx(share_of_peak("cosine", 0.5), abs=1e-2)


def history(*losses, seconds=10.0):
    return [{"epoch": i, "val_loss": loss, "seconds": seconds} for i, loss in enumerate(losses, start=1)]


@pytest.mark.parametrize(
    ("losses", "limits", "reason"),
    [
        ([], {}, None),
        ([3, 2, 1], {}, None),
        ([3, 2, 1], {"epochs": 3}, "all 3 epochs"),
        ([1, 2, 3], {"patience": 2}, "no better val_loss in 2 epochs"),
        ([1, 2, 0.5], {"patience": 2}, None),
        ([3, 2], {"max_minutes": 0.5}, None),
        ([3, 2, 1], {"max_minutes": 0.5}, "one more epoch would not fit into 0.5 minutes"),
    ],
)
def test_a_training_ends_by_epochs_patience_or_minutes(losses, limits, reason):
    found = verdict(history(*losses), **LIMITS | limits)
    assert found is None if reason is None else found.startswith(reason)


def test_progress_is_a_line_that_a_person_can_read():
    row = {"loss": 0.5, "val_iou": 0.7, "val_iou_cell": 0.7, "val_iou_edge": 0.25, "lr": 0.001}
    rows = [row | {"epoch": 1, "val_loss": 0.6, "seconds": 20.0}, row | {"epoch": 2, "val_loss": 0.5, "seconds": 10.0}]
    assert progress_line(rows, LIMITS) == (
        "epoch  2/60  loss 0.5000  val 0.5000  iou cell 0.700 edge 0.250  10.0 s  at most 14.5 min left  *"
    )
    rows.append(row | {"epoch": 3, "val_loss": 0.7, "seconds": 10.0})
    assert progress_line(rows, LIMITS | {"max_minutes": 2}).endswith("at most 1.3 min left")
