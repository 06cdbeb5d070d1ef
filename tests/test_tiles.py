"""Tiles cover a plane once, leave no seam, and know nothing of the regions they are computed in."""

import numpy as np
import pytest
from lib.tiles import count_tiles, make_lattice, make_window, predict_region, read_reflected
from scipy import ndimage


def lattices_of(shape, tile_px=128, overlap_px=64):
    return [make_lattice(size, tile_px=tile_px, overlap_px=overlap_px) for size in shape]


def reader(pixels):
    return lambda rows, columns: pixels[rows, columns]


def regions_of(shape, side):
    return [
        (slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1])))
        for y in range(0, shape[0], side)
        for x in range(0, shape[1], side)
    ]


def predict_whole(pixels, network, lattices, batch_tiles=3):
    whole = tuple(slice(0, size) for size in pixels.shape[:2])
    return predict_region(reader(pixels), network, lattices, whole, batch_tiles=batch_tiles)


def blend_directly(pixels, network, lattices):
    """The definition: mirror the whole plane far out, put every tile in its place with its weight, divide."""
    rows, columns = lattices
    margin = 512
    mirrored = np.pad(pixels, [(margin, margin), (margin, margin), (0, 0)], mode="reflect")
    total, weight = np.zeros_like(mirrored), np.zeros(mirrored.shape[:2])
    for y in rows.starts:
        for x in columns.starts:
            place = (slice(margin + y, margin + y + rows.length), slice(margin + x, margin + x + columns.length))
            window = np.outer(rows.window, columns.window)
            total[place] += window[..., None] * network(mirrored[place][None])[0]
            weight[place] += window
    inner = (slice(margin, margin + rows.size), slice(margin, margin + columns.size))
    return total[inner] / weight[inner][..., None]


def by_position(tiles):
    """A network whose answer depends on where in the tile a pixel lies, so that blending shows."""
    ramp = np.linspace(0, 1, tiles.shape[1])[:, None] * np.linspace(1, 2, tiles.shape[2])[None, :]
    return (tiles * ramp[None, ..., None]).astype(np.float32)


def mean_5x5(tiles):
    return ndimage.uniform_filter(tiles, (0, 5, 5, 0), mode="constant")


@pytest.mark.parametrize("shape", [(300, 411), (97, 500), (1, 1), (20, 33), (128, 256), (31, 1), (129, 65)])
@pytest.mark.parametrize(("tile_px", "overlap_px"), [(128, 64), (128, 32), (96, 64), (64, 0), (256, 128)])
def test_a_network_that_answers_its_input_gives_the_image_back(shape, tile_px, overlap_px):
    pixels = np.random.default_rng(0).random((*shape, 2), np.float32)
    lattices = lattices_of(shape, tile_px, overlap_px)
    np.testing.assert_allclose(predict_whole(pixels, lambda tiles: tiles, lattices), pixels, atol=1e-6)


@pytest.mark.parametrize("network", [by_position, mean_5x5])
def test_blending_is_what_its_definition_says(network):
    pixels = np.random.default_rng(1).random((300, 411, 2), np.float32)
    lattices = lattices_of(pixels.shape[:2])
    direct = blend_directly(pixels, network, lattices)
    np.testing.assert_allclose(predict_whole(pixels, network, lattices), direct, atol=1e-5)


def test_a_network_that_looks_no_further_than_the_halo_shows_no_seam():
    pixels = np.random.default_rng(2).random((300, 411, 1), np.float32)
    whole = ndimage.uniform_filter(pixels, (5, 5, 0), mode="mirror")
    np.testing.assert_allclose(predict_whole(pixels, mean_5x5, lattices_of((300, 411))), whole, atol=1e-5)


@pytest.mark.parametrize("side", [50, 128, 299])
def test_regions_put_together_are_the_whole_plane_to_the_bit(side):
    pixels = np.random.default_rng(3).random((300, 411, 1), np.float32)
    lattices = lattices_of((300, 411))
    together = np.empty_like(pixels)
    for region in regions_of((300, 411), side):
        together[region] = predict_region(reader(pixels), by_position, lattices, region, batch_tiles=2)
    np.testing.assert_array_equal(together, predict_whole(pixels, by_position, lattices))


def test_a_thin_last_region_mirrors_the_plane_and_not_itself():
    pixels = np.random.default_rng(4).random((257, 257, 1), np.float32)
    lattices = lattices_of((257, 257), tile_px=128, overlap_px=0)
    thin = (slice(256, 257), slice(256, 257))
    alone = predict_region(reader(pixels), mean_5x5, lattices, thin, batch_tiles=2)
    np.testing.assert_array_equal(alone, predict_whole(pixels, mean_5x5, lattices)[thin])


@pytest.mark.parametrize("size", [1, 31, 32, 64, 65, 200, 256, 257, 1000, 2049, 16384])
@pytest.mark.parametrize(("tile_px", "overlap_px"), [(512, 128), (256, 0), (96, 64), (64, 32)])
def test_tiles_are_on_the_grid_of_the_network_and_cover_the_axis(size, tile_px, overlap_px):
    lattice = make_lattice(size, tile_px=tile_px, overlap_px=overlap_px)
    assert lattice.length <= tile_px
    assert all(start % 32 == lattice.length % 32 == 0 for start in lattice.starts)
    assert lattice.starts[0] <= 0
    assert lattice.starts[-1] + lattice.length >= size
    assert lattice.sum_weights(slice(0, size)).min() > 0


def test_an_image_a_little_larger_than_a_tile_is_not_padded_to_twice_its_size():
    lattice = make_lattice(512, tile_px=512, overlap_px=128)
    assert (list(lattice.starts), lattice.length) == ([-32, 192], 352)


def test_an_image_smaller_than_a_tile_takes_one_small_tile():
    lattice = make_lattice(70, tile_px=512, overlap_px=128)
    assert (list(lattice.starts), lattice.length) == ([-32], 160)


def test_neighbouring_windows_sum_to_one():
    window = make_window(128, 32)
    np.testing.assert_allclose(window[:32] + window[-32:], 1, atol=1e-6)
    assert np.all(window[32:-32] == 1)
    assert np.all(window[:8] == 0)


def test_lengths_off_the_grid_are_refused():
    for tile_px, overlap_px in [(100, 32), (128, 20), (128, 128), (128, -32)]:
        with pytest.raises(ValueError, match="do not fit"):
            make_lattice(500, tile_px=tile_px, overlap_px=overlap_px)


def test_mirrored_pixels_go_there_and_back():
    line = np.arange(4).reshape(1, 4, 1)
    mirrored = read_reflected(reader(line), (1, 4), (-1, -5), (2, 9))
    assert mirrored.shape == (3, 14, 1)
    assert mirrored[0, :, 0].tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_the_network_sees_as_many_tiles_as_were_counted_and_no_more_at_once_than_asked():
    seen = []

    def network(tiles):
        seen.append(len(tiles))
        return tiles

    region = (slice(100, 230), slice(0, 300))
    lattices = lattices_of((300, 411))
    predict_region(reader(np.zeros((300, 411, 1), np.float32)), network, lattices, region, batch_tiles=4)
    assert sum(seen) == count_tiles(lattices, region)
    assert max(seen) == 4
