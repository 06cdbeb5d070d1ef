"""Labels and objects do not depend on the size of blocks or the number of threads."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from tessera.io.ome_zarr_store import create_store, finish_image, open_array
from tessera.segmentation.segment_image import ImageSegmenter, SegmentationPlan
from tessera.settings.sections import SegmentSettings


def random_blobs(seed, shape):
    """Probabilities (t, 3, z, y, x) of smooth blobs that touch, with holes and specks."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.random((3, *shape)), (0, 0, 0.7, 2.5, 2.5))
    weights = np.exp((smooth - smooth.mean()) / smooth.std() * 1.5 + random.uniform(-1, 1, (3, 1, 1, 1, 1)))
    return np.rint(255 * weights / weights.sum(0)).astype(np.uint8).transpose(1, 0, 2, 3, 4)


def write_store(path, pixels):
    """A store whose shards hold 16 chunks, so that blocks of 32, 64 and 128 px are possible."""
    create_store(path, pixels.shape, pixels.dtype, chunk_px=32, shard_px=128)[:] = pixels
    finish_image(path, name="image", pixel_size_um=(2.0, 0.5, 0.25))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["instances", "semantic"])
@pytest.mark.parametrize(("seed", "shape"), [(0, (2, 1, 150, 140)), (1, (1, 3, 140, 135)), (2, (1, 1, 100, 200))])
def test_labels_and_objects_of_random_blobs_are_the_same_for_all_blocks_and_workers(tmp_path, seed, shape, task):
    probabilities = random_blobs(seed, shape)
    pixels = np.random.default_rng(seed).integers(0, 4000, (shape[0], 2, *shape[1:])).astype(np.uint16)
    write_store(tmp_path / "image", pixels)
    write_store(tmp_path / "probabilities", probabilities)
    random = np.random.default_rng(seed)
    settings = SegmentSettings(
        seed_threshold=0.45,
        min_area_px=int(random.integers(0, 60)),
        fill_holes=bool(random.integers(2)),
        stitch_threshold=0.4,
    )
    plan = SegmentationPlan(task, ["background", "cell", "other"], settings)
    results = []
    for block_px, workers in ((128, 1), (64, 2), (32, 3)):
        labels, table = tmp_path / f"labels{block_px}", tmp_path / f"{block_px}.parquet"
        segmenter = ImageSegmenter(
            tmp_path / "image", tmp_path / "probabilities", "image", replace(plan, block_px=block_px, workers=workers)
        )
        segmenter.write(labels, table)
        rows = pd.read_parquet(table).sort_values("label", ignore_index=True)
        results.append((open_array(labels)[:], rows))
    labels, rows = results[0]
    assert len(rows) > 10
    for other_labels, other_rows in results[1:]:
        np.testing.assert_array_equal(other_labels, labels)
        pd.testing.assert_frame_equal(other_rows, rows, check_exact=False, rtol=1e-9)
