"""Settings that are `auto` take the thresholds that come with the model."""

import numpy as np
import pytest

from tessera.io.ome_zarr_store import create_store, finish_image
from tessera.segmentation.thresholds import Thresholds, combine_thresholds, read_thresholds, resolve_thresholds
from tessera.settings.sections import SegmentSettings

TUNED = {"foreground": 0.6, "seed": 0.7, "min_area_px": 25, "seed_depth_px": 3}


def write_predictions(path, **prediction):
    create_store(path, (1, 3, 1, 8, 8), np.uint8)[:] = 0
    finish_image(path, name="a", levels=1, extra={"prediction": prediction} if prediction else None)
    return path


@pytest.mark.parametrize(
    ("scale", "area_px", "depth_px"),
    [(1.0, 25, 3), (0.5, 100, 6), (4.0, 2, 0.75), (8.0, 1, 0.375), (0.01, 250_000, 64)],
)
def test_smallest_area_and_depth_are_converted_to_pixels_of_the_image(tmp_path, scale, area_px, depth_px):
    store = write_predictions(tmp_path / "p.ome.zarr", thresholds=TUNED, scale=scale)
    assert read_thresholds(store) == Thresholds(0.6, 0.7, area_px, depth_px)


def test_predictions_of_a_model_that_was_not_tuned_have_the_defaults(tmp_path):
    assert read_thresholds(write_predictions(tmp_path / "p.ome.zarr", thresholds=None)) == Thresholds(0.5, 0.8, 16, 0)
    assert read_thresholds(write_predictions(tmp_path / "q.ome.zarr")) == Thresholds(0.5, 0.8, 16)


def test_numbers_in_the_settings_take_precedence():
    tuned = Thresholds(0.6, 0.7, 25, 3)
    assert resolve_thresholds(SegmentSettings(), tuned) == tuned
    given = SegmentSettings(foreground_threshold=0.2, seed_threshold=0.9, min_area_px=0, seed_depth_px=1.5)
    assert resolve_thresholds(given, tuned) == Thresholds(0.2, 0.9, 0, 1.5)


def test_ensemble_takes_the_medians_of_its_members():
    tuned = [TUNED | {"seed": seed} for seed in (0.5, 0.6, 0.9)]
    assert combine_thresholds([*tuned, None]) == TUNED | {"seed": 0.6}
    assert combine_thresholds([None]) is None
