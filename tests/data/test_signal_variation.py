"""Variation of the signal of patches with known objects."""

import numpy as np
import pytest

from tessera.data.normalization import compress, expand
from tessera.data.signal_variation import vary_signal

IDS = np.zeros((64, 64), np.int32)
IDS[8:24, 8:24], IDS[36:56, 30:50] = 3, 8
PIXELS = compress(np.where(IDS > 0, 1.0, 0.0).astype(np.float32))[..., None]


def vary(seed=0, *, pixels=PIXELS, ids=IDS, fraction=1.0, is_compressed=True):
    return vary_signal(pixels, ids, np.random.default_rng(seed), fraction=fraction, is_compressed=is_compressed)


def test_same_seed_gives_the_same_patch():
    assert np.array_equal(vary(3), vary(3))
    assert not np.array_equal(vary(3), vary(4))


def test_nothing_varies_with_fraction_0():
    assert vary(fraction=0.0) == pytest.approx(PIXELS, abs=1e-6)
    assert vary(fraction=0.0, is_compressed=False) == pytest.approx(PIXELS)


def test_brightness_of_objects_varies_by_up_to_ten_times():
    ratios = []
    for seed in range(60):
        light = expand(vary(seed))[..., 0]
        first, second = (np.median(light[number == IDS]) for number in (3, 8))
        ratios.append(max(first, 0.01) / max(second, 0.01))
    assert min(ratios) < 0.5
    assert max(ratios) > 2
    assert np.median(ratios) == pytest.approx(1, abs=0.4)


def test_noise_is_added_to_patches_without_objects():
    spreads = [vary(seed, ids=None)[:6, :6].std() for seed in range(20)]
    assert min(spreads) < 0.1 < max(spreads)


def test_input_is_not_modified():
    before = PIXELS.copy()
    vary(1, is_compressed=False)
    assert np.array_equal(PIXELS, before)
