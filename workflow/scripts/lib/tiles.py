"""Tiles: a plane of any size through a network of limited size, without seams."""

import itertools
import math
import time
from dataclasses import dataclass

import numpy as np

SECONDS_BETWEEN_REPORTS = 10


@dataclass(frozen=True)
class Lattice:
    """Where tiles lie along one axis of a plane, which depends on nothing but the size of the plane.

    Tiles are on a lattice of whole multiples of the network's divisor, since what a network answers depends on how
    pixels fall on its coarsest grid. The outer quarter of the overlap, where the network saw its own padding rather
    than pixels, counts nothing; inside it a tile fades in and out as the sine squared, so that weights change smoothly.

    Attributes:
        size: pixels of the plane along this axis.
        length: pixels of a tile.
        starts: first pixel of each tile; the first is negative, and the last tile ends beyond the plane.
        window: weight of each pixel of a tile, float32 of `length`.
    """

    size: int
    length: int
    starts: range
    window: np.ndarray

    def starts_within(self, span):
        """Starts of the tiles that have weight in the slice `span` of the plane."""
        inside = np.flatnonzero(self.window)
        return [start for start in self.starts if start + inside[0] < span.stop and start + inside[-1] >= span.start]

    def sum_weights(self, span):
        """Sum of the weights of all tiles at each pixel of the slice `span`, float32."""
        total = np.zeros(span.stop - span.start, np.float32)
        for start in self.starts_within(span):
            inside, of_tile = _intersect(start, self.length, span)
            total[inside] += self.window[of_tile]
        return total


def make_lattice(size, *, tile_px, overlap_px, divisor=32):
    """Lay the fewest tiles over an axis, then make them as small as they can be: the plane is covered and little more.

    Args:
        size: pixels of the plane along this axis.
        tile_px: largest length of a tile, a multiple of `divisor`.
        overlap_px: overlap of neighbouring tiles, a multiple of `divisor` and less than `tile_px`.
        divisor: what the length and distance of tiles are multiples of.

    Returns:
        Lattice.

    Raises:
        ValueError: lengths that are no such multiples.
    """
    if tile_px % divisor or overlap_px % divisor or not 0 <= overlap_px < tile_px:
        raise ValueError(f"tiles of {tile_px} px with an overlap of {overlap_px} px do not fit multiples of {divisor}")
    margin = _round_up(overlap_px / 4, divisor)
    covered = size + 2 * margin
    if covered <= tile_px:
        length = _round_up(covered, divisor)
        return Lattice(size, length, range(-margin, -margin + 1), np.ones(length, np.float32))
    beyond = covered - overlap_px
    count = math.ceil(beyond / (tile_px - overlap_px))
    stride = _round_up(beyond / count, divisor)
    starts = range(-margin, -margin + math.ceil(beyond / stride) * stride, stride)
    return Lattice(size, stride + overlap_px, starts, make_window(stride + overlap_px, overlap_px))


def make_window(length, overlap_px):
    """Weights of the pixels of a tile along one axis: those of two neighbours sum to 1 where no third one reaches.

    Returns:
        float32 of `length`.
    """
    if overlap_px == 0:
        return np.ones(length, np.float32)
    outer = overlap_px / 4
    position = (np.arange(length) + 0.5 - outer) / (overlap_px - 2 * outer)
    ramp = np.sin(np.pi / 2 * np.clip(position, 0, 1)) ** 2
    return (ramp * ramp[::-1]).astype(np.float32)


def predict_region(read, network, lattices, region, *, batch_tiles):
    """What a network answers for one region of a plane: the same as if the whole plane were done at once.

    Args:
        read: read(rows, columns), of slices within the plane, gives pixels float32 (y, x, c).
        network: network(tiles), of float32 (n, y, x, c), gives (n, y, x, outputs).
        lattices: the Lattice of y and that of x.
        region: slices (rows, columns) of the plane.
        batch_tiles: how many tiles the network is given at once.

    Returns:
        float32 (y, x, outputs), the answers of overlapping tiles blended.
    """
    rows, columns = lattices
    starts = list(itertools.product(rows.starts_within(region[0]), columns.starts_within(region[1])))
    origin = starts[0]
    end = (starts[-1][0] + rows.length, starts[-1][1] + columns.length)
    pixels = read_reflected(read, (rows.size, columns.size), origin, end)
    total = None
    for first in range(0, len(starts), batch_tiles):
        batch = starts[first : first + batch_tiles]
        corners = [(y - origin[0], x - origin[1]) for y, x in batch]
        answers = network(np.stack([pixels[y : y + rows.length, x : x + columns.length] for y, x in corners]))
        if total is None:
            extent = [span.stop - span.start for span in region]
            total = np.zeros((*extent, answers.shape[-1]), np.float32)
        for (y, x), answer in zip(batch, answers, strict=True):
            in_y, of_y = _intersect(y, rows.length, region[0])
            in_x, of_x = _intersect(x, columns.length, region[1])
            weights = rows.window[of_y, None, None] * columns.window[None, of_x, None]
            total[in_y, in_x] += weights * answer[of_y, of_x]
    total /= rows.sum_weights(region[0])[:, None, None]
    total /= columns.sum_weights(region[1])[None, :, None]
    return total


def count_tiles(lattices, region):
    """How many tiles `predict_region` gives the network."""
    return math.prod(len(axis.starts_within(span)) for axis, span in zip(lattices, region, strict=True))


class Progress:
    """Says now and then how many of the `tiles` of image `name` are done, how fast, and how long the rest takes."""

    def __init__(self, name, tiles):
        self.name, self.tiles, self.done, self.pixels = name, tiles, 0, 0
        self.started = self.reported = time.monotonic()

    def add(self, tiles):
        """Count `tiles` (n, y, x, c) as done."""
        self.done += len(tiles)
        self.pixels += tiles[..., 0].size
        now = time.monotonic()
        if now - self.reported >= SECONDS_BETWEEN_REPORTS:
            self.reported = now
            elapsed = now - self.started
            print(
                f"{self.name}: {self.done}/{self.tiles} tiles, {self.pixels / elapsed / 1e6:.2f} Mpx/s, "
                f"{elapsed * (self.tiles - self.done) / self.done:.0f} s left",
                flush=True,
            )


def read_reflected(read, shape, start, stop):
    """Pixels from `start` to `stop`, (y, x) each, of a plane that is mirrored at its edges as often as need be.

    Args:
        read: as in `predict_region`.
        shape: (y, x) of the plane.
        start: first pixel, may be negative.
        stop: pixel after the last, may lie beyond the plane.

    Returns:
        (y, x, c), as `read` gives.
    """
    rows, columns = (_reflect(*ends) for ends in zip(shape, start, stop, strict=True))
    pixels = read(slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    return pixels[rows - rows.min()][:, columns - columns.min()]


def _reflect(size, start, stop):
    """Positions from `start` to `stop` folded into 0 .. size - 1; the edge pixel is not repeated."""
    period = max(2 * (size - 1), 1)
    folded = np.abs(np.arange(start, stop)) % period
    return np.minimum(folded, period - folded)


def _intersect(start, length, span):
    """The part of a tile that lies in `span`, as slices of the span and of the tile."""
    low, high = max(start, span.start), min(start + length, span.stop)
    return slice(low - span.start, high - span.start), slice(low - start, high - start)


def _round_up(value, divisor):
    return math.ceil(value / divisor) * divisor
