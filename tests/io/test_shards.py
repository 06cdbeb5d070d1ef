"""Shards: few files for any image, whole shards from parts of it, and blocks that lie in one shard."""

import math

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_image, finish_labels, open_array
from tessera.io.shards import BYTES_PER_PX, Layout, ShardWriter, iterate_blocks, iterate_parts, iterate_shards
from tessera.io.shards import largest_block_px as block_px


def count_files(shape, itemsize, by_rows=False):
    """Files of a store with its pyramid, from the sizes of its levels: shards, zarr.json of levels and of the store."""
    files, layout = 1, Layout(by_rows=by_rows)
    while True:
        shards = layout.shards(shape, itemsize)
        files += 1 + math.prod(-(-size // side) for size, side in zip(shape, shards, strict=True))
        if max(shape[-2:]) < 512:
            return files
        shape = (*shape[:3], -(-shape[3] // 2), -(-shape[4] // 2))


@pytest.mark.parametrize("itemsize", [1, 2, 4])
def test_small_images_and_movies_have_at_most_12_files(itemsize):
    movie = (1000, 1, 1, 51, 51)
    assert count_files(movie, itemsize) == 3
    assert count_files((1, 1, 1, 256, 256), itemsize) == 3
    assert count_files((1, 3, 1, 1040, 1388), itemsize) == 7
    assert count_files((100, 2, 1, 512, 512), itemsize) <= 12
    assert count_files((30, 4, 7, 200, 300), itemsize) <= 4


@pytest.mark.parametrize(
    ("channels", "itemsize"), [(1, 1), (1, 2), (1, 4), (3, 1), (3, 2), (4, 2)], ids=lambda value: str(value)
)
def test_image_of_16384_px_has_at_most_40_files(channels, itemsize):
    assert count_files((1, channels, 1, 16384, 16384), itemsize) <= 40
    assert count_files((1, channels, 1, 16384, 16384), itemsize, by_rows=True) <= 40
    assert count_files((1, channels, 1, 4096, 65536), itemsize) <= 44
    assert count_files((1, channels, 1, 65536, 1024), itemsize) <= 44


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("layout", [(512, 4096), (64, 128), (100, 700), (512, 512)])
def test_shards_consist_of_whole_chunks_and_have_few_bytes(layout, by_rows):
    random = np.random.default_rng(0)
    for _ in range(300):
        shape = tuple(int(size) for size in np.exp(random.uniform(0, [7, 2, 4, 11, 11])).astype(int))
        itemsize = int(random.choice([1, 2, 4, 8]))
        sizes = Layout(*layout, by_rows=by_rows)
        chunks, shards = sizes.chunks(shape), sizes.shards(shape, itemsize)
        assert all(shard % chunk == 0 for shard, chunk in zip(shards, chunks, strict=True))
        held = math.prod(min(pair) for pair in zip(shards, shape, strict=True)) * itemsize
        assert held <= max(BYTES_PER_PX * layout[1] ** 2, math.prod(chunks) * shape[1] * itemsize)
        assert shards[1] == shape[1]
        if shards[2] > 1:
            assert shards[3] >= shape[3]
            assert shards[4] >= shape[4]
        assert shards[0] == 1 or shards[2] == shape[2]


def test_shards_of_a_large_image_are_squares_of_4096_px():
    assert Layout().shards((1, 1, 1, 16384, 16384), 2) == (1, 1, 1, 4096, 4096)
    assert Layout().chunks((1, 1, 1, 16384, 16384)) == (1, 1, 1, 512, 512)


def test_shards_of_many_bytes_are_smaller():
    assert Layout().shards((1, 10, 1, 16384, 16384), 2) == (1, 10, 1, 2048, 2048)


def test_shards_of_a_movie_have_frames_of_equal_numbers():
    # 4096² / 1000² = 16.8 frames fit, so 20 frames are two times 10.
    assert Layout().shards((20, 1, 1, 1000, 1000), 1) == (10, 1, 1, 1024, 1024)
    assert Layout().shards((3, 1, 20, 1000, 1000), 1) == (1, 1, 10, 1024, 1024)
    # The table of the chunks of a shard is limited.
    assert Layout().shards((10_000, 2, 1, 16, 16), 1) == (2000, 2, 1, 16, 16)


def test_shards_by_rows_are_wide_and_low():
    assert Layout(by_rows=True).shards((1, 1, 1, 16384, 16384), 2) == (1, 1, 1, 1024, 16384)
    assert Layout(by_rows=True).shards((1, 1, 1, 100_000, 100_000), 2) == (1, 1, 1, 512, 32768)


def test_layout_of_labels_follows_the_layout_of_their_image(tmp_path):
    image = create_store(tmp_path / "image", (9, 2, 1, 40, 50), np.uint16, chunk_px=32, shard_px=64)
    assert chunk_layout(image) == {"chunk_px": 32, "shard_px": 64}
    labels = create_store(tmp_path / "labels", (9, 1, 1, 40, 50), np.int32, **chunk_layout(image))
    assert (image.shards, labels.shards) == ((2, 2, 1, 64, 64), (2, 1, 1, 64, 64))


def test_stores_with_shards_of_many_frames_are_read_by_zarr_and_ome_zarr(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 2, 3, 33, 600)).astype(np.uint16)
    create_store(tmp_path / "a", pixels.shape, pixels.dtype)[:] = pixels
    finish_image(tmp_path / "a", name="a")
    assert sum(path.is_file() for path in (tmp_path / "a").rglob("*")) == 5
    assert np.array_equal(zarr.open_group(tmp_path / "a", mode="r")["0"][7, 1, 2], pixels[7, 1, 2])
    node = next(iter(Reader(parse_url(tmp_path / "a"))()))
    assert np.array_equal(node.data[0][31, 0, 1].compute(), pixels[31, 0, 1])
    assert node.data[1].shape == (40, 2, 3, 17, 300)


def test_pyramid_of_a_movie_is_that_of_its_planes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 2, 2, 70, 600)).astype(np.uint8)
    create_store(tmp_path / "movie", pixels.shape, pixels.dtype, chunk_px=64, shard_px=300)[:] = pixels
    finish_image(tmp_path / "movie", name="movie")
    movie = open_array(tmp_path / "movie", 1)
    assert movie.shards[0] > 1
    expected = np.rint(pixels.reshape(5, 2, 2, 35, 2, 300, 2).astype(float).mean((4, 6)))
    assert np.array_equal(movie[:], expected)


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("shape", [(7, 2, 3, 40, 50), (2, 1, 2, 300, 210), (1, 3, 5, 100, 100), (1, 1, 1, 70, 900)])
def test_parts_of_an_array_become_whole_shards(tmp_path, shape, by_rows):
    pixels = np.random.default_rng(0).integers(1, 255, shape).astype(np.uint8)
    array = create_store(tmp_path / "a", shape, np.uint8, chunk_px=32, shard_px=96, by_rows=by_rows)
    written = []
    with ShardWriter(_Recorded(array, written)) as writer:
        for part in iterate_parts(array, by_rows):
            writer.write(part, pixels[part])
    assert np.array_equal(array[:], pixels)
    assert written == list(iterate_shards(array))


def test_frames_become_whole_shards_and_frames_left_out_are_zeros(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 9, (9, 1, 2, 20, 20)).astype(np.int32)
    array = create_store(tmp_path / "a", pixels.shape, np.int32, chunk_px=16, shard_px=40)
    assert array.shards[0] == 2
    written = []
    with ShardWriter(_Recorded(array, written)) as writer:
        for t in (1, 4, 5, 8):
            writer.write((slice(t, t + 1), *(slice(0, size) for size in pixels.shape[1:])), pixels[t : t + 1])
    pixels[[0, 2, 3, 6, 7]] = 0
    assert np.array_equal(array[:], pixels)
    assert len(written) == 3


def test_shard_that_was_written_is_not_begun_again(tmp_path):
    array = create_store(tmp_path / "a", (1, 1, 1, 64, 64), np.uint8, chunk_px=32, shard_px=32)
    last, first = list(iterate_parts(array))[-1], next(iterate_parts(array))
    writer = ShardWriter(array)
    writer.write(last, np.ones([1, 1, 1, 32, 32], np.uint8))
    with pytest.raises(ValueError, match="already written"):
        writer.write(first, np.ones([1, 1, 1, 32, 32], np.uint8))


def test_blocks_lie_in_one_shard_each_and_cover_the_planes(tmp_path):
    for shape, layout in (
        ((2, 2, 1, 300, 210), (32, 96)),
        ((1, 1, 2, 100, 700), (32, 64)),
        ((1, 1, 1, 90, 70), (16, 96)),
    ):
        array = create_store(tmp_path / "a", shape, np.uint8, chunk_px=layout[0], shard_px=layout[1])
        side = block_px(array, 64)
        assert side % layout[0] == 0
        assert side <= 64
        covered = np.zeros(shape, int)
        for block in iterate_blocks(array, most_px=64):
            covered[block] += 1
            spans = zip(block, array.shards, strict=True)
            assert all(part.start // step == (part.stop - 1) // step for part, step in spans if step > 1)
        assert (covered == 1).all()


def test_blocks_of_a_plane_in_one_shard_need_not_divide_it(tmp_path):
    array = create_store(tmp_path / "a", (1, 1, 1, 2160, 2560), np.uint8)
    assert block_px(array, 1024) == 1024
    assert block_px(create_store(tmp_path / "b", (1, 1, 1, 9000, 9000), np.uint8, shard_px=2560), 2048) == 512


def test_labels_of_a_movie_keep_few_files(tmp_path):
    create_store(tmp_path / "a", (300, 1, 1, 20, 20), np.int32)[:] = 1
    finish_labels(tmp_path / "a", name="a")
    assert sum(path.is_file() for path in (tmp_path / "a").rglob("*")) == 3


class _Recorded:
    """An array that lists the regions that are written to it."""

    def __init__(self, array, written):
        self._array, self._written = array, written

    def __getattr__(self, name):
        return getattr(self._array, name)

    def __setitem__(self, region, pixels):
        self._written.append(region)
        self._array[region] = pixels
