"""Sweeps: every value is checked, every variant has a name that a path can have and settings of its own."""

import pytest

from tessera.common.errors import InputError
from tessera.planning.load_settings import load_settings
from tessera.planning.schema_validation import read_schema
from tessera.planning.sweeps import list_models, list_variants, read_sweep

SCHEMA = read_schema("config")


def variants_of(sweep, **train):
    """{variant: settings of its training} of a sweep, as a plan has them."""
    settings = load_settings({"sweep": sweep, "train": train}, "x")
    variants = list_variants(read_sweep(settings["sweep"], SCHEMA)[0], settings["train"])
    return {name: variant["train"] for name, variant in variants.items()}


def refusal(sweep, **sections):
    """{path: text} of what is refused."""
    with pytest.raises(InputError) as refused:
        load_settings({"sweep": sweep} | sections, "x")
    return dict(line.removeprefix("x: ").split(": ", maxsplit=1) for line in str(refused.value).splitlines())


def test_without_sweep_there_is_one_unnamed_variant():
    assert variants_of({}, epochs=3) == {"": load_settings({"train": {"epochs": 3}}, "x")["train"]}
    assert list(list_models({"": {"point": {}, "train": {}}}, ["fold1", "fold2"])) == ["fold1", "fold2"]


def test_values_of_all_settings_are_combined():
    losses = {"dice": {"dice": 1}, "both": {"dice": 1, "cross_entropy": 1}}
    variants = variants_of({"learning_rate": [0.001, 0.003], "losses": losses}, epochs=3)
    assert [*variants] == [
        "learning_rate~0.001_losses~dice",
        "learning_rate~0.001_losses~both",
        "learning_rate~0.003_losses~dice",
        "learning_rate~0.003_losses~both",
    ]
    last = variants["learning_rate~0.003_losses~both"]
    assert (last["learning_rate"], last["losses"], last["epochs"]) == (0.003, {"dice": 1.0, "cross_entropy": 1.0}, 3)


def test_settings_that_change_together_form_one_axis():
    networks = {"plain": {"architecture": "PlainUnet", "backbone": None, "width": 8}, "res": {"backbone": "resnet34"}}
    variants = variants_of({"network": networks, "seed": [0, 1]})
    assert [*variants] == ["network~plain_seed~0", "network~plain_seed~1", "network~res_seed~0", "network~res_seed~1"]
    plain, residual = variants["network~plain_seed~1"], variants["network~res_seed~1"]
    assert (plain["architecture"], plain["backbone"], plain["width"], plain["seed"]) == ("PlainUnet", None, 8, 1)
    assert (residual["architecture"], residual["backbone"], residual["width"]) == ("Unet", "resnet34", None)


def test_variants_have_a_model_in_every_fold_in_any_order():
    for values, folds in (([1, 0], ["fold2", "fold1"]), ([0, 1], ["fold1", "fold2"])):
        axes = {"seed": {str(value): {"seed": value} for value in values}}
        models = list_models(list_variants(axes, {}), folds)
        assert [*models] == ["seed~0_fold1", "seed~0_fold2", "seed~1_fold1", "seed~1_fold2"]
    last = {"variant": "seed~1", "fold": "fold2", "point": {"seed": "1"}, "train": {"seed": 1}}
    assert models["seed~1_fold2"] == last


def test_variant_has_its_values_whatever_the_axis_name():
    axes = {"learning_rate": {"0.1": {"learning_rate": 0.1}}, "rate": {"a_b": {"seed": 1}}}
    [[name, variant]] = list_variants(axes, {"epochs": 3}).items()
    assert name == "learning_rate~0.1_rate~a_b"
    assert variant["point"] == {"learning_rate": "0.1", "rate": "a_b"}
    assert variant["train"] == {"epochs": 3, "learning_rate": 0.1, "seed": 1}


def test_equal_values_have_the_same_name():
    names = [[*variants_of({"learning_rate": [value]})] for value in (0.001, "1e-3", "0.0010")]
    assert names == [["learning_rate~0.001"]] * 3
    assert [*variants_of({"clip_norm": [None, 1]})] == ["clip_norm~null", "clip_norm~1.0"]
    assert [*variants_of({"schedule": ["one_cycle", "cosine"]})] == ["schedule~one_cycle", "schedule~cosine"]


def test_loaded_sweep_names_all_values_and_loads_again():
    settings = load_settings({"sweep": {"learning_rate": ["1e-3", 0.003]}}, "x")
    assert settings["sweep"] == {"learning_rate": {"0.001": 0.001, "0.003": 0.003}}
    assert load_settings({"sweep": settings["sweep"]}, "x") == settings


@pytest.mark.parametrize(
    ("sweep", "problems"),
    [
        ({"learning_rate": [0.1, "fast"]}, {"sweep.learning_rate[2]": "'fast' is not a number, or auto"}),
        ({"losses": {"a": {"dise": 1}}}, {"sweep.losses.a.dise": "unknown setting; did you mean dice?"}),
        ({"epochs": [0]}, {"sweep.epochs[1]": "0 is out of range; give 1 to 100000"}),
        ({"epochs": [float("nan")]}, {"sweep.epochs[1]": "is not a finite number"}),
        ({"lerning_rate": [0.1]}, {"sweep.lerning_rate": "unknown setting of train; did you mean learning_rate?"}),
        ({"a": {"x": {"sed": 3}}}, {"sweep.a.x.sed": "unknown setting; did you mean seed?"}),
        (
            {"n_patches": [64, 128]},
            {"sweep.n_patches": "is a setting of augment; only settings of train can be swept"},
        ),
        ({"seed": 3}, {"sweep.seed": "3 is not a list or a section of settings"}),
        ({"seed": []}, {"sweep.seed": "has no values; give some, or remove it"}),
        ({"epochs": [2, 2.0]}, {"sweep.epochs[2]": "2.0 is duplicated"}),
        (
            {"losses": {"a": {"dice": 1}, "A": {"focal": 1}}},
            {"sweep.losses.A": "a section is duplicated"},
        ),
        (
            {"encoder_weights": ["imagenet", "weights/mine.h5"]},
            {
                "sweep.encoder_weights[2]": "'weights/mine.h5' cannot be part of a model's name; name the values, "
                "such as {first: …, second: …}"
            },
        ),
        (
            {"losses": {"a/b": {"dice": 1}}},
            {
                "sweep.losses.a/b": "is not a safe name; use letters a to z, digits and _ . + -, first a letter or "
                "digit, at most 50 characters"
            },
        ),
        (
            {"wandb_mode": ["off", "offline"]},
            {
                "sweep.wandb_mode[1]": "wandb_mode decides how a training runs, not its result; sweep another setting",
                "sweep.wandb_mode[2]": "wandb_mode decides how a training runs, not its result; sweep another setting",
            },
        ),
        (
            {"seed": [1, 2], "a": {"x": {"seed": 3}}},
            {"sweep.a": "changes seed, as sweep.seed does; change it in one of them only"},
        ),
        (
            {"losses": {"a": {"dice": 0}}},
            {"sweep.losses.a": "has no weight above 0; give one to a loss, such as {dice: 1.0}"},
        ),
        (
            {"architecture": ["Unet", "PlainUnet"]},
            {
                "sweep.architecture[2]": "with it, train.backbone is resnet18, but train.architecture is PlainUnet, "
                "which has no backbone; give null"
            },
        ),
        ({"seed": [*range(1001)]}, {"sweep": "makes 1,001 variants, more than 1,000; give fewer values"}),
        (
            {f"axis_{key}": {"v" * 50: {key: 1}} for key in ("seed", "epochs", "patience", "batch_size")},
            {"sweep": "makes names of 256 characters, more than 180; give values shorter names"},
        ),
        (3, {"sweep": "3 is not a section of settings"}),
    ],
)
def test_problem_names_the_value_and_what_would_be_right(sweep, problems):
    assert refusal(sweep) == problems


def test_cross_checks_apply_to_every_variant_and_skip_unused_values():
    losses = {"with": {"losses": {"tversky": 1}, "tversky_beta": 0.6}, "without": {"losses": {"dice": 1}}}
    assert len(variants_of({"loss": losses})) == 2
    assert "tversky" in refusal({"losses": {"a": {"dice": 1}}}, train={"tversky_beta": 0.6})["sweep.losses.a"]


def test_values_of_different_losses_are_not_compared():
    sweep = {"loss": {"a": {"losses": {"dice": 1}}, "b": {"losses": {"focal": 1}}}}
    assert "but sweep changes losses" in refusal(sweep, select_model={"metric": "val_loss"})["select_model.metric"]
    assert load_settings({"sweep": sweep, "select_model": {"metric": "val_iou"}}, "x")
    assert load_settings({"sweep": {"seed": [1, 2]}, "select_model": {"metric": "val_loss"}}, "x")
