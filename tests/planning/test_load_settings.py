"""Settings: defaults, all problems at once, and words that help."""

import json
import re
import time

import pytest
import yaml
from jsonschema import Draft202012Validator

from helpers.repository import REPOSITORY
from tessera.common.errors import InputError
from tessera.planning.load_settings import check_duplicate_keys, load_settings
from tessera.planning.schema_validation import read_schema
from tessera.settings.sections import MovieSettings

SHIPPED = REPOSITORY / "config" / "config.yaml"


def refusal(config, source="config.yaml"):
    """{path: text} of what is refused."""
    with pytest.raises(InputError) as refused:
        load_settings(config, source)
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{source}: ") for line in lines)
    return dict(line.removeprefix(f"{source}: ").split(": ", maxsplit=1) for line in lines)


def parts(schema, path=""):
    """(path, schema) of every setting and section, those in lists and of single movies included."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from parts(schema[keyword], f"{path}.*")


def test_defaults_equal_the_shipped_file():
    shipped = yaml.safe_load(SHIPPED.read_text())
    assert load_settings({}, "config.yaml") == shipped
    assert load_settings(shipped, "config.yaml") == shipped


def test_shipped_file_has_the_order_of_the_schema():
    shipped = yaml.safe_load(SHIPPED.read_text())
    assert list(shipped) == list(read_schema("config")["properties"])
    for section, values in shipped.items():
        if isinstance(values, dict) and section not in ("simulate", "sweep"):
            assert list(values) == list(read_schema("config")["properties"][section]["properties"])


def test_demo_is_accepted_and_each_movie_has_all_settings():
    demo = yaml.safe_load((REPOSITORY / "config" / "demo" / "config.yaml").read_text())
    movies = load_settings(demo, "config.yaml")["simulate"]["movies"]
    known = set(read_schema("config")["properties"]["simulate"]["properties"]) - {"movies"}
    assert movies
    assert all(set(movie) == known for movie in movies.values())


@pytest.mark.parametrize("name", ["config", "images"])
def test_schema_is_valid_and_refuses_unknown_keys(name):
    Draft202012Validator.check_schema(read_schema(name))
    assert not Draft202012Validator(read_schema(name)).is_valid({"unknown": 1})


@pytest.mark.parametrize("name", ["config", "images"])
def test_every_setting_has_a_description_and_every_number_a_range(name):
    for path, part in parts(read_schema(name)):
        assert part["description"].endswith("."), path
        for choice in part.get("anyOf", [part]):
            kinds = choice.get("type", [])
            if {"number", "integer"} & set([kinds] if isinstance(kinds, str) else kinds):
                assert {"minimum", "exclusiveMinimum"} & choice.keys(), path
                assert {"maximum", "exclusiveMaximum"} & choice.keys(), path


def test_only_arguments_of_transforms_are_open():
    for path, part in parts(read_schema("config")):
        if part.get("type") == "object" and path != ".augment.transforms.*":
            assert part["additionalProperties"] is not True, path
            assert "additionalProperties" in part, path


def test_every_setting_of_a_section_has_a_default():
    for section, part in read_schema("config")["properties"].items():
        for name, setting in part.get("properties", {section: part}).items():
            assert "default" in setting, f"{section}.{name}"


def test_defaults_of_a_movie_are_those_of_its_settings():
    movies = load_settings({"simulate": {"movies": {"a": {}}}}, "x")["simulate"]["movies"]
    assert movies["a"] == MovieSettings().model_dump()


def test_movie_names_follow_the_rules_of_image_names():
    names = read_schema("config")["properties"]["simulate"]["properties"]["movies"]["propertyNames"]
    assert names["pattern"] == read_schema("images")["properties"]["image"]["pattern"]


def test_sections_may_be_partial_or_empty():
    settings = load_settings(
        {"augment": {"patch_size_px": 64}, "segment": None, "simulate": {"movies": {"a": None}}}, "x"
    )
    defaults = load_settings({}, "x")
    assert settings["augment"] == defaults["augment"] | {"patch_size_px": 64}
    assert settings["segment"] == defaults["segment"]
    assert settings["simulate"]["movies"]["a"]["frames"] == 20


def test_losses_without_a_weight_are_not_used():
    assert load_settings({"train": {"losses": {"focal": 2}}}, "x")["train"]["losses"] == {"focal": 2.0}


def test_movie_settings_override_shared_ones():
    simulate = {"frames": 5, "cells": 3, "movies": {"a": {"cells": 7}, "b": {}}}
    movies = load_settings({"simulate": simulate}, "x")["simulate"]["movies"]
    assert [(movie["frames"], movie["cells"]) for movie in movies.values()] == [(5, 7), (5, 3)]


def test_integers_and_equal_floats_give_the_same_settings():
    ones = [{"train": {"learning_rate": 1, "epochs": 1.0}}, {"train": {"learning_rate": 1.0, "epochs": 1}}]
    first, second = (json.dumps(load_settings(one, "x")) for one in ones)
    assert first == second


def test_text_is_converted_to_numbers_booleans_and_null():
    text = {"learning_rate": "1e-3", "epochs": "50", "max_minutes": "null", "encoder_weights": "null"}
    train = load_settings({"train": text}, "x")["train"]
    assert [train[name] for name in text] == [0.001, 50, None, None]
    assert isinstance(train["epochs"], int)
    assert load_settings({"segment": {"fill_holes": "False"}}, "x")["segment"]["fill_holes"] is False
    assert load_settings({"evaluate": {"iou_thresholds": ["0.5", "0.75"]}}, "x")["evaluate"]["iou_thresholds"] == [
        0.5,
        0.75,
    ]
    assert load_settings({"report": {"title": "7"}}, "x")["report"]["title"] == "7"


def test_given_configuration_is_neither_changed_nor_shared():
    config = {"augment": {"transforms": [{"name": "D4"}]}, "simulate": {"frames": 2, "movies": {"a": None}}}
    before = json.dumps(config)
    settings = load_settings(config, "x")
    settings["augment"]["transforms"][0]["p"] = 0
    load_settings({}, "x")["classes"].append("other")
    assert json.dumps(config) == before
    assert load_settings({}, "x")["classes"] == ["background", "cell"]


def test_all_problems_are_reported_at_once():
    problems = refusal(
        {
            "clases": ["a"],
            "task": "instance",
            "augment": {"patch_size_px": 100, "transforms": [{"name": "D4"}, {"name": "Afine", "p": 2}]},
            "split": {"train": 0.5},
            "predict": {"tile_px": 256, "halo_px": 128},
            "ingest": {"shard_px": 700},
        }
    )
    assert problems == {
        "clases": "unknown setting; did you mean classes?",
        "task": "'instance' is not one of instances, semantic; did you mean instances?",
        "augment.patch_size_px": "100 is not a multiple of 32; give 96 or 128, or auto",
        "augment.transforms[2].name": problems["augment.transforms[2].name"],
        "augment.transforms[2].p": "2 is out of range; give 0 to 1",
        "split.train": "train 0.5, val 0.2 and test 0.1 add up to 0.8; change them to add up to 1",
        "predict.tile_px": "256 is not larger than 2 × predict.halo_px, 256; give more, or auto",
        "ingest.shard_px": "700 is not a multiple of ingest.chunk_px, 512; give 512 or 1024",
    }
    assert problems["augment.transforms[2].name"].endswith("; did you mean Affine?")


@pytest.mark.parametrize(
    ("config", "path", "text"),
    [
        ({"epochs": 3}, "epochs", "is not a setting of this section; it belongs in train"),
        ({"train": {"seeed": 3}}, "train.seeed", "unknown setting; did you mean seed?"),
        (
            {"select_model": {"metric": "val_iuo"}},
            "select_model.metric",
            "'val_iuo' is not a metric of the validation images; give one of "
            "val_loss, val_iou, val_iou_interior, val_iou_boundary",
        ),
        ({"select_model": {"zzz": 3}}, "select_model.zzz", "unknown setting; known are metric, ensemble"),
        ({"train": {"learning_rate": "fast"}}, "train.learning_rate", "'fast' is not a number, or auto"),
        ({"split": {"train": "0,7"}}, "split.train", "'0,7' is not a number; write 0.7"),
        ({"segment": {"fill_holes": "yes"}}, "segment.fill_holes", "'yes' is not true or false"),
        ({"augment": {"patch_size_px": "nan"}}, "augment.patch_size_px", "is not a finite number"),
        ({"train": {"epochs": True}}, "train.epochs", "true is not a whole number"),
        ({"train": {"epochs": 2.5}}, "train.epochs", "2.5 is not a whole number"),
        ({"train": {"epochs": 0}}, "train.epochs", "0 is out of range; give 1 to 100000"),
        (
            {"train": {"learning_rate": 0}},
            "train.learning_rate",
            "0 is out of range; give more than 0 and at most 1, or auto",
        ),
        ({"augment": {"patch_size_px": float("nan")}}, "augment.patch_size_px", "is not a finite number"),
        ({"augment": {"patch_size_px": float("inf")}}, "augment.patch_size_px", "is not a finite number"),
        ({"classes": ["background", False]}, "classes[2]", "false is not text; put it in quotes"),
        ({"classes": ["cell"]}, "classes", "a list of 1 is too short; give at least 2"),
        (
            {"classes": ["background", "a", "a"], "task": "semantic"},
            "classes",
            "'a' is duplicated",
        ),
        ({"segment": 3}, "segment", "3 is not a section of settings"),
        (
            {"evaluate": {"iou_thresholds": [0.5, 1]}},
            "evaluate.iou_thresholds[2]",
            "1 is out of range; give at least 0.5 and less than 1",
        ),
        (
            {"evaluate": {"iou_thresholds": [0.5, 0.501]}},
            "evaluate.iou_thresholds",
            "two of them, or one and 0.5, are equal when rounded to hundredths; keep one, such as 0.5 or 0.55",
        ),
        (
            {"evaluate": {"iou_thresholds": [0.504]}},
            "evaluate.iou_thresholds",
            "two of them, or one and 0.5, are equal when rounded to hundredths; keep one, such as 0.5 or 0.55",
        ),
        ({"predict": {"halo_px": 100}}, "predict.halo_px", "100 is not a multiple of 32; give 96 or 128, or auto"),
        ({"predict": {"halo_px": "aut"}}, "predict.halo_px", "'aut' is not a whole number, or auto"),
        (
            {"predict": {"engine": "openvino", "device": "gpu"}},
            "predict.engine",
            "openvino computes on the CPU, but predict.device is gpu; give tensorflow, or another device",
        ),
        (
            {"predict": {"engine": "openvino", "precision": "float16"}},
            "predict.engine",
            "openvino has no float16 on the CPU, but predict.precision is float16; give bfloat16 or auto there",
        ),
        (
            {"predict": {"object_diameter_px": 20, "rescale": False}},
            "predict.object_diameter_px",
            "is 20, but predict.rescale is false, so no image is rescaled; give true there, or null here",
        ),
        (
            {"explain": {"n_examples": 0, "layers": ["relu0"]}},
            "explain.layers",
            "is a list of 1, but explain.n_examples is 0, so no layer is shown; give a number there, or auto here",
        ),
        (
            {"predict": {"seam_check_windows": 0}, "evaluate": {"min_seam_f1": 0.9}},
            "evaluate.min_seam_f1",
            "is 0.9, but predict.seam_check_windows is 0, so no seam is checked; give more there, or null here",
        ),
        (
            {"segment": {"max_hole_um2": 4, "fill_holes": False}},
            "segment.max_hole_um2",
            "is 4, but segment.fill_holes is false, so no hole is filled; give true there, or null here",
        ),
        (
            {"ingest_truth": {"ignore_label": 0}},
            "ingest_truth.ignore_label",
            "is 0, which means background; give a value that annotations use for nothing else",
        ),
        (
            {"ingest_truth": {"ignore_label": 1}, "task": "semantic"},
            "ingest_truth.ignore_label",
            "is 1, which means cell; give a value that annotations use for nothing else",
        ),
        (
            {"ingest_truth": {"colors": {"#ff0000": "tumor"}}},
            "ingest_truth.colors",
            "#ff0000 is tumor, which is not one of background, cell, ignore; correct it, or classes",
        ),
        (
            {"augment": {"target_pixel_size_um": 1}},
            "augment.target_pixel_size_um",
            "is 1.0, but augment.rescale_by is not pixel_size; give null",
        ),
        (
            {"augment": {"target_diameter_px": 9, "rescale_by": "pixel_size"}},
            "augment.target_diameter_px",
            "is 9.0, but augment.rescale_by is not object_diameter; give null",
        ),
        (
            {"task": "semantic", "augment": {"rescale_by": "object_diameter"}},
            "augment.rescale_by",
            "is object_diameter, but task is semantic, whose ground truth does not separate objects; give pixel_size, "
            "none or auto",
        ),
        (
            {"augment": {"preset": "em", "transforms": []}},
            "augment.preset",
            "is em, but augment.transforms replaces the preset; give auto here, or null there",
        ),
        (
            {"task": "semantic", "classes": ["background", "mean"]},
            "classes",
            "has the name mean, which the table of scores uses for the mean over classes; give another name",
        ),
        ({"augment": {"transforms": [{"p": 1}]}}, "augment.transforms[1].name", "is missing; every entry needs it"),
        (
            {"train": {"losses": {"dice": 0}}},
            "train.losses",
            "has no weight above 0; give one to a loss, such as {dice: 1.0}",
        ),
        ({"train": {"losses": {}}}, "train.losses", "has no weight above 0; give one to a loss, such as {dice: 1.0}"),
    ],
)
def test_problem_names_the_setting_and_what_would_be_right(config, path, text):
    assert refusal(config) == {path: text}


@pytest.mark.parametrize(
    ("settings", "path", "text"),
    [
        ({"train": {"backbone": "resnet19"}}, "train.backbone", "'resnet19' is not one of .*; did you mean resnet18?"),
        ({"train": {"backbone": "ResNet34"}}, "train.backbone", "did you mean resnet34?"),
        ({"sweep": {"backbone": ["resnet18", "resnet19"]}}, "sweep.backbone[2]", "did you mean resnet18?"),
        (
            {"train": {"wandb_mode": False}},
            "train.wandb_mode",
            "false is not one of off, offline, online; put it in quotes",
        ),
        ({"images": None}, "images", "is empty; it must be text"),
    ],
)
def test_similar_names_are_suggested(settings, path, text):
    (problem,) = refusal(settings).items()
    assert problem[0] == path
    assert re.search(text.replace("?", r"\?"), problem[1])


def test_duplicate_keys_are_refused_with_both_lines(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(
        "task: instances\ntrack:\n  interpolate_gaps: true\ntrain: &shared\n  epochs: 3\ntrack:\n"
        "  allow_divisions: false\n"
    )
    with pytest.raises(InputError, match=rf"{path}: track: is given in line 2 and in line 6; give it once"):
        check_duplicate_keys([path])
    path.write_text("train:\n  epochs: 3\n  epochs: 4\naugment:\n  transforms: [{p: 1}, {p: 1}]\n")
    with pytest.raises(InputError, match=rf"^{path}: train.epochs: is given in line 2 and in line 3; give it once$"):
        check_duplicate_keys([path])
    path.write_text("")
    check_duplicate_keys([path])
    path.write_text("a: &around\n  b: *around\n")
    check_duplicate_keys([path])


def test_instances_have_two_classes_and_semantic_many():
    classes = ["background", "mother", "daughter"]
    assert list(refusal({"classes": classes})) == ["classes"]
    assert load_settings({"classes": classes, "task": "semantic"}, "x")["classes"] == classes


def test_invalid_group_pattern_is_refused():
    assert "is not a regular expression" in refusal({"split": {"group_pattern": "(dish"}})["split.group_pattern"]


def test_missing_encoder_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {"train": {"encoder_weights": "weights.h5"}}
    assert "there is no file or folder weights.h5" in refusal(config)["train.encoder_weights"]
    (tmp_path / "weights.h5").touch()
    assert load_settings(config, "x")["train"]["encoder_weights"] == "weights.h5"


def test_encoder_weights_from_incomplete_or_own_models_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("yesterday", "results/models/fold1"):
        config = {"train": {"encoder_weights": folder}}
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.json").touch()
        assert "has no model.json and model.weights.h5" in refusal(config)["train.encoder_weights"]
        (tmp_path / folder / "model.weights.h5").touch()
    assert "is replaced when its own training runs again" in refusal(config)["train.encoder_weights"]
    config = {"train": {"encoder_weights": "yesterday"}}
    assert load_settings(config, "x")["train"]["encoder_weights"] == "yesterday"


def test_plain_unet_refuses_backbone_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = {"architecture": "PlainUnet", "backbone": None}
    assert "has no backbone" in refusal({"train": plain | {"encoder_weights": "imagenet"}})["train.encoder_weights"]


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "-dash", "x" * 101, "two words"])
def test_unsafe_movie_names_are_refused(name):
    assert "is not a safe name" in str(refusal({"simulate": {"movies": {name: {}}}}))


def test_cross_checks_skip_invalid_settings():
    assert list(refusal({"ingest": {"chunk_px": "big", "shard_px": 7000}})) == ["ingest.chunk_px"]
    assert list(refusal({"split": 3})) == ["split"]
    assert list(refusal({"simulate": 3})) == ["simulate"]
    assert list(refusal({"simulate": {"movies": [1]}})) == ["simulate.movies"]


def test_offered_transforms_are_accepted():
    from tessera.data.augmentation import check_transforms

    items = read_schema("config")["properties"]["augment"]["properties"]["transforms"]["items"]
    refused = {}
    for name in items["properties"]["name"]["enum"]:
        try:
            check_transforms([{"name": name}], channels=3)
        except InputError as error:
            refused[name] = str(error)
    assert refused == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "setting", "text"),
    [
        ({"architecture": "PlainUnet"}, "backbone", "has no backbone; give null"),
        ({"backbone": None}, "backbone", "Unet, which needs one"),
        ({"width": 16}, "width", "are settings of PlainUnet"),
        ({"depth": 3}, "width", "are settings of PlainUnet"),
        (
            {"deep_supervision": [1, 1, 1, 1], "architecture": "PlainUnet", "backbone": None},
            "deep_supervision",
            "has 3",
        ),
        ({"deep_supervision": [1, 1], "architecture": "PSPNet"}, "deep_supervision", "has 1 lower"),
        ({"frozen_epochs": 3}, "frozen_epochs", "from scratch has to learn"),
        ({"finetune_lr_factor": 0.2}, "finetune_lr_factor", "train.frozen_epochs is 0"),
        ({"tversky_beta": 0.6}, "tversky_beta", "train.losses has no tversky"),
        ({"weight_decay": 0.1}, "weight_decay", "train.optimizer is adam"),
        ({"class_weights": {"cell": 2}}, "class_weights", "'cell' is not an output"),
        ({"class_weights": {"background": 0, "interior": 0, "boundary": 0}}, "class_weights", "gives no output"),
        ({"class_weights": "much"}, "class_weights", "'much' is not a section of settings, or none or auto"),
        ({"monitor": "val_iou_cell"}, "monitor", "is not a metric"),
        ({"monitor": "loss"}, "monitor", "is not valid"),
        ({"batch_size": 0}, "batch_size", "0 is out of range; give 1 to 4096, or auto"),
        ({"wandb_mode": "yes"}, "wandb_mode", "is not one of off, offline, online"),
    ],
)
def test_training_settings_without_effect_are_refused(train, setting, text):
    problems = refusal({"train": train})
    assert list(problems) == [f"train.{setting}"]
    assert text in problems[f"train.{setting}"]


def test_backbones_match_those_of_the_library():
    from tessera.networks.tensorflow_setup import sm

    backbones = read_schema("config")["properties"]["train"]["properties"]["backbone"]["enum"]
    assert set(backbones) - {None} == set(sm.get_available_backbone_names())


def test_loading_is_fast():
    load_settings({}, "x")
    started = time.process_time()
    load_settings(yaml.safe_load(SHIPPED.read_text()), "x")
    assert time.process_time() - started < 0.5
