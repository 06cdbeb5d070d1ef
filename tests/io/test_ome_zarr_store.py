"""Stores: pyramids, windows, metadata that others read, and damage that is found."""

import tracemalloc

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import Image
from ome_zarr_models.v05.image_label import ImageLabel

from tessera.common.errors import InputError
from tessera.data.normalization import normalize
from tessera.io.ome_zarr_store import (
    create_store,
    finish_image,
    finish_labels,
    label_color,
    open_array,
    read_metadata,
)
from tessera.io.shards import iterate_shards


def make_image(path, pixels, *, chunk_px=512, shard_px=2048, **settings):
    store = create_store(path, pixels.shape, pixels.dtype, chunk_px=chunk_px, shard_px=shard_px)
    store[:] = pixels
    finish_image(path, name="cells", **settings)
    return path


def noise(*shape, dtype=np.uint16, high=4000):
    return np.random.default_rng(1).integers(0, high, shape).astype(dtype)


def test_pixels_are_read_back_unchanged(tmp_path):
    pixels = noise(2, 3, 2, 70, 45)
    make_image(tmp_path / "a", pixels, chunk_px=16, shard_px=32)
    assert np.array_equal(open_array(tmp_path / "a")[:], pixels)


def test_chunks_and_shards_are_clipped_to_the_image(tmp_path):
    small = create_store(tmp_path / "small", (1, 1, 1, 30, 700), "uint8", chunk_px=512, shard_px=2048)
    assert small.chunks[-2:] == (30, 512)
    assert small.shards[-2:] == (30, 1024)
    large = create_store(tmp_path / "large", (1, 1, 1, 5000, 5000), "uint8", chunk_px=512, shard_px=2048)
    assert large.chunks == (1, 1, 1, 512, 512)
    assert large.shards == (1, 1, 1, 2048, 2048)


def test_image_pyramid_holds_means_of_up_to_four_pixels(tmp_path):
    pixels = np.array([[0, 2, 10], [4, 6, 20], [7, 8, 255]], np.uint8)[None, None, None]
    make_image(tmp_path / "a", pixels, levels=2)
    assert open_array(tmp_path / "a", 1)[0, 0, 0].tolist() == [[3, 15], [8, 255]]


def test_pyramid_levels_stop_below_512_pixels(tmp_path):
    pixels = noise(1, 1, 1, 1301, 701)
    make_image(tmp_path / "a", pixels, chunk_px=64, shard_px=256)
    make_image(tmp_path / "b", pixels)
    assert [open_array(tmp_path / "a", level).shape[-2:] for level in range(3)] == [(1301, 701), (651, 351), (326, 176)]
    with pytest.raises(InputError):
        open_array(tmp_path / "a", 3)
    assert np.array_equal(open_array(tmp_path / "a", 2)[:], open_array(tmp_path / "b", 2)[:])


def test_label_pyramid_has_no_new_ids(tmp_path):
    ids = np.random.default_rng(0).choice([0, 3, 7, 2**31 - 1], (1, 1, 1, 1030, 517)).astype(np.int32)
    store = create_store(tmp_path / "a", ids.shape, ids.dtype, chunk_px=128, shard_px=256)
    store[:] = ids
    finish_labels(tmp_path / "a", name="cells")
    for level, step in ((1, 2), (2, 4)):
        assert np.array_equal(open_array(tmp_path / "a", level)[:], ids[..., ::step, ::step])


def test_object_position_is_equal_at_all_levels_of_images_and_labels(tmp_path):
    rows, columns = np.indices((2100, 1800))
    disc = ((rows - 1002) ** 2 + (columns - 808) ** 2 <= 500**2).astype(np.int32)[None, None, None]
    make_image(tmp_path / "image", (100 * disc).astype(np.float32), pixel_size_um=(None, 0.5, 0.25))
    create_store(tmp_path / "labels", disc.shape, disc.dtype)[:] = disc
    finish_labels(tmp_path / "labels", name="a", pixel_size_um=(None, 0.5, 0.25))
    for kind, read in (("image", Image), ("labels", ImageLabel)):
        ome = read.from_zarr(zarr.open_group(tmp_path / kind, mode="r")).attributes.ome
        assert len(ome.multiscales[0].datasets) == 4
        for level, dataset in enumerate(ome.multiscales[0].datasets):
            scale, *shift = dataset.coordinateTransformations
            plane = open_array(tmp_path / kind, level)[0, 0, 0].astype(float)
            places = np.indices(plane.shape).reshape(2, -1) @ plane.ravel() / plane.sum()
            moved = np.array(shift[0].translation[-2:] if shift else [0, 0])
            assert places * scale.scale[-2:] + moved == pytest.approx([1002 * 0.5, 808 * 0.25], abs=0.15)


def test_metadata_are_read_back_unchanged(tmp_path):
    pixels = noise(2, 2, 1, 20, 20)
    extra = {"annotated_t": [0, 1]}
    path = make_image(
        tmp_path / "a",
        pixels,
        pixel_size_um=(None, 0.5, 0.25),
        frame_interval_s=300.0,
        channels=["DAPI", "GFP"],
        extra=extra,
    )
    metadata = read_metadata(path)
    assert metadata.pixel_size_um == (None, 0.5, 0.25)
    assert metadata.frame_interval_s == 300.0
    assert metadata.channels == ["DAPI", "GFP"]
    assert metadata.extra == extra
    for channel, window in enumerate(metadata.contrast_limits):
        assert window == pytest.approx(tuple(np.percentile(pixels[:, channel], (1, 99.8))))


def test_contrast_limits_ignore_pixels_that_are_not_finite(tmp_path):
    pixels = np.linspace(0, 1, 10000, dtype=np.float32).reshape(1, 1, 1, 100, 100)
    pixels[0, 0, 0, 0, :3] = np.nan, np.inf, -np.inf
    low, high = read_metadata(make_image(tmp_path / "a", pixels)).contrast_limits[0]
    assert (low, high) == pytest.approx((0.01, 0.998), abs=1e-3)
    nothing = np.full((1, 1, 1, 9, 9), np.nan, np.float32)
    assert read_metadata(make_image(tmp_path / "b", nothing)).contrast_limits == [(0.0, 0.0)]


def test_contrast_limits_span_few_cells_on_a_uniform_background(tmp_path):
    pixels = np.zeros((1, 2, 1, 512, 512), np.uint8)
    pixels[0, 0, 0, 100:120, 200:220] = 200
    windows = read_metadata(make_image(tmp_path / "a", pixels, chunk_px=64, shard_px=128)).contrast_limits
    assert windows == [(0.0, 200.0), (0.0, 0.0)]
    seen = normalize(np.moveaxis(pixels[0, :, 0], 0, -1), windows)
    assert np.array_equal(seen[..., 0], pixels[0, 0, 0] / 200)
    assert not seen[..., 1].any()


def test_contrast_limits_span_cells_missed_by_sampling(tmp_path):
    pixels = np.full((1, 1, 1, 2500, 2500), 7, np.float32)
    pixels[0, 0, 0, 1501, 1501], pixels[0, 0, 0, 0, 0] = 90, np.inf
    assert read_metadata(make_image(tmp_path / "a", pixels, levels=1)).contrast_limits == [(7.0, 90.0)]


@pytest.mark.slow
def test_sampling_of_large_images_is_deterministic_with_constant_memory(tmp_path):
    path = tmp_path / "a"
    store = create_store(path, (1, 1, 1, 12000, 12000), np.uint8)
    for number, region in enumerate(iterate_shards(store)):
        store[region] = noise(*(part.stop - part.start for part in region), dtype=np.uint8, high=200 + number % 2)
    tracemalloc.start()
    finish_image(path, name="a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    first = read_metadata(path).contrast_limits
    assert first[0] == pytest.approx((2, 199), abs=1.01)
    assert peak < 120e6  # the image has 144e6 bytes
    finish_image(path, name="a")
    assert read_metadata(path).contrast_limits == first


def test_stores_are_valid_for_ome_zarr_models(tmp_path):
    make_image(
        tmp_path / "a",
        noise(2, 3, 1, 600, 40),
        pixel_size_um=(2.0, 0.5, 0.25),
        frame_interval_s=60,
        channels=["red", "b", "c"],
    )
    image = Image.from_zarr(zarr.open_group(tmp_path / "a", mode="r"))
    multiscale = image.attributes.ome.multiscales[0]
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        ("t", "time", "second"),
        ("c", "channel", None),
        ("z", "space", "micrometer"),
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    scale, shift = multiscale.datasets[1].coordinateTransformations
    assert scale.scale == [60, 1, 2, 1, 0.5]
    assert shift.translation == [0, 0, 0, 0.25, 0.125]
    store = create_store(tmp_path / "b", (1, 1, 1, 20, 20), np.int32)
    store[:] = 1
    finish_labels(tmp_path / "b", name="b", classes=["background", "mother", "daughter"])
    label = ImageLabel.from_zarr(zarr.open_group(tmp_path / "b", mode="r")).attributes.ome.image_label
    assert [color.label_value for color in label.colors] == [0, 1, 2]


def test_stores_are_read_by_the_ome_zarr_package(tmp_path):
    pixels = noise(1, 2, 1, 600, 40)
    make_image(tmp_path / "a", pixels, channels=["DAPI", "GFP"])
    node = next(iter(Reader(parse_url(tmp_path / "a"))()))
    assert np.array_equal(node.data[0].compute(), pixels)
    assert len(node.data) == 2
    assert node.metadata["channel_names"] == ["DAPI", "GFP"]
    assert node.metadata["contrast_limits"] == [
        list(window) for window in read_metadata(tmp_path / "a").contrast_limits
    ]
    store = create_store(tmp_path / "b", (1, 1, 1, 20, 20), np.int32)
    store[:] = 5
    finish_labels(tmp_path / "b", name="b")
    node = next(iter(Reader(parse_url(tmp_path / "b"))()))
    assert node.data[0].compute().max() == 5
    assert node.metadata["color"][5] == pytest.approx([*(part / 255 for part in label_color(5)), 1], abs=0.01)


def test_colors_of_neighboring_ids_differ():
    colors = np.array([label_color(id_) for id_ in range(1, 200)])
    assert np.abs(np.diff(colors, axis=0)).max(axis=1).min() > 40


def cut_in_half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def a_shard(path):
    return next(file for file in sorted((path / "0").rglob("*")) if file.is_file() and file.name != "zarr.json")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: cut_in_half(path / "zarr.json"),
        lambda path: cut_in_half(path / "0" / "zarr.json"),
        lambda path: (path / "0" / "zarr.json").unlink(),
        lambda path: a_shard(path).unlink(),
        lambda path: cut_in_half(a_shard(path)),
        lambda path: (path / "zarr.json").write_text("[]"),
    ],
    ids=["group cut", "array cut", "array lost", "shard lost", "shard cut", "group nonsense"],
)
def test_damaged_store_is_named_when_it_is_opened(tmp_path, damage):
    path = make_image(tmp_path / "cells.ome.zarr", noise(1, 1, 1, 90, 90), chunk_px=32, shard_px=32)
    damage(path)
    with pytest.raises(InputError, match=r"cells\.ome\.zarr: the store is damaged"):
        open_array(path)


def test_missing_store_is_named(tmp_path):
    with pytest.raises(InputError, match="lost: there is no store here"):
        open_array(tmp_path / "lost")
    with pytest.raises(InputError, match="lost: there is no store here"):
        read_metadata(tmp_path / "lost")


def test_replaced_store_is_not_reported_as_damaged(tmp_path):
    for size in (90, 50):
        path = make_image(tmp_path / "a", noise(1, 1, 1, size, size), chunk_px=32, shard_px=32)
        assert open_array(path).shape[-1] == size


def test_store_without_metadata_is_incomplete(tmp_path):
    create_store(tmp_path / "a", (1, 1, 1, 9, 9), np.uint8)
    with pytest.raises(InputError, match="its metadata lacks 'ome'"):
        read_metadata(tmp_path / "a")
