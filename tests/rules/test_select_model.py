"""Rule select_model: the best variant and model by a metric, ensembles, halos and converted models."""

import json
import logging

import numpy as np
import pytest

from select_model import select_model
from tessera.common.constants import MODEL_FORMAT, SAVED_MODEL_FOLDER, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.inference.halo_size import UNMEASURED
from tessera.networks.model_folder import write_validation_patches
from tessera.networks.tensorflow_setup import keras
from tessera.settings.sections import SelectModelSettings
from tessera.training.model_selection import check_compatible, choose_best, choose_metric, summarize_variants

CHANNELS, OUTPUTS = ["grey"], ["background", "cell"]


def blur(px):
    """Return a network that averages over `px` pixels up, down, left and right."""
    side = 2 * px + 1
    options = {"padding": "same", "use_bias": False, "kernel_initializer": keras.initializers.Constant(1 / side)}
    seen = keras.Input((None, None, 1))
    rows = keras.layers.Conv2D(1, (side, 1), **options)(seen)
    cell = keras.layers.Conv2D(1, (1, side), **options)(rows)
    return keras.Model(seen, keras.layers.Concatenate()([1 - cell, cell]))


def write_folder(folder, network, *, loss=0.5, iou=0.5, **changes):
    """Write the folder of a model whose best epoch is 2."""
    folder.mkdir()
    settings = {"format": MODEL_FORMAT, "task": "semantic", "channels": CHANNELS, "outputs": OUTPUTS, "best_epoch": 2}
    settings |= {"normalization": {"method": "percentile"}}
    (folder / "model.json").write_text(json.dumps(settings | changes))
    (folder / "history.csv").write_text(f"epoch,val_loss,val_iou,odd\n1,0.9,0.99,nan\n2,{loss},{iou},nan\n")
    network.export(folder / SAVED_MODEL_FOLDER)
    return folder


@pytest.fixture(scope="module")
def networks():
    return {"wide": blur(50), "deep": blur(3)}


@pytest.fixture
def models(tmp_path, networks):
    """Two models; the second has the smaller loss, the smaller IoU and the smaller halo."""
    folders = [
        write_folder(tmp_path / "wide", networks["wide"], loss=0.4, iou=0.7),
        write_folder(tmp_path / "deep", networks["deep"], loss=0.3, iou=0.6),
    ]
    images = np.random.default_rng(0).uniform(0.3, 0.9, (2, 96, 96, 1)).astype(np.float32)
    for folder in folders:
        write_validation_patches(folder, images, np.zeros((2, 96, 96), np.uint8))
    return folders


def select(models, metric, ensemble="best", **options):
    """Run the rule, and return the content of selected.json."""
    root = models[0].parent
    settings = SelectModelSettings(metric=metric, ensemble=ensemble)
    paths = {"output": root / "selected.json", "converted": root / "converted"}
    select_model(models, settings=settings, **paths, device="cpu", threads=2, **options)
    return json.loads((root / "selected.json").read_text())


def test_smallest_loss_wins_and_largest_of_any_other_metric(models):
    content = select(models, "val_loss")
    measured = content.pop("halo")
    assert content == {
        "model": "deep",
        "metric": "val_loss",
        "value": 0.3,
        "candidates": {"wide": 0.4, "deep": 0.3},
        "variant": "deep",
        "variants": {
            "wide": {"models": ["wide"], "mean": 0.4, "spread": None},
            "deep": {"models": ["deep"], "mean": 0.3, "spread": None},
        },
        "note": None,
        "members": ["deep"],
        "halo_px": 32,
        "thresholds": None,
        "tuning": {"deep": None},
    }
    assert [row["halo_px"] for row in measured["deep"]] == [32]
    assert sorted(path.name for path in (models[0].parent / "converted").iterdir()) == ["deep.bin", "deep.xml"]
    # Not the 0.99 of epoch 1, whose weights were not kept.
    assert select(models, "val_iou")["model"] == "wide"
    assert select(models, "val_iou")["value"] == 0.7


def test_ensemble_of_all_models_has_the_largest_halo(models):
    content = select(models, "val_loss", ensemble="all")
    assert content["model"] == "deep"
    assert content["members"] == ["wide", "deep"]
    assert content["halo_px"] == 64
    assert [row["halo_px"] for row in content["halo"]["wide"]] == [32, 64]
    converted = models[0].parent / "converted"
    assert sorted(path.name for path in converted.iterdir()) == ["deep.bin", "deep.xml", "wide.bin", "wide.xml"]


def test_single_foreign_model_needs_no_history(tmp_path, networks):
    model = write_folder(tmp_path / "foreign", networks["deep"], best_epoch=None)
    (model / "history.csv").unlink()
    content = select([model], "val_loss")
    assert (content["model"], content["value"], content["members"]) == ("foreign", None, ["foreign"])


def test_models_without_histories_make_an_ensemble_or_are_refused(tmp_path, networks):
    folders = [write_folder(tmp_path / name, networks["deep"]) for name in "ab"]
    for folder in folders:
        (folder / "history.csv").unlink()
        card = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({key: card[key] for key in card if key != "best_epoch"}))
    assert select(folders, "val_loss", ensemble="all")["members"] == ["a", "b"]
    with pytest.raises(InputError, match=r"no model has a value of val_loss; .*ensemble to all"):
        select(folders, "val_loss")


def test_model_without_validation_patches_gets_the_safe_halo(tmp_path, networks, caplog):
    caplog.set_level(logging.INFO)
    model = write_folder(tmp_path / "foreign", networks["deep"])
    content = select([model], "val_loss")
    assert content["halo_px"] == UNMEASURED
    assert content["halo"] == {"foreign": []}
    assert "has no validation patches" in caplog.text


def test_models_are_not_converted_for_tensorflow(tmp_path, networks):
    model = write_folder(tmp_path / "wide", networks["deep"])
    networks["deep"].save_weights(model / WEIGHTS_H5)
    select([model], "val_loss", engine="tensorflow")
    assert list((tmp_path / "converted").iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "instances"),
        ("channels", ["red"]),
        ("outputs", ["cell", "background"]),
        ("normalization", {"method": "none"}),
        ("scale", {"method": "pixel_size", "typical": 0.5, "range": [0.5, 0.5]}),
    ],
)
def test_models_with_different_inputs_or_outputs_make_no_ensemble(key, value):
    one = {"task": "semantic", "channels": CHANNELS, "outputs": OUTPUTS, "normalization": {"method": "percentile"}}
    check_compatible({"a": one, "b": dict(one)})
    with pytest.raises(InputError, match=rf"select_model\.ensemble: models differ in {key} \(a: .*; b: .*\)"):
        check_compatible({"a": one, "b": one | {key: value}})


def test_selected_model_with_a_damaged_network_is_refused(models):
    (models[1] / SAVED_MODEL_FOLDER / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match=r"deep/saved_model: OpenVINO cannot read"):
        select(models, "val_loss")


def test_unknown_metric_is_refused_with_the_columns_of_the_history(models):
    with pytest.raises(InputError, match=r"accuracy is not a column of .* epoch, val_loss, val_iou, odd"):
        select(models, "accuracy")


def test_model_without_a_value_cannot_win(models):
    with pytest.raises(InputError, match="no model has a value of odd"):
        select(models, "odd")
    assert choose_best({"a": None, "b": 0.1}, "val_iou") == "b"


def test_iou_of_a_class_with_the_name_of_a_loss_is_maximized():
    assert choose_best({"a": 0.2, "b": 0.8}, "val_iou_bone_loss") == "b"


def test_first_name_wins_among_equal_values():
    assert choose_best({"b": 0.5, "a": 0.5}, "val_loss") == "a"
    assert choose_best({"b": 0.5, "a": 0.5}, "val_iou") == "a"


@pytest.fixture
def folds(tmp_path, networks):
    """Two variants in two folds: "steady" is the better by the mean of val_iou, "lucky" has the best model."""
    scores = {"steady_fold1": 0.7, "steady_fold2": 0.72, "lucky_fold1": 0.8, "lucky_fold2": 0.5}
    images = np.random.default_rng(0).uniform(0.3, 0.9, (2, 96, 96, 1)).astype(np.float32)
    folders = []
    for name, iou in scores.items():
        folders.append(write_folder(tmp_path / name, networks["deep"], iou=iou))
        write_validation_patches(folders[-1], images, np.zeros((2, 96, 96), np.uint8))
    return folders


def test_variant_with_the_best_mean_wins_and_all_its_folds_predict(folds):
    variants = {folder.name: folder.name.split("_")[0] for folder in folds}
    content = select(folds, "val_iou", ensemble="auto", variants=variants)
    assert (content["variant"], content["model"]) == ("steady", "steady_fold2")
    assert content["members"] == ["steady_fold1", "steady_fold2"]
    assert content["variants"]["steady"]["mean"] == pytest.approx(0.71)
    # Standard deviation of two values, n - 1: their difference over the root of two.
    assert content["variants"]["lucky"]["spread"] == pytest.approx(0.3 / 2**0.5)
    assert select(folds, "val_iou", ensemble="best", variants=variants)["members"] == ["steady_fold2"]
    assert len(select(folds, "val_iou", ensemble="all", variants=variants)["members"]) == 4


def test_models_without_variants_are_variants_of_their_own(folds):
    content = select(folds, "val_iou", ensemble="auto")
    assert (content["variant"], content["members"]) == ("lucky_fold1", ["lucky_fold1"])


def test_mean_of_a_variant_ignores_folds_without_a_value():
    variants = {"a1": "a", "a2": "a", "b1": "b"}
    summaries = summarize_variants(variants, {"a1": 0.4, "a2": None, "b1": None})
    assert summaries["a"] == {"models": ["a1", "a2"], "mean": 0.4, "spread": None}
    assert summaries["b"]["mean"] is None


def test_auto_metric_is_the_monitored_one():
    assert choose_metric("auto", [{}, {}]) == ("val_loss", None)
    assert choose_metric("auto", [{"monitor": "val_iou_cell"}] * 2) == ("val_iou_cell", None)
    assert choose_metric("val_iou", [{"losses": {"dice": 1}}, {}]) == ("val_iou", None)


def test_different_losses_are_not_compared():
    trainings = [{"losses": {"dice": 1}}, {"losses": {"focal": 1}}]
    metric, note = choose_metric("auto", trainings)
    assert metric == "val_iou"
    assert note.endswith("because they differ in losses, and values of different losses are not comparable.")
    with pytest.raises(InputError, match=r"select_model\.metric: is val_loss, but the models differ in losses"):
        choose_metric("val_loss", trainings)
    metric, note = choose_metric("auto", [{"monitor": "val_iou"}, {"monitor": "val_loss"}])
    assert (metric, note) == ("val_iou", "Models are compared by val_iou, because they monitored val_iou and val_loss.")


def test_note_says_why_another_metric_was_taken(tmp_path, networks, caplog):
    caplog.set_level(logging.INFO)
    settings = [{"class_weights": "none"}, {"class_weights": "auto"}]
    folders = [write_folder(tmp_path / f"m{n}", networks["deep"], settings=one) for n, one in enumerate(settings)]
    content = select(folders, "auto")
    assert content["metric"] == "val_iou"
    assert "differ in class_weights" in content["note"]
    assert content["note"] in caplog.text


def test_damaged_model_is_refused_with_the_faulty_file(models):
    (models[0] / "history.csv").write_text("epoch,val_loss\n1,0.5\n")
    with pytest.raises(InputError, match=r"wide/history\.csv: has no epoch 2"):
        select(models, "val_loss")
    (models[0] / "history.csv").unlink()
    with pytest.raises(InputError, match=r"wide/history\.csv: has no epoch 2"):
        select(models, "val_loss")
    (models[0] / "model.json").unlink()
    with pytest.raises(InputError, match=r"wide/model\.json"):
        select(models, "val_loss")
