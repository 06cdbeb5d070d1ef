"""Windows at another scale: what a network learns from is what it is given in prediction."""

import numpy as np
import pytest

from helpers.annotated_batch import Batch, cells
from tessera.data.annotated_images import grid_positions
from tessera.data.patch_reader import read_window
from tessera.inference.tiling import split_into_tiles


def open_scaled(folder, scale, shape=(150, 170)):
    ids, pixels = cells(0, shape)
    source = Batch(folder).add("one", "train", pixels, ids).source("one")
    source.scale = scale
    return source, ids, pixels


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.6, 2.0])
def test_training_windows_equal_the_tiles_of_prediction(tmp_path, scale):
    source, _, pixels = open_scaled(tmp_path, scale)
    seen, ids, inside = read_window(source, (0, 0), 75, 85, 32, 32)
    low, high = source.metadata.contrast_limits[0]
    plane = ((pixels - low) / (high - low)).clip(-1, 3).astype(np.float32)[..., None]
    (tile,) = split_into_tiles((slice(0, 150), slice(0, 170)), (150, 170), core_px=4096, halo_px=0, scale=scale)
    given = tile.to_network(tile.read(lambda rows, columns: plane[rows, columns]))
    top, left = (int((center + 0.5) * scale) - 16 - first for center, first in zip((75, 85), tile.start, strict=True))
    assert seen == pytest.approx(given[top : top + 32, left : left + 32], abs=1e-4)
    assert inside.all()
    assert ids.any()


def test_ids_are_those_of_the_nearest_pixel(tmp_path):
    source, truth, _ = open_scaled(tmp_path, 2.0)
    ids = read_window(source, (0, 0), 75, 85, 64, 64)[1]
    assert np.array_equal(ids[1::2, 1::2], truth[75 - 15 : 75 + 17, 85 - 15 : 85 + 17])
    source.scale = 0.5
    small = read_window(source, (0, 0), 75, 85, 32, 32)[1]
    assert set(np.unique(small)) <= set(np.unique(truth))
    assert (small > 0).mean() == pytest.approx((truth[43:107, 53:117] > 0).mean(), abs=0.03)


def test_image_smaller_than_a_patch_is_centered_and_marked_inside(tmp_path):
    source, _, _ = open_scaled(tmp_path, 0.25, (96, 128))
    pixels, _, inside = read_window(source, (0, 0), 3, 3, 64, 64)
    assert pixels.shape == (64, 64, 1)
    assert inside.sum() == 24 * 32
    assert inside[20:44, 16:48].all()


def test_validation_patches_cover_a_rescaled_image(tmp_path):
    source, _, _ = open_scaled(tmp_path, 0.5)
    covered = np.zeros((150, 170), int)
    for _, _, row, column in grid_positions([source], 64, 100):
        covered[max(row - 64, 0) : row + 64, max(column - 64, 0) : column + 64] += 1
    assert covered.min() == 1
