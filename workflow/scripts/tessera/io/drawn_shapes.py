"""Shapes that people draw, and the pixels that are inside.

Coordinates (x, y) are in pixels. The corner of the first pixel is (0, 0), and its center is (0.5, 0.5). A pixel belongs
to a shape if its center is inside. A center on the outline belongs to the shape on its right, or below it. So shapes
that share an outline share no pixel. This is the rule of Java (`java.awt.Shape`), which ImageJ and QuPath use.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LARGEST_COORDINATE = 1e9
_CROSSINGS = 2**20  # crossings of outlines and rows that are in memory at once
_SAGITTA_PX = 0.005  # distance of an ellipse from the polygon that replaces it

Ring = NDArray[np.float64]
"""Vertices (n, 2) as (x, y) of a closed outline."""


@dataclass(frozen=True)
class Window:
    """Rows from `top` and columns from `left` of a plane."""

    top: int
    left: int
    height: int
    width: int


class Shape(Protocol):
    """A set of pixels."""

    @property
    def box(self) -> Window:
        """The smallest window that holds all pixels. It may be outside of the image; its size is 0 if none is."""

    @property
    def area(self) -> float:
        """Area in pixels, by which overlapping shapes are ordered."""

    def fill(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels (y, x) of the window belong to the shape."""


class Polygons:
    """The union of polygons, each of which may have holes."""

    def __init__(self, polygons: Iterable[Sequence[Ring]]) -> None:
        """
        Args:
            polygons: the rings of each polygon. A pixel is inside if an odd number of rings surrounds it.

        Raises:
            ValueError: a coordinate is not a number or too large.
        """
        self._polygons = [[as_ring(ring) for ring in rings] for rings in polygons]
        vertices = [ring for rings in self._polygons for ring in rings if len(ring)]
        corners = np.concatenate(vertices) if vertices else np.zeros((1, 2))
        left, top = np.ceil(corners.min(axis=0) - 0.5).astype(int)
        right, bottom = np.ceil(corners.max(axis=0) - 0.5).astype(int)
        self.box = Window(int(top), int(left), int(bottom - top), int(right - left))
        self.area = sum(map(_area, self._polygons))

    def fill(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels (y, x) of the window are inside."""
        inside = np.zeros((window.height, window.width), bool)
        for rings in self._polygons:
            inside |= _fill_rings(rings, window)
        return inside


class RunLengths:
    """Runs of pixels down the columns of a plane, as in COCO."""

    def __init__(self, starts: NDArray[np.int64], ends: NDArray[np.int64], height: int) -> None:
        """
        Args:
            starts, ends: first pixel of each run, and the pixel after its last one; pixel `y + height * x` is (y, x).
            height: of the plane.
        """
        keep = ends > starts
        self._starts, self._ends, self._height = starts[keep], ends[keep], height
        self.area = float((self._ends - self._starts).sum())
        if not len(self._starts):
            self.box = Window(0, 0, 0, 0)
            return
        left, right = int(self._starts[0]) // height, int(self._ends[-1] - 1) // height + 1
        top, bottom = 0, height
        if (self._starts // height == (self._ends - 1) // height).all():
            top, bottom = int((self._starts % height).min()), int(((self._ends - 1) % height).max()) + 1
        self.box = Window(top, left, bottom - top, right - left)

    def fill(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels (y, x) of the window are inside."""
        first, size = window.left * self._height, window.width * self._height
        near = (self._ends > first) & (self._starts < first + size)
        steps = np.zeros(size + 1, np.int8)
        steps[np.clip(self._starts[near] - first, 0, size)] += 1
        steps[np.clip(self._ends[near] - first, 0, size)] -= 1
        inside = np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(window.width, self._height)
        return inside[:, window.top : window.top + window.height].T


class Pixels:
    """A small mask at a place of the plane."""

    def __init__(self, top: int, left: int, mask: NDArray[np.bool_]) -> None:
        self._mask = mask
        self.box = Window(top, left, *mask.shape)
        self.area = float(np.count_nonzero(mask))

    def fill(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels (y, x) of the window are inside."""
        inside = np.zeros((window.height, window.width), bool)
        shared = intersect(self.box, window)
        if shared.height > 0 and shared.width > 0:
            inside[_slices(shared, window)] = self._mask[_slices(shared, self.box)]
        return inside


def as_ring(points: object) -> Ring:
    """Return vertices (n, 2) as floats.

    Raises:
        ValueError: they are no pairs of numbers, or too large.
    """
    ring = np.asarray(points, np.float64).reshape(-1, 2)
    if not (np.abs(ring) <= LARGEST_COORDINATE).all():  # False for NaN too
        raise ValueError("has a coordinate that is no number or far outside of any image")
    return ring


def rectangle(left: float, top: float, width: float, height: float) -> Ring:
    """Return the corners of a rectangle."""
    return as_ring([(left, top), (left + width, top), (left + width, top + height), (left, top + height)])


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Ring:
    """Return a polygon that is nearly the ellipse around (x, y)."""
    radius = min(max(abs(radius_x), abs(radius_y), 1.0), LARGEST_COORDINATE)
    count = min(4 * int(np.ceil(np.pi / np.sqrt(8 * _SAGITTA_PX / radius))), 2**16)
    angles = 2 * np.pi * np.arange(count) / count
    return as_ring(np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1))


def intersect(a: Window, b: Window) -> Window:
    """Return the part that two windows share; its height or width is 0 or less if there is none."""
    top, left = max(a.top, b.top), max(a.left, b.left)
    bottom, right = min(a.top + a.height, b.top + b.height), min(a.left + a.width, b.left + b.width)
    return Window(top, left, bottom - top, right - left)


def _slices(part: Window, whole: Window) -> tuple[slice, slice]:
    top, left = part.top - whole.top, part.left - whole.left
    return slice(top, top + part.height), slice(left, left + part.width)


def _area(rings: Sequence[Ring]) -> float:
    """Area of a polygon by the shoelace formula; the holes run in the opposite direction."""
    total = 0.0
    for ring in rings:
        following = np.roll(ring, -1, axis=0)
        total += float(np.sum(ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1])) / 2
    return abs(total)


def _fill_rings(rings: Sequence[Ring], window: Window) -> NDArray[np.bool_]:
    """Return the pixels (y, x) of the window that an odd number of rings surrounds.

    Each edge crosses the centers of some rows. A pixel is inside if an odd number of crossings is on its left. Edges
    are followed downward and in coordinates of the plane, so the result depends on neither their direction nor the
    window.
    """
    toggles = np.zeros((window.height, window.width + 1), np.uint8)
    flat = toggles.ravel()
    for ring in rings:
        following = np.roll(ring, -1, axis=0)
        down = (ring[:, 1] <= following[:, 1])[:, None]
        start, end = np.where(down, ring, following), np.where(down, following, ring)
        limits = (window.top, window.top + window.height)
        first, last = (np.clip(np.ceil(edge[:, 1] - 0.5), *limits).astype(np.int64) for edge in (start, end))
        crossed = last > first
        start, end, first, counts = start[crossed], end[crossed], first[crossed], (last - first)[crossed]
        for part in _split(counts):
            edge = np.repeat(np.arange(part.start, part.stop), counts[part])
            before = np.cumsum(counts[part]) - counts[part]
            row = np.arange(len(edge)) - np.repeat(before - first[part], counts[part])
            share = (row + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
            x = start[edge, 0] + share * (end[edge, 0] - start[edge, 0])
            column = np.clip(np.ceil(x - 0.5), window.left, window.left + window.width).astype(np.int64)
            np.add.at(flat, (row - window.top) * (window.width + 1) + column - window.left, np.uint8(1))
    return (np.cumsum(toggles[:, :-1], axis=1, dtype=np.uint8) & 1).astype(bool)


def _split(counts: NDArray[np.int64]) -> Iterable[slice]:
    """Split edges into parts with limited numbers of crossings."""
    parts = np.cumsum(counts) // _CROSSINGS
    borders = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(counts)]
    return [slice(a, b) for a, b in itertools.pairwise(borders) if b > a]
