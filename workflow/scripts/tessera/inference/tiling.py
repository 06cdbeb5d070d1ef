"""Tiles: a plane of any size through a network of limited size, without seams.

A region of the plane is cut into cores. Around each the network sees a halo, mirrored where the plane ends, and only
its answer to the core is kept: so every pixel is answered once, by a tile that has it well inside. Tiles begin on a
lattice of DIVISOR, since what a network answers depends on how pixels fall on its coarsest grid.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tessera.common.constants import DIVISOR
from tessera.data.resampling import resample

EDGE_PX = 32  # mirrored beyond the edge of the plane


@dataclass(frozen=True)
class Tile:
    """What the network sees to answer one core.

    Attributes:
        core: slices (y, x) of the plane.
        start, stop: the tile, (y, x) of its first pixel and of the one after its last, in pixels of the network; it may
            lie beyond the plane.
        plane: (y, x), size of the plane.
        scale: pixels of the network per pixel of the plane.
    """

    core: tuple[slice, slice]
    start: tuple[int, int]
    stop: tuple[int, int]
    plane: tuple[int, int]
    scale: float = 1.0

    @property
    def shape(self):
        """(y, x) of what the network sees."""
        return tuple(stop - start for start, stop in zip(self.start, self.stop, strict=True))

    @cached_property
    def seen(self):
        """(first, stop) along y and along x of the plane's pixels that the tile is made of, some beyond the plane."""
        if self.scale == 1:
            return tuple(zip(self.start, self.stop, strict=True))
        reach = max(1, 1 / self.scale)
        ends = zip(self.start, self.stop, strict=True)
        return tuple(
            (
                math.floor((start + 0.5) / self.scale - 0.5 - reach),
                math.ceil((stop - 0.5) / self.scale - 0.5 + reach) + 1,
            )
            for start, stop in ends
        )

    def read(self, read):
        """The plane's pixels (y, x, c) that the tile is made of; `read(rows, columns)` gives those of slices of it."""
        return read_mirrored(read, self.plane, *zip(*self.seen, strict=True))

    def to_network(self, pixels):
        """Pixels (y, x, c) of `read`, normalized, as the network sees them: float32 of `shape`."""
        if self.scale == 1:
            return pixels
        for axis in (0, 1):
            at = (np.arange(self.start[axis], self.stop[axis]) + 0.5) / self.scale - 0.5 - self.seen[axis][0]
            pixels = resample(pixels, at, axis, reach=max(1, 1 / self.scale))
        return pixels

    def crop_core(self, answer):
        """The core's part of the network's `answer` uint8 (outputs, y, x), in pixels of the plane."""
        if self.scale == 1:
            rows, columns = (
                slice(core.start - start, core.stop - start) for core, start in zip(self.core, self.start, strict=True)
            )
            return answer[:, rows, columns]
        answer = answer.astype(np.float32)
        for axis in (0, 1):
            core = self.core[axis]
            at = (np.arange(core.start, core.stop) + 0.5) * self.scale - 0.5 - self.start[axis]
            answer = resample(answer, at, axis + 1, reach=max(1, self.scale))
        return np.rint(answer).astype(np.uint8)


def split_into_tiles(region, plane, *, core_px, halo_px, scale=1.0):
    """Cut a region of a plane into the fewest cores of alike size.

    Args:
        region: slices (y, x) of the plane.
        plane: (y, x), size of the plane.
        core_px: largest side of a core in pixels of the network, a multiple of DIVISOR.
        halo_px: what the network sees around a core, where the plane goes on; beyond its edge EDGE_PX.
        scale: pixels of the network per pixel of the plane.

    Returns:
        [Tile, ...]
    """
    axes = [
        [_extend(core, size, halo_px, scale) for core in _part(span, core_px, scale)]
        for span, size in zip(region, plane, strict=True)
    ]
    return [
        Tile((rows, columns), (top, left), (bottom, right), tuple(plane), scale)
        for rows, top, bottom in axes[0]
        for columns, left, right in axes[1]
    ]


def read_mirrored(read, plane, start, stop):
    """Pixels from `start` to `stop`, (y, x) each, of a plane that is mirrored at its edges as often as need be.

    Args:
        read: read(rows, columns), of slices within the plane, gives pixels (y, x, c).
        plane: (y, x), size of the plane.
        start: first pixel, may be negative.
        stop: pixel after the last, may lie beyond the plane.

    Returns:
        (y, x, c), as `read` gives.
    """
    rows, columns = (_reflect(*ends) for ends in zip(plane, start, stop, strict=True))
    pixels = read(slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    for axis, places in enumerate((rows, columns)):
        places = places - places.min()
        if not np.array_equal(places, np.arange(pixels.shape[axis])):
            pixels = pixels.take(places, axis)
    return pixels


def _part(span, core_px, scale):
    """`span` in the fewest slices of at most `core_px` network pixels, which begin on the lattice where they can."""
    length = span.stop - span.start
    if length * scale <= core_px:
        return [span]
    most = max(math.floor(core_px / scale) // DIVISOR * DIVISOR, DIVISOR)
    step = math.ceil(length / math.ceil(length / most) / DIVISOR) * DIVISOR
    return [slice(first, min(first + step, span.stop)) for first in range(span.start, span.stop, step)]


def _extend(core, size, halo_px, scale):
    """(core, start, stop) of the tile around a core along one axis, in pixels of the network."""
    low = core.start * scale - (halo_px if core.start else min(halo_px, EDGE_PX))
    high = core.stop * scale + (halo_px if core.stop < size else min(halo_px, EDGE_PX))
    return core, math.floor(low / DIVISOR) * DIVISOR, math.ceil(high / DIVISOR) * DIVISOR


def _reflect(size, start, stop):
    """Positions from `start` to `stop` folded into 0 .. size - 1; the edge pixel is not repeated."""
    period = max(2 * (size - 1), 1)
    folded = np.abs(np.arange(start, stop)) % period
    return np.minimum(folded, period - folded)
