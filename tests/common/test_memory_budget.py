"""The memory that a network needs is measured, and the limit of a job is known."""

import psutil
import pytest

from tessera.common.memory_budget import measure_bytes_per_px, memory_limit_mb


def test_a_job_may_use_what_it_asked_for_but_no_more_than_there_is():
    there = psutil.virtual_memory().total / 2**20
    assert memory_limit_mb(1) == 1
    assert 0 < memory_limit_mb(None) <= there
    assert memory_limit_mb(10 * there) <= there


def test_bytes_per_pixel_are_the_growth_of_memory_from_a_small_to_a_large_tile():
    held = [50 * 2**20]

    def predict(pixels):
        assert pixels.shape[3] == 2
        held.append(held[0] + pixels[..., 0].size * 150)

    assert measure_bytes_per_px(predict, 2, lambda: held[-1] / 2**20) == pytest.approx(150)
