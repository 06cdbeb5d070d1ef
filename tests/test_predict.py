"""Images of any size, type and number of planes become probabilities, with and without a real network."""

import json
import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from lib.errors import InputError
from lib.frameworks import keras
from lib.intensities import normalise
from lib.models import FORMAT, SETTINGS, WEIGHTS
from lib.networks import build_network, load_network
from lib.stores import create_store, finish_image, open_array, read_metadata
from predict import find_model, predict, predict_image

TILING = {"tile_px": 128, "overlap_px": 64, "batch_tiles": 3, "workers": 2}
OUTPUTS = ["background", "cell"]


def write_image(path, pixels, shard_px=2048, **metadata):
    store = create_store(path, pixels.shape, pixels.dtype, chunk_px=min(512, shard_px), shard_px=shard_px)
    store[:] = pixels
    finish_image(path, name="image", **metadata)
    return path


def random_pixels(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 4000, shape).astype(dtype)


def threshold_of(channels=("0",)):
    """Not a network, but what one does: the cell's probability is the first channel's intensity."""
    busy = threading.Lock()

    def answer(tiles):
        assert busy.acquire(blocking=False), "two threads in the network at once"
        assert tiles.dtype == np.float32
        assert all(side % 32 == 0 for side in tiles.shape[1:3])
        cell = np.clip(tiles[..., :1], 0, 1)
        busy.release()
        return np.concatenate([1 - cell, cell], axis=-1)

    return SimpleNamespace(settings={"channels": list(channels), "outputs": OUTPUTS}, predict=answer)


def save_model(folder, channels=("0",)):
    """A model of random weights, as training leaves it."""
    keras.utils.set_random_seed(0)
    network = build_network("Unet", "resnet18", channels=len(channels), outputs=2)
    folder.mkdir(parents=True)
    network.save_weights(folder / WEIGHTS)
    settings = {
        "format": FORMAT,
        "task": "semantic",
        "classes": OUTPUTS,
        "outputs": OUTPUTS,
        "channels": list(channels),
    }
    settings |= {"architecture": "Unet", "backbone": "resnet18", "normalisation": {"method": "percentile"}}
    (folder / SETTINGS).write_text(json.dumps(settings))


def expect(pixels, metadata):
    """Probability of a cell in each pixel (t, z, y, x) by `threshold_of`."""
    return np.clip(normalise(np.moveaxis(pixels, 1, -1), metadata.windows), 0, 1)[..., 0]


@pytest.mark.parametrize("shape", [(1, 1, 1, 300, 411), (1, 1, 1, 20, 33), (1, 1, 1, 1, 1), (3, 1, 1, 70, 90)])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.int16, np.float32])
def test_an_image_of_any_size_and_type_has_a_probability_for_each_pixel(tmp_path, shape, dtype):
    pixels = random_pixels(*shape, dtype=dtype)
    source = write_image(tmp_path / "a.ome.zarr", pixels, pixel_um=(None, 0.5, 0.5), frame_s=60.0)
    predict_image(source, tmp_path / "p.ome.zarr", threshold_of(), name="a", **TILING)
    made = open_array(tmp_path / "p.ome.zarr")
    assert (made.shape, made.dtype) == ((shape[0], 2, *shape[2:]), np.uint8)
    expected = 255 * expect(pixels, read_metadata(source))
    np.testing.assert_allclose(made[:, 1], expected, atol=0.51)
    np.testing.assert_allclose(made[:, 0], 255 - expected, atol=0.51)


def test_probabilities_keep_the_sizes_of_the_image_and_name_their_outputs(tmp_path):
    sizes = {"pixel_um": (2.0, 0.5, 0.25), "frame_s": 60.0}
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 2, 40, 50), **sizes)
    predict_image(source, tmp_path / "p.ome.zarr", threshold_of(), name="a", **TILING)
    metadata = read_metadata(tmp_path / "p.ome.zarr")
    assert (metadata.pixel_um, metadata.frame_s, metadata.channels) == ((2.0, 0.5, 0.25), 60.0, OUTPUTS)
    assert sorted(path.name for path in (tmp_path / "p.ome.zarr").iterdir()) == ["0", "zarr.json"]


def test_every_plane_of_a_movie_of_stacks_is_predicted_for_itself(tmp_path):
    pixels = random_pixels(2, 1, 3, 70, 90)
    source = write_image(tmp_path / "a.ome.zarr", pixels)
    predict_image(source, tmp_path / "p.ome.zarr", threshold_of(), name="a", **TILING)
    expected = 255 * expect(pixels, read_metadata(source))
    np.testing.assert_allclose(open_array(tmp_path / "p.ome.zarr")[:, 1], expected, atol=0.51)


def test_shards_are_written_by_several_threads_as_by_one(tmp_path):
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 300, 411), shard_px=128)
    for workers in (1, 4):
        predict_image(source, tmp_path / f"{workers}", threshold_of(), name="a", **TILING | {"workers": workers})
    one, four = (open_array(tmp_path / name) for name in ("1", "4"))
    assert one.shards == (1, 1, 1, 128, 128)
    np.testing.assert_array_equal(one[:], four[:])


def test_constant_images_and_pixels_that_are_no_numbers_are_answered(tmp_path):
    pixels = random_pixels(1, 2, 1, 70, 90, dtype=np.float32)
    pixels[0, 0, 0, 10:20, 10:20] = np.nan
    pixels[0, 1] = 7
    source = write_image(tmp_path / "a.ome.zarr", pixels)
    for channels in (["0", "1"], ["1", "0"]):
        predict_image(source, tmp_path / "p.ome.zarr", threshold_of(channels), name="a", **TILING)
        made = open_array(tmp_path / "p.ome.zarr")[0, 1, 0]
        assert not made[10:20, 10:20].any()
        assert made.any() == (channels[0] == "0")


def test_a_selected_model_that_is_not_there_is_named(tmp_path):
    (tmp_path / "selected.json").write_text(json.dumps({"model": "fold2"}))
    with pytest.raises(InputError, match="names model fold2, which is not among"):
        find_model(tmp_path / "selected.json", [tmp_path / "fold1"])


def test_tiles_off_the_grid_of_the_network_are_refused_before_anything_is_loaded(tmp_path):
    for tile_px, overlap_px in [(100, 32), (128, 20), (128, 128)]:
        tiling = TILING | {"tile_px": tile_px, "overlap_px": overlap_px, "device": "cpu"}
        with pytest.raises(InputError, match=rf"tile_px \({tile_px}\).*overlap_px \({overlap_px}\)"):
            predict(tmp_path, tmp_path, [], {}, tmp_path / "made", **tiling)


def test_progress_is_told_with_rate_and_time_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lib.tiles.SECONDS_BETWEEN_REPORTS", 0)
    source = write_image(tmp_path / "a.ome.zarr", random_pixels(1, 1, 1, 300, 411))
    predict_image(source, tmp_path / "p.ome.zarr", threshold_of(), name="field 3", **TILING)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("field 3: 35/35 tiles, ")
    assert lines[-1].endswith(" Mpx/s, 0 s left")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path):
    peaks = []
    for side in (512, 2048):
        source = write_image(tmp_path / f"{side}.ome.zarr", random_pixels(1, 1, 1, side, side), shard_px=256)
        seen = [0]
        network = threshold_of()

        def answer(tiles, seen=seen, network=network):
            seen.append(tracemalloc.get_traced_memory()[1])
            return network.predict(tiles)

        tracemalloc.start()
        watched = SimpleNamespace(settings=network.settings, predict=answer)
        predict_image(source, tmp_path / "p.ome.zarr", watched, name="a", **TILING)
        tracemalloc.stop()
        peaks.append(max(seen))
    # The answers for the larger plane alone take 33 MB; how regions fall together makes a difference of 2 or 3.
    assert peaks[1] - peaks[0] < 8e6, peaks


@pytest.mark.slow
def test_a_real_network_answers_as_it_does_on_the_plane_in_one_piece(tmp_path):
    pixels = random_pixels(1, 2, 1, 96, 128)
    images = tmp_path / "images"
    write_image(images / "a.ome.zarr", pixels, channels=["dna", "actin"])
    write_image(images / "odd.ome.zarr", pixels[:, :1], channels=["phase"])
    save_model(tmp_path / "models" / "fold1", channels=["actin", "dna"])
    (tmp_path / "selected.json").write_text(json.dumps({"model": "fold1"}))
    models = [tmp_path / "models" / "fold1"]
    bare = TILING | {"tile_px": 128, "overlap_px": 0, "device": "cpu"}

    def run(recipes):
        predict(images, tmp_path / "selected.json", models, recipes, tmp_path / "made", **bare)

    with pytest.raises(InputError, match=r"odd: has 1 channels \(phase\), the model was trained on 2 \(actin, dna\)"):
        run({"a": "1", "odd": "1"})
    assert not (tmp_path / "made").exists()
    run({"a": "1"})
    windows = read_metadata(images / "a.ome.zarr").windows[::-1]
    tile = normalise(np.moveaxis(pixels[0, ::-1, 0], 0, -1), windows)
    whole = load_network(models[0]).predict(tile[None])[0]
    assert whole.std() > 0.01
    made = open_array(tmp_path / "made" / "a.ome.zarr")[0, :, 0]
    np.testing.assert_allclose(np.moveaxis(made, 0, -1), 255 * whole, atol=0.51)
