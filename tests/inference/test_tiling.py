"""Tiles answer every pixel of a plane once, with its surroundings, whatever regions the plane is computed in."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from tessera.common.errors import InputError
from tessera.inference.tiling import TilePlan, largest_core_px, plan_tiles, read_mirrored, split_into_tiles

SHAPES = [(300, 411), (97, 500), (1, 1), (20, 33), (128, 256), (31, 1), (129, 65)]


def reader(pixels):
    return lambda rows, columns: pixels[rows, columns]


def regions_of(shape, side):
    starts = itertools.product(range(0, shape[0], side), range(0, shape[1], side))
    return [(slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1]))) for y, x in starts]


def predict_region(pixels, network, region, **sides):
    """What `network`, (y, x, c) to (outputs, y, x), answers for one region."""
    made = None
    for tile in split_into_tiles(region, pixels.shape[:2], **sides):
        seen = tile.to_network(tile.read(reader(pixels)))
        assert seen.shape[:2] == tile.shape
        answer = tile.crop_core(network(seen))
        if made is None:
            made = np.zeros((len(answer), *(span.stop - span.start for span in region)), answer.dtype)
        rows, columns = (
            slice(core.start - span.start, core.stop - span.start) for core, span in zip(tile.core, region, strict=True)
        )
        assert not made[:, rows, columns].any(), "a pixel is answered twice"
        made[:, rows, columns] = answer
    return made


def whole_of(pixels):
    return tuple(slice(0, size) for size in pixels.shape[:2])


def itself(seen):
    return np.moveaxis(seen, -1, 0)


def mean_33x33(seen):
    return ndimage.uniform_filter(np.moveaxis(seen, -1, 0), (0, 33, 33), mode="constant")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "sides", [{"core_px": 64, "halo_px": 32}, {"core_px": 128, "halo_px": 0}, {"core_px": 512, "halo_px": 96}]
)
def test_an_identity_network_gives_back_the_image(shape, sides):
    pixels = np.random.default_rng(0).random((*shape, 2), np.float32) + 1
    made = predict_region(pixels, itself, whole_of(pixels), **sides)
    np.testing.assert_array_equal(made, np.moveaxis(pixels, -1, 0))


def test_a_network_that_sees_no_farther_than_the_halo_has_no_seams():
    pixels = np.random.default_rng(2).random((300, 411, 1), np.float32) + 1
    # The plain algorithm: the network sees the whole plane, filled up to multiples of 32 px by its mirror image.
    whole = mean_33x33(np.pad(pixels, ((0, 20), (0, 5), (0, 0)), mode="reflect"))[0, :300, :411]
    for core_px in (64, 128, 512):
        made = predict_region(pixels, mean_33x33, whole_of(pixels), core_px=core_px, halo_px=32)
        np.testing.assert_allclose(made[0], whole, atol=1e-5)


@pytest.mark.parametrize("side", [32, 128, 288])
def test_regions_together_equal_the_plane_in_one_piece(side):
    pixels = np.random.default_rng(3).random((300, 411, 1), np.float32) + 1
    together = np.empty((1, 300, 411), np.float32)
    for region in regions_of((300, 411), side):
        together[:, *region] = predict_region(pixels, mean_33x33, region, core_px=96, halo_px=32)
    whole = predict_region(pixels, mean_33x33, whole_of(pixels), core_px=2048, halo_px=32)
    np.testing.assert_allclose(together, whole, atol=1e-5)


@pytest.mark.parametrize("size", [1, 31, 32, 64, 65, 200, 257, 1000, 2049, 16384])
@pytest.mark.parametrize(("core_px", "halo_px"), [(2048, 96), (256, 0), (96, 64)])
def test_tiles_are_on_the_grid_of_the_network_and_see_the_halo(size, core_px, halo_px):
    for region in regions_of((size, 40), 2048):
        for tile in split_into_tiles(region, (size, 40), core_px=core_px, halo_px=halo_px):
            assert all(edge % 32 == 0 for edge in (*tile.start, *tile.stop))
            rows = tile.core[0]
            assert rows.stop - rows.start <= core_px
            assert 0 <= tile.start[0] <= max(rows.start - halo_px, 0)
            assert min(rows.stop + halo_px, size) <= tile.stop[0] < size + 32
            assert tile.shape[0] <= rows.stop - rows.start + 2 * halo_px + 62


def test_the_overlap_of_large_tiles_costs_at_most_30_percent():
    shape = (8192, 8192)
    tiles = [
        tile
        for region in regions_of(shape, 2048)
        for tile in split_into_tiles(region, shape, core_px=2048, halo_px=128)
    ]
    assert len(tiles) == 16
    assert sum(tile.shape[0] * tile.shape[1] for tile in tiles) / 8192**2 <= 1.3


def test_an_image_smaller_than_a_tile_takes_one_tile_without_a_halo():
    (tile,) = split_into_tiles((slice(0, 70), slice(0, 256)), (70, 256), core_px=2048, halo_px=128)
    assert (tile.start, tile.stop) == ((0, 0), (96, 256))
    (tile,) = split_into_tiles((slice(0, 70), slice(0, 256)), (70, 256), core_px=2048, halo_px=128, scale=0.5)
    assert (tile.start, tile.stop) == ((0, 0), (64, 128))


def test_a_long_region_is_split_into_cores_of_similar_size():
    tiles = split_into_tiles((slice(0, 1100), slice(0, 10)), (1100, 10), core_px=512, halo_px=32)
    assert [tile.core[0].stop - tile.core[0].start for tile in tiles] == [384, 384, 332]


@pytest.mark.parametrize("scale", [0.5, 0.37, 2.0, 1.7])
def test_a_rescaled_plane_is_the_same_for_any_tiles(scale):
    y, x = np.mgrid[:200, :260]
    pixels = (128 + 100 * np.sin(y / 9) * np.cos(x / 12))[..., None].astype(np.float32)

    def as_stored(seen):
        return np.rint(np.moveaxis(seen, -1, 0)).astype(np.uint8)

    whole = predict_region(pixels, as_stored, whole_of(pixels), core_px=2048, halo_px=64, scale=scale)
    parts = predict_region(pixels, as_stored, whole_of(pixels), core_px=64, halo_px=32, scale=scale)
    assert np.abs(whole.astype(int) - parts).max() <= 1
    inside = (0, slice(8, -8), slice(8, -8))
    assert np.abs(whole[inside] - pixels[8:-8, 8:-8, 0]).max() < 12


def test_the_network_sees_a_rescaled_plane_at_its_scale():
    pixels = np.zeros((100, 100, 1), np.float32)
    pixels[40:60, 30:70] = 1
    (tile,) = split_into_tiles(whole_of(pixels), (100, 100), core_px=2048, halo_px=32, scale=0.5)
    seen = tile.to_network(tile.read(reader(pixels)))[..., 0]
    inside = seen[-tile.start[0] : -tile.start[0] + 50, -tile.start[1] : -tile.start[1] + 50]
    assert inside.sum() == pytest.approx(pixels.sum() / 4, rel=0.01)
    assert inside[25, 25] == 1
    assert inside[15, 25] == 0


def test_mirrored_pixels_go_there_and_back():
    line = np.arange(4).reshape(1, 4, 1)
    mirrored = read_mirrored(reader(line), (1, 4), (-1, -5), (2, 9))
    assert mirrored.shape == (3, 14, 1)
    assert mirrored[0, :, 0].tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]


def test_a_last_core_of_one_pixel_is_predicted():
    line = np.arange(4).reshape(1, 4, 1)
    assert read_mirrored(reader(line), (1, 4), (0, 3), (1, 7))[0, :, 0].tolist() == [3, 2, 1, 0]
    pixels = np.random.default_rng(4).random((65, 40, 1), np.float32) + 1
    for region in regions_of((65, 40), 64):
        made = predict_region(pixels, itself, region, core_px=64, halo_px=0)
        np.testing.assert_array_equal(made[0], pixels[*region, 0])


@pytest.mark.parametrize(
    ("free_mb", "core_px"),
    # 0.6 of the free memory is for tiles. At 100 bytes per pixel and a halo of 128 px, a tile needs 506 MiB with a core
    # of 2048 px, 156 MiB with 1024, 56 MiB with 512, 25 MiB with 256.
    [(1000, 2048), (600, 1024), (200, 512), (70, 256), (10, 128), (-1000, 128)],
)
def test_cores_are_halved_until_their_tiles_fit_into_memory(free_mb, core_px):
    assert largest_core_px(2048, 128, 100, free_mb) == core_px
    plan = plan_tiles(tile_px="auto", halo_px=128, batch_tiles="auto", bytes_per_px=100, free_mb=free_mb)
    assert plan == TilePlan(core_px, 128)


def test_cores_stay_on_the_lattice_when_halved():
    assert largest_core_px(2048 + 96, 0, 100, 200) % 32 == 0


def test_a_given_tile_size_includes_the_halo_and_ignores_memory():
    plan = plan_tiles(tile_px=512, halo_px=96, batch_tiles="auto", bytes_per_px=1e9, free_mb=1)
    assert (plan.core_px, plan.halo_px, plan.tile_px, plan.batch_px) == (320, 96, 512, None)
    with pytest.raises(InputError, match=r"predict.tile_px: 192 must be larger than 2 x the halo of 96 px"):
        plan_tiles(tile_px=192, halo_px=96, batch_tiles="auto")


def test_a_given_number_of_tiles_sets_the_pixels_of_a_batch():
    assert plan_tiles(tile_px=128, halo_px=32, batch_tiles=3).batch_px == 3 * 128**2


def test_a_plan_is_halved_down_to_the_smallest_core():
    sizes, plan = [], TilePlan(1024, 32)
    while plan is not None:
        sizes.append(plan.core_px)
        plan = plan.halved()
    assert sizes == [1024, 512, 256, 128]
