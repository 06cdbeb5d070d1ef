"""Provenance hashes change with what a result depends on, and with nothing else."""

import shutil

import pytest

from tessera.planning.digests import digest_path
from tessera.planning.project import Project
from tessera.planning.provenance import Provenance
from tessera.settings.sections import SECTIONS

RULES = (
    "ingest",
    "ingest_truth",
    "split",
    "augment",
    "train",
    "select_model",
    "explain",
    "predict",
    "segment",
    "track",
    "evaluate",
    "report",
)


def hashes_of(folder, *, sides=None, models=None, existing=None, columns=None, **sections):
    """{rule: hash} of the annotated training image "a", of the one fold, of the model fold1, and of the whole.

    Args:
        sides, existing: the subsets and the existing models, see `Project`.
        models: {model: {"fold", "variant", "point", "train": settings}}; None: fold1 alone, by the section train.
        columns: {column: cell} of the table, for all images.
        sections: of the settings, changed.
    """
    settings = (
        {section: {"seed": 0, "engine": "auto"} for section in (*RULES, *SECTIONS)}
        | {"task": "instances", "classes": ["background", "cell"]}
        | sections
    )
    rows = {}
    for image, truth in (("a", "a_truth.tif"), ("b", "b_truth.tif"), ("c", None)):
        for name in filter(None, (f"{image}.tif", truth)):
            path = folder / name
            path.exists() or path.write_bytes(name.encode())
        empty = dict.fromkeys(
            ("scene", "axes", "pixel_size_um", "frame_interval_s", "group", "split", "batch", "roi", "frames", "masks")
        ) | (columns or {})
        truth_files = [folder / truth] if truth else []
        files = empty.get("files") or [folder / f"{image}.tif"]
        masks = {"masks_files": [folder / empty["masks"]] if empty["masks"] else []}
        rows[image] = empty | {
            "image": image, "batch": image, "path": f"{image}.tif", "files": files,
            "truth": truth, "truth_files": truth_files,
        } | masks  # fmt: skip
    digest_path.cache_clear()
    sides = sides or {"a": "train", "b": "test", "c": "predict"}
    learners = {"fold1": {image: side for image, side in sides.items() if side in ("train", "val")}}
    if models is None:
        models = {"fold1": {"fold": "fold1", "variant": "", "point": {}, "train": settings["train"]}}
    project = Project(
        settings=settings,
        rows=rows,
        subsets=sides,
        folds={} if existing or rows["a"]["masks"] else learners,
        models={} if existing else models,
        existing=existing or {},
    )
    provenance = Provenance(project)
    keys = {"batch": "a", "fold": "fold1", "model": "fold1", None: None}
    hashes = {
        name: provenance.hashes(name, keys[step.key])
        for name, step in provenance.steps.items()
        if name in (*RULES, "import_masks")
    }
    return {name: value["a"] if isinstance(value, dict) else value for name, value in hashes.items()}


def changed(before, after):
    return [rule for rule in before if before[rule] != after[rule]]


@pytest.mark.parametrize("rule", RULES)
def test_setting_changes_the_hashes_of_its_rule_and_of_those_after_it(tmp_path, rule):
    before = hashes_of(tmp_path)
    after = hashes_of(tmp_path, **{rule: {"seed": 1, "engine": "auto"}})
    everything_after = {
        "ingest_truth": [r for r in RULES if r not in ("ingest", "split")],
        "split": ["split", "report"],
        "explain": ["explain", "report"],
    }
    assert changed(before, after) == everything_after.get(rule, list(RULES[RULES.index(rule) :]))


def test_policy_for_bad_images_changes_no_hash(tmp_path):
    before = hashes_of(tmp_path, ingest={"on_bad_image": "fail"})
    assert changed(before, hashes_of(tmp_path, ingest={"on_bad_image": "skip"})) == []


def test_pixels_of_an_image_without_truth_change_no_training(tmp_path):
    before = hashes_of(tmp_path)
    (tmp_path / "c.tif").write_bytes(b"other pixels")
    assert changed(before, hashes_of(tmp_path)) == ["report"]


def test_pixels_of_a_test_image_change_the_leakage_check_and_no_training(tmp_path):
    before = hashes_of(tmp_path)
    (tmp_path / "b.tif").write_bytes(b"other pixels")
    assert changed(before, hashes_of(tmp_path)) == ["split", "report"]


def test_image_that_moves_between_subsets_changes_the_training(tmp_path):
    before = hashes_of(tmp_path)
    after = hashes_of(tmp_path, sides={"a": "train", "b": "train", "c": "predict"})
    assert changed(before, after) == [
        "augment",
        "train",
        "select_model",
        "explain",
        "predict",
        "segment",
        "track",
        "evaluate",
        "report",
    ]


@pytest.mark.parametrize("columns", [{"roi": [0, 64, 0, 64]}, {"frames": "0:5"}])
def test_region_or_frames_of_interest_change_training_and_prediction(tmp_path, columns):
    before = hashes_of(tmp_path)
    assert changed(before, hashes_of(tmp_path, columns=columns)) == [
        "ingest_truth",
        "augment",
        "train",
        "select_model",
        "explain",
        "predict",
        "segment",
        "track",
        "evaluate",
        "report",
    ]


def test_existing_model_replaces_all_training(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    before = hashes_of(tmp_path, existing={"model": model})
    trained = {rule: {"seed": 1} for rule in ("split", "augment", "train")}
    applied = ["select_model", "explain", "predict", "segment", "track", "evaluate", "report"]
    assert not set(applied) & set(changed(before, hashes_of(tmp_path, existing={"model": model}, **trained)))
    (model / "model.json").write_text("{ }")
    assert changed(before, hashes_of(tmp_path, existing={"model": model})) == applied


def test_names_of_the_frames_of_a_glob_change_the_hash(tmp_path):
    before, after = [], []
    for files, last in ((before, 2), (after, 3)):
        for number in (1, last):
            files.append(tmp_path / f"t{number}.tif")
            files[-1].write_bytes(b"the same")
    names = [hashes_of(tmp_path, columns={"files": files})["ingest"] for files in (before, after, before)]
    assert names[0] == names[2] != names[1]


def test_given_masks_replace_all_rules_of_networks(tmp_path):
    masks = tmp_path / "masks.tif"
    masks.write_bytes(b"1")
    columns = {"masks": masks.name}
    before = hashes_of(tmp_path, columns=columns)
    networks = {rule: {"seed": 1} for rule in ("split", "augment", "train", "explain", "predict", "segment")}
    assert changed(before, hashes_of(tmp_path, columns=columns, **networks)) == []
    imported = ["import_masks", "track", "evaluate", "report"]
    assert changed(before, hashes_of(tmp_path, columns=columns | {"frames": "0"})) == ["ingest_truth", *imported]
    assert changed(before, hashes_of(tmp_path, columns=columns, track={"seed": 1})) == imported[1:]
    masks.write_bytes(b"2")
    assert changed(before, hashes_of(tmp_path, columns=columns)) == imported


TRAINED = ["train", "select_model", "explain", "predict", "segment", "track", "evaluate", "report"]


def test_initial_weights_count_by_their_content_and_not_by_their_path(tmp_path):
    def provenance(path):
        return hashes_of(tmp_path, train={"backbone": "resnet18", "encoder_weights": path and str(path)})

    weights, copy = tmp_path / "weights.h5", tmp_path / "copy.h5"
    weights.write_bytes(b"1")
    copy.write_bytes(b"1")
    before = provenance(weights)
    assert changed(before, provenance(copy)) == []
    copy.write_bytes(b"2")
    assert changed(before, provenance(copy)) == TRAINED
    imagenet = provenance("imagenet")
    assert changed(before, provenance(None)) == changed(before, imagenet) == TRAINED
    assert changed(provenance(None), imagenet) == TRAINED


def test_initial_model_counts_by_its_weights_and_description_alone(tmp_path):
    def provenance(folder):
        return hashes_of(tmp_path, train={"encoder_weights": str(folder)})

    model, moved = tmp_path / "model", tmp_path / "moved"
    model.mkdir()
    for name in ("model.json", "model.weights.h5", "history.csv"):
        (model / name).write_bytes(b"1")
    before = provenance(model)
    shutil.copytree(model, moved)
    assert changed(before, provenance(moved)) == []
    (moved / "history.csv").write_bytes(b"2")
    assert changed(before, provenance(moved)) == []
    for name in ("model.json", "model.weights.h5"):
        (moved / name).write_bytes(b"2")
        assert changed(before, provenance(moved)) == TRAINED
        (moved / name).write_bytes(b"1")
