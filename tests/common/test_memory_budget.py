"""Memories: what a network needs is measured, and tiles are as large as what is left."""

import numpy as np
import psutil
import pytest

from tessera.common.memory_budget import largest_core_px, measure_bytes_per_px, memory_limit_mb, resident_mb


def test_a_job_may_use_what_it_asked_for_but_no_more_than_there_is():
    there = psutil.virtual_memory().total / 2**20
    assert memory_limit_mb(1) == 1
    assert 0 < memory_limit_mb(None) <= there
    assert memory_limit_mb(10 * there) <= there


def test_bytes_per_pixel_are_those_that_a_network_keeps():
    kept = []

    def predict(pixels):
        assert pixels.shape[3] == 2
        kept.append(np.ones(pixels[..., 0].size * 150, np.uint8))

    assert measure_bytes_per_px(predict, 2) == pytest.approx(150, rel=0.2)


@pytest.mark.parametrize(
    ("left_mb", "core_px"),
    # Of what is left, 0.6 is for tiles: 506 MiB for 2048 and twice 128 at 100 bytes a pixel, 156 for 1024, 56, 25.
    [(1000, 2048), (600, 1024), (200, 512), (70, 256), (10, 128), (-1000, 128)],
)
def test_cores_are_halved_until_their_tiles_fit(left_mb, core_px):
    assert largest_core_px(2048, 128, 100, resident_mb() + left_mb) == core_px


def test_cores_stay_on_the_lattice():
    assert largest_core_px(2048 + 96, 0, 100, resident_mb() + 200) % 32 == 0
