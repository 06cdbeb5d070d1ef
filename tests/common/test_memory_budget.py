"""The memory that a network needs is measured, and the limit of a job is known."""

import psutil
import pytest

from tessera.common.memory_budget import measure_bytes_per_px, memory_limit_mb


def test_memory_limit_is_the_request_or_the_available_memory():
    there = psutil.virtual_memory().total / 2**20
    assert memory_limit_mb(1) == 1
    assert 0 < memory_limit_mb(None) <= there
    assert memory_limit_mb(10 * there) <= there


def test_bytes_per_pixel_are_the_memory_growth_between_two_tile_sizes():
    held = [50 * 2**20]

    def predict(pixels):
        assert pixels.shape[3] == 2
        held.append(held[0] + pixels[..., 0].size * 150)

    assert measure_bytes_per_px(predict, 2, lambda: held[-1] / 2**20) == pytest.approx(150)
