"""Images of any size, type and number of planes become probabilities, with and without a real network."""

import json
import re
import threading
import tracemalloc

import numpy as np
import pytest

from predict import predict
from select_model import select_model
from tessera.common.constants import MODEL_FORMAT, MODEL_JSON, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.data.normalization import normalize
from tessera.inference.ensemble import Ensemble
from tessera.inference.predict_image import ImagePredictor
from tessera.inference.prediction_plan import Models, PredictionPlan, plan_prediction
from tessera.inference.seam_windows import read_seam_windows
from tessera.inference.tiling import TilePlan
from tessera.io.ome_zarr_store import create_store, finish_image, open_array, read_metadata
from tessera.networks.build import build_network, load_network
from tessera.networks.tensorflow_setup import keras
from tessera.settings.sections import PredictSettings, SelectModelSettings

OUTPUTS = ["background", "cell"]


def write_image(path, pixels, shard_px=2048, **metadata):
    store = create_store(path, pixels.shape, pixels.dtype, chunk_px=min(512, shard_px), shard_px=shard_px)
    store[:] = pixels
    finish_image(path, name="image", **metadata)
    return path


def random_pixels(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 4000, shape).astype(dtype)


class Threshold:
    """Not a network, but what one does: the cell's probability is the first channel's intensity.

    It counts the pixels that it is given, and has memory for `most` of them.
    """

    name, device, precision = "threshold", "cpu", "float32"

    def __init__(self, channels=("0",), most=np.inf, settings=()):
        self.settings = {"channels": list(channels), "outputs": OUTPUTS} | dict(settings)
        self.seen, self.most, self._busy = 0, most, threading.Lock()

    def predict(self, tiles):
        assert self._busy.acquire(blocking=False), "two threads in the network at once"
        try:
            assert tiles.dtype == np.float32
            assert all(side % 32 == 0 for side in tiles.shape[1:3])
            if tiles[..., 0].size > self.most:
                raise MemoryError("no room")
            self.seen += tiles[..., 0].size
            cell = np.rint(255 * np.clip(tiles[..., 0], 0, 1)).astype(np.uint8)
            return np.stack([255 - cell, cell], axis=1)
        finally:
            self._busy.release()


class Stopped(Threshold):
    """Stops the job when it has seen more than a number of pixels."""

    def __init__(self, most_seen):
        super().__init__()
        self.most_seen = most_seen

    def predict(self, tiles):
        if self.seen > self.most_seen:
            raise KeyboardInterrupt
        return super().predict(tiles)


def run(source, path, engine=None, *, core_px=64, workers=2, batch_px=40000, roi=None, frames=None, **settings):
    """Predict one image with `Threshold`, in small tiles."""
    plan = PredictionPlan(
        Ensemble([engine or Threshold()], batch_px=batch_px),
        TilePlan(core_px, 32),
        PredictSettings(**{"seam_check_windows": 0} | settings),
        provenance="model",
        workers=workers,
    )
    ImagePredictor(source, "a", plan, roi, frames).write(path, path.with_name("regions"))
    return open_array(path)


def save_model(folder, channels=("0",)):
    """A model of random weights, as training leaves it."""
    keras.utils.set_random_seed(0)
    network = build_network("Unet", "resnet18", channels=len(channels), outputs=2)
    folder.mkdir(parents=True)
    network.save_weights(folder / WEIGHTS_H5)
    network.export(folder / "saved_model")
    settings = {
        "format": MODEL_FORMAT,
        "task": "semantic",
        "classes": OUTPUTS,
        "outputs": OUTPUTS,
        "channels": list(channels),
    }
    settings |= {"architecture": "Unet", "backbone": "resnet18", "normalization": {"method": "percentile"}}
    (folder / MODEL_JSON).write_text(json.dumps(settings))


def expect(pixels, metadata):
    """Probability of a cell in each pixel (t, z, y, x) by `Threshold`."""
    return np.clip(normalize(np.moveaxis(pixels, 1, -1), metadata.contrast_limits), 0, 1)[..., 0]


@pytest.mark.parametrize("shape", [(1, 1, 1, 300, 411), (1, 1, 1, 20, 33), (1, 1, 1, 1, 1), (3, 1, 1, 70, 90)])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.int16, np.float32])
def test_an_image_of_any_size_and_type_gets_a_probability_for_each_pixel(tmp_path, shape, dtype):
    pixels = random_pixels(*shape, dtype=dtype)
    source = write_image(tmp_path / "a.ome.zarr", pixels, pixel_size_um=(None, 0.5, 0.5), frame_interval_s=60.0)
    made = run(source, tmp_path / "p.ome.zarr")
    assert (made.shape, made.dtype) == ((shape[0], 2, *shape[2:]), np.uint8)
    expected = 255 * expect(pixels, read_metadata(source))
    np.testing.assert_allclose(made[:, 1], expected, atol=0.51)
    np.testing.assert_array_equal(made[:, 0], 255 - made[:, 1])


def test_probabilities_keep_the_sizes_of_the_image_and_name_their_outputs(tmp_path):
    sizes = {"pixel_size_um": (2.0, 0.5, 0.25), "frame_interval_s": 60.0}
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 2, 40, 50), **sizes)
    run(source, tmp_path / "p.ome.zarr")
    metadata = read_metadata(tmp_path / "p.ome.zarr")
    assert (metadata.pixel_size_um, metadata.frame_interval_s, metadata.channels) == ((2.0, 0.5, 0.25), 60.0, OUTPUTS)
    assert metadata.extra["prediction"]["overlap_cost"] == pytest.approx(64 * 64 / 2000)
    assert sorted(path.name for path in (tmp_path / "p.ome.zarr").iterdir()) == ["0", "zarr.json"]


def test_every_plane_of_a_movie_of_stacks_is_predicted_on_its_own(tmp_path):
    pixels = random_pixels(2, 1, 3, 70, 90)
    source = write_image(tmp_path / "a.ome.zarr", pixels)
    made = run(source, tmp_path / "p.ome.zarr")
    np.testing.assert_allclose(made[:, 1], 255 * expect(pixels, read_metadata(source)), atol=0.51)


def test_shards_are_written_by_several_threads_as_by_one(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 300, 411), shard_px=128)
    one, four = (run(source, tmp_path / str(n) / "p.ome.zarr", workers=n, batch_px=1) for n in (1, 4))
    assert one.shards == (1, 2, 1, 128, 128)
    np.testing.assert_array_equal(one[:], four[:])


def test_constant_images_and_pixels_that_are_nan_are_predicted(tmp_path):
    pixels = random_pixels(1, 2, 1, 70, 90, dtype=np.float32)
    pixels[0, 0, 0, 10:20, 10:20] = np.nan
    pixels[0, 1] = 7
    source = write_image(tmp_path / "a.ome.zarr", pixels)
    for channels in (["0", "1"], ["1", "0"]):
        made = run(source, tmp_path / "p.ome.zarr", Threshold(channels))[0, 1, 0]
        assert not made[10:20, 10:20].any()
        assert made.any() == (channels[0] == "0")


def test_a_model_of_fixed_contrast_limits_sees_absolute_intensities(tmp_path):
    pixels = random_pixels(1, 2, 1, 70, 90)
    source = write_image(tmp_path / "a.ome.zarr", pixels // 2)
    fixed = {"normalization": {"method": "fixed", "contrast_limits": [[0, 4000], [0, 1]]}}
    made = run(source, tmp_path / "p.ome.zarr", Threshold(["0", "1"], settings=fixed))
    np.testing.assert_allclose(made[0, 1, 0], 255.0 * (pixels[0, 0, 0] // 2) / 4000, atol=0.51)


def test_an_image_of_unknown_size_is_magnified_as_the_training_images_were(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 256, 256))
    settings = {"scale": {"method": "object_diameter", "typical": 0.5, "range": [0.5, 0.5]}}
    run(source, tmp_path / "p.ome.zarr", Threshold(settings=settings))
    assert read_metadata(tmp_path / "p.ome.zarr").extra["prediction"]["scale"] == 0.5


def test_only_chosen_frames_and_the_region_of_interest_are_predicted(tmp_path):
    pixels = random_pixels(4, 1, 1, 300, 411)
    source = write_image(tmp_path / "a.ome.zarr", pixels, shard_px=128)
    engine = Threshold()
    made = run(source, tmp_path / "p.ome.zarr", engine, roi=(100, 200, 130, 390), frames="1:4:2")
    expected = np.rint(255 * expect(pixels, read_metadata(source)))
    looked = np.zeros(expected.shape, bool)
    looked[1::2, :, 100:200, 130:390] = True
    np.testing.assert_allclose(made[:, 1], np.where(looked, expected, 0), atol=1)
    np.testing.assert_array_equal(made[:, 0], 255 - made[:, 1])
    assert engine.seen < 2 * 300 * 411 * 3
    with pytest.raises(InputError, match="a: has 300 x 411 pixels"):
        run(source, tmp_path / "q.ome.zarr", roi=(0, 301, 0, 10))


def test_empty_regions_are_background_and_never_reach_the_network(tmp_path):
    pixels = np.full((1, 1, 1, 512, 512), 100, np.uint16)
    pixels[..., :128, :128] = random_pixels(128, 128)
    source = write_image(tmp_path / "a.ome.zarr", pixels, shard_px=128)
    engine = Threshold()
    made = run(source, tmp_path / "p.ome.zarr", engine, core_px=128, empty_contrast_threshold=0.1)
    assert engine.seen == (128 + 32) ** 2
    np.testing.assert_array_equal(made[:], run(source, tmp_path / "q.ome.zarr", core_px=128)[:])
    extra = read_metadata(tmp_path / "p.ome.zarr").extra
    assert extra["prediction"]["regions_skipped"] == 15


def test_a_region_is_predicted_again_only_if_its_pixels_change(tmp_path):
    pixels = random_pixels(2, 1, 1, 300, 411)
    source = write_image(tmp_path / "a.ome.zarr", pixels, shard_px=128, channels=["0"])
    windows = read_metadata(source).contrast_limits
    made = run(source, tmp_path / "p.ome.zarr", Threshold())[:]
    again = Threshold()
    np.testing.assert_array_equal(run(source, tmp_path / "p.ome.zarr", again)[:], made)
    assert again.seen == 0
    pixels[0, 0, 0, 60, 60] = 3999 - pixels[0, 0, 0, 60, 60]
    write_image(source, pixels, shard_px=128, channels=["0"], contrast_limits=windows)
    edited = run(source, tmp_path / "p.ome.zarr", again)
    assert 0 < again.seen <= 4 * 128**2
    changed = np.argwhere((edited[:] != made).any(axis=(1, 2)))
    np.testing.assert_array_equal(changed, [[0, 60, 60]])


def test_a_job_that_was_stopped_continues_with_the_next_region(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 300, 411), shard_px=128)

    stopped, whole, rest = Stopped(100_000), Threshold(), Threshold()
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "p.ome.zarr", stopped, batch_px=1, workers=1)
    expected = run(source, tmp_path / "whole" / "p.ome.zarr", whole, batch_px=1)
    np.testing.assert_array_equal(run(source, tmp_path / "p.ome.zarr", rest, batch_px=1)[:], expected[:])
    assert rest.seen < whole.seen


def test_a_job_that_was_stopped_within_a_shard_continues_with_the_next_frame(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(8, 1, 1, 40, 50))

    stopped, whole, rest = Stopped(4 * 64**2), Threshold(), Threshold()
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "p.ome.zarr", stopped, batch_px=1, workers=1)
    expected = run(source, tmp_path / "whole" / "p.ome.zarr", whole, batch_px=1)
    assert expected.shards[0] == 8
    np.testing.assert_array_equal(run(source, tmp_path / "p.ome.zarr", rest, batch_px=1)[:], expected[:])
    assert (stopped.seen, rest.seen) == (5 * 64**2, 3 * 64**2)
    assert whole.seen == stopped.seen + rest.seen


def test_a_frame_that_is_added_to_a_movie_is_the_only_one_that_is_predicted(tmp_path):
    pixels = random_pixels(8, 1, 1, 40, 50)
    limits = [(0, 4000)]
    source = write_image(tmp_path / "a.ome.zarr", pixels[1:], channels=["0"], contrast_limits=limits)
    run(source, tmp_path / "p.ome.zarr")
    write_image(source, pixels, channels=["0"], contrast_limits=limits)
    again = Threshold()
    made = run(source, tmp_path / "p.ome.zarr", again)
    assert again.seen == 64**2
    np.testing.assert_array_equal(made[:], run(source, tmp_path / "whole" / "p.ome.zarr")[:])


def test_predictions_and_caches_of_a_movie_have_few_files(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(30, 1, 2, 20, 30))
    run(source, tmp_path / "p.ome.zarr")
    for folder in tmp_path.iterdir():
        assert sum(path.is_file() for path in folder.rglob("*")) == 3, folder


def test_too_little_memory_makes_tiles_smaller_and_is_logged(tmp_path, caplog):
    caplog.set_level("INFO")
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(3, 1, 1, 600, 700))
    expected = run(source, tmp_path / "whole" / "p.ome.zarr", core_px=1024)
    made = run(source, tmp_path / "p.ome.zarr", Threshold(most=400_000), core_px=1024, batch_px=2**22)
    np.testing.assert_array_equal(made[:], expected[:])
    assert "Not enough memory for 3 tiles at once (no room); continuing with 1" in caplog.messages
    assert "Not enough memory for a tile (no room); continuing with cores of 512 px" in caplog.messages
    with pytest.raises(InputError, match="not enough memory for the smallest tiles"):
        run(source, tmp_path / "none" / "p.ome.zarr", Threshold(most=100))


def test_windows_on_seams_are_predicted_again(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 1200, 1300), shard_px=512)
    made = run(source, tmp_path / "p.ome.zarr", core_px=512, seam_check_windows=2)
    windows = list(read_seam_windows(tmp_path / "p.ome.zarr"))
    assert len(windows) == 2
    for (t, z, y, x), probabilities in windows:
        np.testing.assert_array_equal(probabilities, made[t, :, z, y : y + 512, x : x + 512])


def test_windows_on_seams_that_exhaust_memory_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 1200, 1300), shard_px=512)
    made = run(source, tmp_path / "p.ome.zarr", Threshold(most=600 * 600), core_px=512, seam_check_windows=2)
    np.testing.assert_allclose(
        made[:, 1], 255 * expect(random_pixels(1, 1, 1, 1200, 1300), read_metadata(source)), atol=1
    )
    assert not list(read_seam_windows(tmp_path / "p.ome.zarr"))
    assert "Not enough memory for a window on a seam (no room); seams are not checked" in caplog.messages


def test_the_store_keeps_the_size_of_cores_that_fit_into_memory(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 600, 700))
    run(source, tmp_path / "p.ome.zarr", Threshold(most=400_000), core_px=1024)
    assert read_metadata(tmp_path / "p.ome.zarr").extra["prediction"]["core_px"] == 512


def test_an_image_of_another_pixel_size_is_rescaled_to_the_model_and_back(tmp_path):
    y, x = np.mgrid[:300, :411]
    pixels = (2000 + 1500 * np.sin(y / 15) * np.cos(x / 20)).astype(np.uint16)[None, None, None]
    source = write_image(tmp_path / "a.ome.zarr", pixels, pixel_size_um=(None, 0.25, 0.25))
    engine = Threshold(settings={"pixel_size_um": 0.5})
    made = run(source, tmp_path / "p.ome.zarr", engine)
    assert engine.seen < 150 * 206 * 6
    assert read_metadata(tmp_path / "p.ome.zarr").extra["prediction"]["scale"] == 0.5
    expected = 255 * expect(pixels, read_metadata(source))
    assert np.abs(made[:, 1] - expected).mean() < 2


def test_a_store_that_is_damaged_in_the_middle_is_named_and_the_others_are_kept(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(2, 1, 1, 300, 411), shard_px=128)
    shard = source / "0" / "c" / "1" / "0" / "0" / "0" / "1"
    content = bytearray(shard.read_bytes())
    content[2000] ^= 255
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.ome\.zarr: the store is damaged, pixels at \(1, .* cannot be read"):
        run(source, tmp_path / "p.ome.zarr", batch_px=1)
    write_image(source, random_pixels(2, 1, 1, 300, 411), shard_px=128)
    again = Threshold()
    run(source, tmp_path / "p.ome.zarr", again, batch_px=1)
    assert 0 < again.seen < 2 * 35 * 128**2


def test_the_summary_has_the_number_of_tiles_the_rate_and_the_cost_of_overlap(tmp_path, caplog):
    caplog.set_level("INFO")
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 300, 411))
    run(source, tmp_path / "p.ome.zarr")
    assert re.fullmatch(r"a: 35 tiles, \d+\.\d\d Mpx/s; overlap costs \d\.\d\d times the pixels", caplog.messages[-1])
    run(source, tmp_path / "p.ome.zarr")
    assert caplog.messages[-1].endswith("; 35 tiles were predicted by an earlier run")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path):
    peaks = []
    for side in (512, 2048):
        source = write_image(tmp_path / f"{side}.ome.zarr", random_pixels(1, 1, 1, side, side), shard_px=256)
        seen = [0]

        class Watched(Threshold):
            def predict(self, tiles, seen=seen):
                seen.append(tracemalloc.get_traced_memory()[1])
                return super().predict(tiles)

        tracemalloc.start()
        run(source, tmp_path / f"{side}" / "p.ome.zarr", Watched(), core_px=256, workers=1)
        tracemalloc.stop()
        peaks.append(max(seen))
    # The answers for the larger plane alone take 8 MB. One worker: with more it is chance what is held at once.
    assert peaks[1] - peaks[0] < 4e6, peaks


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_a_real_network_gives_the_same_in_tiles_and_in_one_piece(tmp_path, engine):
    pixels = random_pixels(1, 2, 1, 96, 128)
    images = tmp_path / "images"
    write_image(images / "a.ome.zarr", pixels, channels=["dna", "actin"])
    write_image(images / "odd.ome.zarr", pixels[:, :1], channels=["phase"])
    models = [tmp_path / "models" / "fold1"]
    save_model(models[0], channels=["actin", "dna"])
    selected, converted = tmp_path / "selected.json", tmp_path / "converted"
    choice = SelectModelSettings(metric="val_loss", ensemble="best")
    select_model(models, settings=choice, output=selected, converted=converted, engine=engine, device="cpu")
    settings = PredictSettings(engine=engine, device="cpu", halo_px=0, seam_check_windows=0)
    plan = plan_prediction(Models(selected, converted, models), settings, workers=2)

    def run(provenance, skip_bad_images=True):
        predict(images, provenance, tmp_path / "made", plan, skip_bad_images=skip_bad_images)

    with pytest.raises(
        InputError, match=r"odd: has 1 channels \(phase\), but the model was trained on 2 \(actin, dna\)"
    ):
        run({"a": "1", "odd": "1"}, skip_bad_images=False)
    assert not (tmp_path / "made").exists()
    run({"a": "1", "odd": "1"})
    assert [path.name for path in (tmp_path / "made").glob("*.zarr")] == ["a.ome.zarr"]
    assert "has 1 channels" in json.loads((tmp_path / "made" / "skipped.json").read_text())["odd"]
    run({"a": "1"})
    windows = read_metadata(images / "a.ome.zarr").contrast_limits[::-1]
    tile = normalize(np.moveaxis(pixels[0, ::-1, 0], 0, -1), windows)
    whole = load_network(models[0])(tile[None], training=False).numpy()[0]
    assert whole.std() > 0.01
    made = open_array(tmp_path / "made" / "a.ome.zarr")[0, :, 0]
    np.testing.assert_allclose(np.moveaxis(made, 0, -1), 255 * whole, atol=0.52)
