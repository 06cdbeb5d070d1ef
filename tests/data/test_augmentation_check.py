"""Transforms that damage objects cause a warning; transforms that only move and bend them do not."""

import numpy as np
import pandas as pd
import pytest

from helpers.annotated_batch import Batch, cells
from helpers.store_batches import place_discs
from tessera.data.augmentation_check import count_damage, measure_label_damage
from tessera.data.augmentation_presets import preset_transforms
from tessera.report.model_report import ModelSummary, model_warnings

MILD = [{"name": "D4", "p": 1.0}, *preset_transforms("fluorescence", 1)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    batch = Batch(tmp_path_factory.mktemp("damages"))
    for number in range(2):
        ids, pixels = cells(number, (200, 200), 20)
        batch.add(f"image{number}", "train", pixels, ids)
    return [batch.source(image) for image in batch.sides]


def test_presets_damage_no_objects(sources):
    damage = measure_label_damage(sources, MILD, 96, seed=0)
    assert damage["objects"] >= 10
    assert damage["warnings"] == []
    assert [row["setting"] for row in damage["transforms"]] == [
        "augment.transforms, entry 1 (D4)",
        "augment.transforms, entry 2 (Affine)",
        "augment.transforms, entry 3 (ElasticTransform)",
        "augment.transforms",
    ]
    assert damage["transforms"][0] == {"setting": "augment.transforms, entry 1 (D4)", "lost": 0, "cut": 0, "specks": 0}


def test_strong_warp_is_named_with_the_argument_to_lower(sources):
    tears = {"name": "ElasticTransform", "p": 0.1, "alpha": 400, "sigma": 2}
    damage = measure_label_damage(sources, [MILD[0], tears], 96, seed=0)
    assert damage["transforms"][1]["specks"] > 0.2
    (warning,) = damage["warnings"]
    assert warning.startswith("augment.transforms, entry 2 (ElasticTransform): ")
    assert warning.endswith("objects; lower alpha, or raise sigma")


def test_extreme_shrinking_is_reported_as_lost_objects(sources):
    damage = measure_label_damage(sources, [{"name": "Affine", "p": 1.0, "scale": [0.02, 0.02]}], 96, seed=0)
    assert damage["transforms"][0]["lost"] > 0.5
    assert damage["warnings"][0].endswith("narrow scale, shear and translate_percent")


def test_damage_counts_equal_hand_counts():
    before = place_discs((60, 60), [(20, 15), (20, 45), (45, 15), (45, 45)], 6)
    before[0, 0] = 9  # in no middle, and too small
    after = before.copy()
    after[before == 1] = 0
    after[20, 38:52] = 0
    after[45, 15], after[44:47, 14:17] = 3, np.where(np.eye(3), 3, 0)
    after[55:57, 10] = 4
    assert count_damage(before, after, 4).tolist() == [4, 1, 1, 1]
    assert count_damage(before, before, 4).tolist() == [4, 0, 0, 0]
    assert count_damage(before, before, 30).tolist() == [0, 0, 0, 0]


def test_connected_components_of_classes_count_as_objects(tmp_path):
    ids, pixels = cells(0, (200, 200), 20)
    names = ["background", "one", "two"]
    classes = (ids > 0).astype(np.uint8) + (ids > 10)
    source = Batch(tmp_path).add("one", "train", pixels, classes, classes=names).source("one", "semantic", names)
    assert measure_label_damage([source], MILD, 96, seed=0)["objects"] >= 5


def test_label_damage_is_among_the_warnings_of_the_report():
    table = pd.DataFrame({"image": ["a"], "frames_scored": [1]})
    models = [ModelSummary("a", label_warnings=["augment.transforms, entry 1 (Affine): loses 9%"]), ModelSummary("b")]
    assert model_warnings(table, models, [], existing=False) == [
        ("augment.transforms, entry 1 (Affine): loses 9%.", "training")
    ]
