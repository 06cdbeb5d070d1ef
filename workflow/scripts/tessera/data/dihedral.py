"""The dihedral group D4: the eight rotations and reflections of a square."""

import numpy as np


def apply_dihedral(pixels, way, axes=(0, 1)):
    """`pixels` lying in one of the eight ways, 0 to 7, along two axes; 0 leaves them as they are."""
    turned = np.rot90(pixels, way % 4, axes)
    return np.flip(turned, axes[0]) if way >= 4 else turned


def invert_dihedral(pixels, way, axes=(0, 1)):
    """The inverse of `apply_dihedral`."""
    turned = np.flip(pixels, axes[0]) if way >= 4 else pixels
    return np.rot90(turned, -(way % 4), axes)
