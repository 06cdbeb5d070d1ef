"""Small images share network calls, and get the same probabilities as alone."""

import numpy as np

from tessera.common.errors import InputError
from tessera.inference.ensemble import Ensemble
from tessera.inference.predict_image import ImagePredictor
from tessera.inference.prediction_plan import PredictionPlan
from tessera.inference.shared_calls import UpcomingImages
from tessera.inference.tiling import TilePlan
from tessera.io.ome_zarr_store import create_store, finish_image, open_array
from tessera.settings.sections import PredictSettings


class Counts:
    """Not a network, but what one does: bright is cell. It keeps how many tiles it was given at once."""

    name, device, precision = "counts", "cpu", "float32"
    settings = {"channels": ["0"], "outputs": ["background", "cell"]}  # noqa: RUF012

    def __init__(self, most=np.inf):
        self.given, self.most = [], most

    def predict(self, tiles):
        if len(tiles) > self.most:
            raise MemoryError("no room")
        self.given.append(len(tiles))
        cell = np.rint(255 * np.clip(tiles[..., 0], 0, 1)).astype(np.uint8)
        return np.stack([255 - cell, cell], axis=1)


def write_images(folder, sides):
    for number, side in enumerate(sides):
        store = create_store(folder / f"{number}.ome.zarr", (1, 1, 1, side, side), np.uint16)
        store[:] = np.random.default_rng(number).integers(0, 4000, store.shape).astype(np.uint16)
        finish_image(folder / f"{number}.ome.zarr", name=str(number))
    return [str(number) for number in range(len(sides))]


def predict_all(folder, names, engine, output, damaged=(), alone=()):
    plan = PredictionPlan(
        Ensemble([engine], batch_px=4 * 64 * 64), TilePlan(64, 32), PredictSettings(seam_check_windows=0), "model"
    )

    def open_image(name):
        if name in damaged:
            raise InputError(f"{name}: is damaged")
        return ImagePredictor(folder / f"{name}.ome.zarr", name, plan)

    upcoming = UpcomingImages(open_image, plan.ensemble, alone)
    upcoming.announce(names)
    made = {}
    for name in names:
        if name not in damaged:
            upcoming.take(name).write(output / f"{name}.ome.zarr", output / "regions" / name)
            made[name] = open_array(output / f"{name}.ome.zarr")[:]
    return made


def test_small_images_of_one_size_share_calls_and_large_ones_do_not(tmp_path):
    names = write_images(tmp_path, [64, 60, 30, 200, 64, 30, 64, 64])
    together, apart = Counts(), Counts()
    made = predict_all(tmp_path, names, together, tmp_path / "together")
    expected = predict_all(tmp_path, names, apart, tmp_path / "apart", alone=names)
    for name in names:
        np.testing.assert_array_equal(made[name], expected[name])
    # 64 px: images 0, 1, 4 and 6, then 7; 30 px: images 2 and 5.
    assert together.given[:2] == [4, 2]
    assert together.given[-1] == 1
    assert set(apart.given) - {1} <= {2, 3, 4}  # of the large image


def test_a_damaged_image_does_not_hinder_the_others(tmp_path):
    names = write_images(tmp_path, [64, 64, 64])
    engine = Counts()
    assert predict_all(tmp_path, names, engine, tmp_path / "made", damaged=["1"]).keys() == {"0", "2"}
    assert engine.given == [2]


def test_images_are_predicted_alone_if_memory_is_short(tmp_path):
    names = write_images(tmp_path, [64, 64])
    engine = Counts(most=1)
    assert len(predict_all(tmp_path, names, engine, tmp_path / "made")) == 2
    assert engine.given == [1, 1]
