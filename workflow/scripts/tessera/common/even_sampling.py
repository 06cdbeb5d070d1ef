"""Spreads: some of many, evenly spread."""

import numpy as np


def spread(number, most):
    """At most `most` of the numbers from 0 to `number` - 1, evenly spread, the first and the last among them."""
    return np.linspace(0, number - 1, min(number, most)).round().astype(int).tolist()
