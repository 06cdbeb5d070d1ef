"""Ensembles: means over views and models, and batches that exhaust memory."""

import json

import numpy as np
import pytest

from tessera.common.constants import MODEL_FORMAT, MODEL_JSON, WEIGHTS_H5
from tessera.inference.ensemble import Ensemble, load_ensemble
from tessera.networks.build import build_network
from tessera.networks.model_folder import write_validation_patches
from tessera.networks.tensorflow_setup import keras
from tessera.settings.sections import PredictSettings

SETTINGS_OF_ALL = {"channels": ["grey"], "outputs": ["background", "cell"]}


class Slope:
    """An engine whose answer depends on how its tiles lie: each pixel plus so much of those before it."""

    settings = SETTINGS_OF_ALL

    def __init__(self, share=0.25, most=None):
        self.share, self.most, self.batches = share, most, []

    def predict(self, tiles):
        self.batches.append(len(tiles))
        if self.most is not None and len(tiles) > self.most:
            raise MemoryError("no room")
        sums = np.cumsum(np.cumsum(tiles[..., 0], 1), 2) * self.share % 1
        return np.rint(255 * np.stack([1 - sums, sums], 1)).astype(np.uint8)


@pytest.fixture
def tiles():
    return np.random.default_rng(0).random((5, 32, 64, 1), dtype=np.float32)


def test_without_views_an_ensemble_of_one_answers_as_its_engine(tiles):
    assert np.array_equal(Ensemble([Slope()]).predict(tiles), Slope().predict(tiles))


@pytest.mark.parametrize(("augmentation", "transposed"), [("flips", [False]), ("all", [False, True])])
def test_views_give_the_mean_of_answers_turned_back_one_by_one(tiles, augmentation, transposed):
    answers = []
    for swap in transposed:
        for down in (1, -1):
            for across in (1, -1):
                view = tiles[:, ::down, ::across]
                answer = Slope().predict(view.swapaxes(1, 2) if swap else view)
                answer = answer.swapaxes(2, 3) if swap else answer
                answers.append(answer[:, :, ::down, ::across].astype(float))
    expected = np.rint(np.mean(answers, axis=0))
    assert np.array_equal(Ensemble([Slope()], augmentation=augmentation).predict(tiles), expected)


def test_several_engines_give_the_mean_of_their_answers(tiles):
    engines = [Slope(0.1), Slope(0.2), Slope(0.3)]
    expected = np.rint(np.mean([engine.predict(tiles).astype(float) for engine in engines], axis=0))
    assert np.array_equal(Ensemble(engines).predict(tiles), expected)


def test_an_engine_is_given_no_more_pixels_than_allowed_but_always_a_tile(tiles):
    engine = Slope()
    assert np.array_equal(Ensemble([engine], batch_px=2 * 32 * 64).predict(tiles), Slope().predict(tiles))
    assert engine.batches == [2, 2, 1]
    engine = Slope()
    Ensemble([engine], batch_px=1).predict(tiles)
    assert engine.batches == [1] * 5


def test_a_batch_that_exhausts_memory_is_halved_and_so_are_later_ones(tiles, caplog):
    caplog.set_level("INFO")
    engine = Slope(most=1)
    ensemble = Ensemble([engine])
    assert np.array_equal(ensemble.predict(tiles), Slope().predict(tiles))
    assert engine.batches == [5, 2, 1, 1, 1, 1, 1]
    assert caplog.messages == [
        "Not enough memory for 5 tiles at once (no room); continuing with 2",
        "Not enough memory for 2 tiles at once (no room); continuing with 1",
    ]
    ensemble.predict(tiles)
    assert engine.batches[7:] == [1] * 5


def test_a_tile_that_exhausts_memory_is_an_error(tiles):
    with pytest.raises(MemoryError, match="no room"):
        Ensemble([Slope(most=0)]).predict(tiles)


def test_the_memory_of_an_ensemble_is_the_sum_over_its_engines():
    resident = [0.0]

    class Keeping(Slope):
        def predict(self, tiles):
            resident[0] += tiles[..., 0].size * self.share / 2**20

    ensemble = Ensemble([Keeping(60), Keeping(80)])
    # An engine is measured from a tile of 256² to one of 1024² pixels, and this one keeps the memory of all tiles.
    assert ensemble.bytes_per_px(lambda: resident[0]) == pytest.approx((60 + 80) * 1024**2 / (1024**2 - 256**2))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two untrained networks; the second keeps no validation patches."""
    random, root = np.random.default_rng(0), tmp_path_factory.mktemp("models")
    description = {"format": MODEL_FORMAT, "task": "semantic", "architecture": "Linknet", "backbone": "resnet18"}
    description |= {"normalization": {"method": "percentile"}, **SETTINGS_OF_ALL}
    for name in ("one", "two"):
        (root / name).mkdir()
        (root / name / MODEL_JSON).write_text(json.dumps(description))
        keras.utils.set_random_seed(len(name) + ord(name[0]))
        build_network("Linknet", "resnet18", channels=1, outputs=2).save_weights(root / name / WEIGHTS_H5)
    images, targets = random.random((3, 64, 64, 1), dtype=np.float32), random.integers(0, 2, (3, 64, 64), np.uint8)
    write_validation_patches(root / "one", images, targets)
    return [root / "one", root / "two"]


@pytest.mark.slow
@pytest.mark.parametrize(("tolerance", "chosen"), [(1.0, "bfloat16"), (-1.0, "float32")])
def test_each_model_has_the_precision_that_its_check_allows(models, tolerance, chosen, caplog):
    caplog.set_level("INFO")
    settings = PredictSettings(engine="tensorflow", precision="bfloat16", device="cpu")
    settings = settings.model_copy(update={"max_precision_iou_change": tolerance})
    ensemble, report = load_ensemble(models, None, settings, workers=2)
    assert [engine.precision for engine in ensemble.engines] == [chosen, "float32"]
    assert [entry["precision"] for entry in report] == [chosen, "float32"]
    assert [entry["model"] for entry in report] == ["one", "two"]
    assert report[0]["check"]["patches"] == 3
    assert report[0]["check"]["passed"] == (chosen == "bfloat16")
    assert report[1]["check"] is None
    assert "has no validation patches" in caplog.text
    tiles = np.random.default_rng(1).random((1, 32, 32, 1), dtype=np.float32)
    mean = np.mean([engine.predict(tiles).astype(float) for engine in ensemble.engines], axis=0)
    assert np.array_equal(ensemble.predict(tiles), np.rint(mean))


def test_float32_is_not_checked(models):
    settings = PredictSettings(engine="tensorflow", precision="float32", device="cpu")
    ensemble, report = load_ensemble(models[:1], None, settings, workers=2)
    assert ensemble.engines[0].precision == "float32"
    assert report == [{"model": "one", "engine": "tensorflow", "device": "cpu", "precision": "float32", "check": None}]
