"""Tiles: a plane of any size is predicted by a network of limited size, without seams.

A region of the plane is split into cores. The network sees a halo around each core, and only its output for the core is
kept (cropping). So one tile decides on each pixel, and that pixel is well inside the tile. Cropping left fewer wrong
labels than blending of overlapping tiles. The halo ends at the edges of the plane, so an image that is one tile costs
no pixels of a halo. Tiles start on a lattice of SIZE_DIVISOR pixels, because the output of a network depends on the
position of the pixels on its coarsest grid. Beyond the edges, pixels are mirrored to fill up this lattice.

`plan_tiles` decides on the size of tiles, and `TilePlan.halved` on the next smaller one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import SIZE_DIVISOR
from tessera.common.errors import InputError
from tessera.common.memory_budget import MIB, SHARE
from tessera.data.resampling import resample

Region: TypeAlias = tuple[slice, slice]
"""Slices (y, x) of a plane."""
Reader: TypeAlias = Callable[[slice, slice], NDArray[Any]]
"""reader(rows, columns) returns pixels (y, x, c) of slices inside the plane."""

MAX_CORE_PX = 2048  # size of cores if memory allows
MIN_AUTO_CORE_PX = 4 * SIZE_DIVISOR  # smallest core that is planned; see also MIN_CORE_PX
MIN_CORE_PX = 128  # smallest core after memory was exhausted


@dataclass(frozen=True)
class TilePlan:
    """Size of the tiles of a job.

    Attributes:
        core_px: largest size of a core along y and x, in pixels of the network; a multiple of SIZE_DIVISOR.
        halo_px: width of the halo in pixels of the network.
        batch_px: largest number of pixels that the network gets at once, unless one tile has more; None: the default of
            the device.
    """

    core_px: int
    halo_px: int
    batch_px: int | None = None

    @property
    def tile_px(self) -> int:
        """Size of a tile along y and x, halo included."""
        return self.core_px + 2 * self.halo_px

    def halved(self) -> "TilePlan | None":
        """Return the plan with cores of half the size, or None if they would be smaller than MIN_CORE_PX."""
        core_px = _halve(self.core_px)
        return replace(self, core_px=core_px) if core_px >= MIN_CORE_PX else None


def plan_tiles(
    *,
    tile_px: int | Literal["auto"],
    halo_px: int,
    batch_tiles: int | Literal["auto"],
    bytes_per_px: float | None = None,
    free_mb: float = math.inf,
) -> TilePlan:
    """Choose the size of tiles.

    Args:
        tile_px: setting `predict.tile_px`; "auto" takes cores of MAX_CORE_PX, or a half, a quarter, ... of it that fits
            into memory.
        halo_px: width of the halo in pixels.
        batch_tiles: setting `predict.batch_tiles`; "auto" leaves the batch to the device.
        bytes_per_px: memory that the networks need for each pixel of a tile; None: not measured.
        free_mb: memory in MiB that the job may still use.

    Raises:
        InputError: `tile_px` has no room for a core.
    """
    core_px = MAX_CORE_PX
    if tile_px != "auto":
        if tile_px <= 2 * halo_px:
            raise InputError(
                f"predict.tile_px: {tile_px} must be larger than 2 x the halo of {halo_px} px; enlarge tile_px"
            )
        core_px = tile_px - 2 * halo_px
    elif bytes_per_px is not None:
        core_px = largest_core_px(core_px, halo_px, bytes_per_px, free_mb)
    plan = TilePlan(core_px, halo_px)
    return plan if batch_tiles == "auto" else replace(plan, batch_px=batch_tiles * plan.tile_px**2)


def largest_core_px(core_px: int, halo_px: int, bytes_per_px: float, free_mb: float) -> int:
    """Return the size of cores whose tiles fit into memory: `core_px`, or a half, a quarter, ... of it.

    Args:
        core_px: size of cores to start with, in pixels.
        halo_px: width of the halo in pixels.
        bytes_per_px: memory that the networks need for each pixel of a tile.
        free_mb: memory in MiB that the job may still use. A share of it (`memory_budget.SHARE`) is for tiles.
    """
    available = SHARE * max(free_mb, 0) * MIB
    while core_px > MIN_AUTO_CORE_PX and bytes_per_px * (core_px + 2 * halo_px) ** 2 > available:
        core_px = _halve(core_px)
    return core_px


def _halve(core_px: int) -> int:
    return core_px // 2 // SIZE_DIVISOR * SIZE_DIVISOR


@dataclass(frozen=True)
class Tile:
    """The pixels that the network sees to predict one core.

    Attributes:
        core: slices (y, x) of the plane.
        start: (y, x) of the first pixel, in pixels of the network; it may lie outside of the plane.
        stop: (y, x) of the pixel after the last one.
        plane: (y, x), size of the plane in pixels.
        scale: pixels of the network per pixel of the plane.
    """

    core: Region
    start: tuple[int, int]
    stop: tuple[int, int]
    plane: tuple[int, int]
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x), size of the network's input."""
        return (self.stop[0] - self.start[0], self.stop[1] - self.start[1])

    @cached_property
    def source_spans(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(first, stop) along y and along x of the pixels that the tile needs; some lie outside of the plane."""
        if self.scale == 1:
            return (self.start[0], self.stop[0]), (self.start[1], self.stop[1])
        reach = max(1, 1 / self.scale)
        spans = [
            (
                math.floor((start + 0.5) / self.scale - 0.5 - reach),
                math.ceil((stop - 0.5) / self.scale - 0.5 + reach) + 1,
            )
            for start, stop in zip(self.start, self.stop, strict=True)
        ]
        return spans[0], spans[1]

    def read(self, reader: Reader) -> NDArray[Any]:
        """Read the plane's pixels (y, x, c) that the tile needs."""
        (top, bottom), (left, right) = self.source_spans
        return read_mirrored(reader, self.plane, (top, left), (bottom, right))

    def to_network(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rescale pixels (y, x, c) from `read`, normalized, to the network's input: `shape` and channels."""
        if self.scale == 1:
            return pixels
        for axis in (0, 1):
            positions = np.arange(self.start[axis], self.stop[axis]) + 0.5
            positions = positions / self.scale - 0.5 - self.source_spans[axis][0]
            pixels = resample(pixels, positions, axis, reach=max(1, 1 / self.scale))
        return pixels

    def crop_core(self, output: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop the network's output (outputs, y, x) to the core, rescaled to pixels of the plane."""
        if self.scale == 1:
            rows, columns = (
                slice(core.start - start, core.stop - start) for core, start in zip(self.core, self.start, strict=True)
            )
            return output[:, rows, columns]
        rescaled = output.astype(np.float32)
        for axis in (0, 1):
            core = self.core[axis]
            positions = (np.arange(core.start, core.stop) + 0.5) * self.scale - 0.5 - self.start[axis]
            rescaled = resample(rescaled, positions, axis + 1, reach=max(1, self.scale))
        return np.rint(rescaled).astype(np.uint8)


def split_into_tiles(
    region: Region, plane: Sequence[int], *, core_px: int, halo_px: int, scale: float = 1.0
) -> list[Tile]:
    """Split a region of a plane into the smallest number of cores of similar size.

    Args:
        region: slices (y, x) of the plane.
        plane: (y, x), size of the plane in pixels.
        core_px: largest size of a core along y and x in pixels of the network; a multiple of SIZE_DIVISOR.
        halo_px: margin that the network sees around a core inside the plane.
        scale: pixels of the network per pixel of the plane.
    """
    axes = [
        [_add_halo(core, size, halo_px, scale) for core in _split_span(span, core_px, scale)]
        for span, size in zip(region, plane, strict=True)
    ]
    height, width = plane
    return [
        Tile((rows, columns), (top, left), (bottom, right), (height, width), scale)
        for rows, top, bottom in axes[0]
        for columns, left, right in axes[1]
    ]


def read_mirrored(reader: Reader, plane: Sequence[int], start: tuple[int, int], stop: tuple[int, int]) -> NDArray[Any]:
    """Read pixels from `start` to `stop` of a plane that is mirrored at its edges as often as necessary.

    Args:
        reader: reads pixels inside the plane.
        plane: (y, x), size of the plane in pixels.
        start: (y, x) of the first pixel, may be negative.
        stop: (y, x) of the pixel after the last one, may lie outside of the plane.

    Returns:
        (y, x, c), as from `reader`.
    """
    rows, columns = (_reflect(*ends) for ends in zip(plane, start, stop, strict=True))
    pixels = reader(slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    for axis, positions in enumerate((rows, columns)):
        positions = positions - positions.min()
        if not np.array_equal(positions, np.arange(pixels.shape[axis])):
            pixels = pixels.take(positions, axis)
    return pixels


def _split_span(span: slice, core_px: int, scale: float) -> list[slice]:
    """Split a span into the fewest slices of at most `core_px` network pixels, on the lattice if possible."""
    length = span.stop - span.start
    if length * scale <= core_px:
        return [span]
    longest = max(math.floor(core_px / scale) // SIZE_DIVISOR * SIZE_DIVISOR, SIZE_DIVISOR)
    step = math.ceil(length / math.ceil(length / longest) / SIZE_DIVISOR) * SIZE_DIVISOR
    return [slice(first, min(first + step, span.stop)) for first in range(span.start, span.stop, step)]


def _add_halo(core: slice, size: int, halo_px: int, scale: float) -> tuple[slice, int, int]:
    """(core, start, stop) of the tile around a core along one axis, in pixels of the network."""
    low = max(core.start * scale - halo_px, 0)
    high = min(core.stop * scale + halo_px, size * scale)
    return core, math.floor(low / SIZE_DIVISOR) * SIZE_DIVISOR, math.ceil(high / SIZE_DIVISOR) * SIZE_DIVISOR


def _reflect(size: int, start: int, stop: int) -> NDArray[np.int64]:
    """Positions from `start` to `stop`, folded into 0 .. size - 1; the edge pixel is not repeated."""
    period = max(2 * (size - 1), 1)
    folded = np.abs(np.arange(start, stop)) % period
    return np.minimum(folded, period - folded)
