"""The dihedral group D4: the eight rotations and reflections of a square."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def apply_dihedral(pixels: NDArray[Any], element: int, axes: tuple[int, int] = (0, 1)) -> NDArray[Any]:
    """Apply an element of D4 to two axes of an array.

    Args:
        pixels: array with any axes.
        element: 0 to 7: `element % 4` rotations by 90 degrees, then a reflection for 4 to 7; 0 changes nothing.
        axes: the two axes that are rotated.
    """
    rotated = np.rot90(pixels, element % 4, axes)
    return np.flip(rotated, axes[0]) if element >= 4 else rotated


def invert_dihedral(pixels: NDArray[Any], element: int, axes: tuple[int, int] = (0, 1)) -> NDArray[Any]:
    """Apply the inverse of `apply_dihedral`."""
    rotated = np.flip(pixels, axes[0]) if element >= 4 else pixels
    return np.rot90(rotated, -(element % 4), axes)
