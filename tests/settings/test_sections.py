"""The classes of settings: what they accept, and that old names are refused with the new ones."""

import pytest
from pydantic import ValidationError

from tessera.common.errors import InputError
from tessera.planning.image_table import load_table
from tessera.planning.load_settings import load_settings
from tessera.settings import renamed
from tessera.settings.images_table import ImageRow
from tessera.settings.sections import SECTIONS, AugmentSettings, EvaluateSettings, SegmentSettings, TrainSettings


def nested(path, value):
    section, _, key = path.partition(".")
    return {section: {key: value}}


@pytest.mark.parametrize("section", SECTIONS)
def test_loaded_settings_are_accepted_unchanged_by_their_class(section):
    loaded = load_settings({"augment": {"transforms": [{"name": "Affine", "scale": [0.9, 1.1]}]}}, "x")[section]
    dumped = SECTIONS[section].model_validate(loaded).model_dump()
    assert {key: dumped[key] for key in loaded} == loaded


def test_sections_refuse_unknown_settings_and_changes():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SegmentSettings(foreground=0.5)
    settings = SegmentSettings(min_area_px=4)
    with pytest.raises(ValidationError, match="frozen"):
        settings.min_area_px = 5
    assert settings.min_area_px == 4


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (SegmentSettings, {"seed_threshold": 1.1}),
        (AugmentSettings, {"patch_size_px": 100}),
        (AugmentSettings, {"transforms": [{"name": "Afine"}]}),
        (EvaluateSettings, {"iou_thresholds": [0.5, 0.5]}),
        (TrainSettings, {"losses": {"dise": 1}}),
        (TrainSettings, {"clip_norm": float("nan")}),
    ],
)
def test_sections_refuse_invalid_values(section, values):
    with pytest.raises(ValidationError):
        section(**values)


@pytest.mark.parametrize(("old", "new"), renamed.SETTINGS.items())
def test_old_settings_are_refused_with_the_new_name(old, new):
    with pytest.raises(InputError, match=rf"^config\.yaml: {old}: was renamed to {new}$"):
        load_settings(nested(old, 1), "config.yaml")


@pytest.mark.parametrize(("old", "new"), renamed.SECTIONS.items())
def test_old_sections_are_refused_with_the_new_name(old, new):
    with pytest.raises(InputError, match=rf"^config\.yaml: {old}: was renamed to {new}$"):
        load_settings({old: {}}, "config.yaml")


@pytest.mark.parametrize(
    ("path", "old", "new"), [(path, old, new) for path, values in renamed.VALUES.items() for old, new in values.items()]
)
def test_old_values_are_refused_with_the_new_value(path, old, new):
    value = {"true": True, "false": False}.get(old, old)
    with pytest.raises(InputError, match=rf"^config\.yaml: {path}: '?{old}'? was renamed to {new}$"):
        load_settings(nested(path, value), "config.yaml")


def test_old_settings_of_a_sweep_are_refused_with_the_new_name():
    with pytest.raises(InputError, match=r"sweep\.minutes: was renamed to max_minutes"):
        load_settings({"sweep": {"minutes": [1, 2]}}, "config.yaml")
    with pytest.raises(InputError, match=r"sweep\.speed\.a\.minutes: was renamed to train\.max_minutes"):
        load_settings({"sweep": {"speed": {"a": {"minutes": 1}}}}, "config.yaml")


@pytest.mark.parametrize(("old", "new"), renamed.COLUMNS.items())
def test_old_columns_are_refused_with_the_new_name(tmp_path, old, new):
    table = tmp_path / "images.tsv"
    table.write_text(f"image\tpath\t{old}\na\tb.tif\t1\n")
    with pytest.raises(InputError, match=rf"line 1: {old}: was renamed to {new}$"):
        load_table(table, batch_size=64)


def test_new_names_exist():
    settings = {f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields}
    assert set(renamed.SETTINGS.values()) <= settings
    assert set(renamed.SECTIONS.values()) <= SECTIONS.keys()
    assert set(renamed.VALUES) <= settings
    assert set(renamed.COLUMNS.values()) <= ImageRow.model_fields.keys()
