"""The size of tiles is as given or as the model needs, and selected models are found."""

import json

import pytest

from tessera.common.errors import InputError
from tessera.inference.ensemble import Ensemble
from tessera.inference.prediction_plan import Models, choose_tiles, find_members
from tessera.inference.tiling import TilePlan
from tessera.settings.sections import PredictSettings


class ConstantNetwork:
    """Predicts background everywhere."""

    name, device, precision = "constant", "cpu", "float32"

    def __init__(self):
        self.settings = {"channels": ["0"], "outputs": ["background", "cell"]}


def test_given_tile_size_halo_and_batch_are_used(caplog):
    caplog.set_level("INFO")
    settings = PredictSettings(tile_px=512, halo_px=64, batch_tiles=2)
    plan = choose_tiles(Ensemble([ConstantNetwork()]), settings, halo_px=96, memory_mb=None)
    assert plan == TilePlan(384, 64, 2 * 512**2)
    assert "Tiles of 512 px, with a halo of 64 px on each side" in caplog.text


def test_auto_halo_is_that_of_the_model():
    settings = PredictSettings(tile_px=512)
    assert choose_tiles(Ensemble([ConstantNetwork()]), settings, halo_px=96, memory_mb=None) == TilePlan(320, 96)


def test_selected_models_are_found_in_the_order_of_the_selection(tmp_path):
    (tmp_path / "selected.json").write_text(json.dumps({"members": ["fold2", "fold1"], "halo_px": 32}))
    folders = [tmp_path / "fold1", tmp_path / "fold2"]
    members, content = find_members(Models(tmp_path / "selected.json", tmp_path, folders))
    assert members == folders[::-1]
    assert content["halo_px"] == 32


def test_selected_model_that_does_not_exist_is_named(tmp_path):
    (tmp_path / "selected.json").write_text(json.dumps({"members": ["fold2"]}))
    with pytest.raises(InputError, match="names fold2, not among"):
        find_members(Models(tmp_path / "selected.json", tmp_path, [tmp_path / "fold1"]))
