"""Types that many modules share."""

import os
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
"""A path as text or as a path object."""

Shape5D: TypeAlias = tuple[int, int, int, int, int]
"""Sizes of an image along its axes (t, c, z, y, x)."""

Roi: TypeAlias = tuple[int, int, int, int]
"""A region of interest (y0, y1, x0, x1) in pixels; y1 and x1 are excluded."""

VoxelSize: TypeAlias = tuple[float | None, float | None, float | None]
"""Size of a voxel along (z, y, x) in micrometers, None where unknown."""
