"""Evenly spaced indices into a sequence."""

import numpy as np


def evenly_spaced_indices(count: int, limit: int) -> list[int]:
    """Return at most `limit` of the indices 0 to `count` - 1, evenly spaced, the first and the last among them."""
    indices: list[int] = np.linspace(0, count - 1, min(count, limit)).round().astype(int).tolist()
    return indices
