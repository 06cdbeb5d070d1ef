"""What arrays have in common, counted over runs of equal pixels."""

from collections import Counter

import numpy as np
import pytest

from tessera.common.run_length import count_shared_pixels


@pytest.mark.parametrize("shape", [(3, 7, 9), (1, 40), (2, 0, 5), (0, 0)])
@pytest.mark.parametrize("most", [1, 2**31 - 1])
def test_overlaps_of_run_lengths_equal_pixel_counts(shape, most):
    random = np.random.default_rng(0)
    values = np.array([-1, 0, 0, 5, 6, most], np.int32)
    one = random.choice(values, shape)
    two = random.choice(values[1:], shape)
    pairs = Counter((a, b) for a, b in zip(one.ravel().tolist(), two.ravel().tolist(), strict=True) if a > 0 and b > 0)
    overlaps = count_shared_pixels(one, two)
    assert overlaps.dtype == np.int64
    assert [((a, b), n) for a, b, n in overlaps.T.tolist()] == sorted(pairs.items())
