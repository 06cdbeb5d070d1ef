"""Presets are lists of transforms that work on any number of channels and do no harm to truth."""

import warnings

import pytest

from tessera.data.augmentation import check_transforms
from tessera.data.augmentation_presets import PRESETS, preset_transforms
from tessera.planning.schema_validation import read_schema


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_work_for_any_number_of_channels(preset, channels):
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        check_transforms(preset_transforms(preset, channels), channels)
    assert [str(warning.message) for warning in raised] == []


def test_presets_agree_with_the_settings_and_use_allowed_transforms():
    augment = read_schema("config")["properties"]["augment"]["properties"]
    assert {"auto", *PRESETS} == set(augment["preset"]["enum"])
    offered = augment["transforms"]["items"]["properties"]["name"]["enum"]
    assert {one["name"] for preset in PRESETS.values() for one in preset} <= set(offered)


def test_color_transforms_need_three_channels():
    assert "ColorJitter" in {one["name"] for one in preset_transforms("histology", 3)}
    assert "ColorJitter" not in {one["name"] for one in preset_transforms("histology", 4)}
