"""The axes of the array in a file: what its metadata say, and what the table says instead."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.common.errors import InputError
from tessera.common.types import Shape5D
from tessera.io.shards import AXES

_FILE_AXES = {axis.upper(): axis for axis in AXES} | {"S": "c"}  # {axis in a file: axis of Tessera}
_PAGES = "IQ"  # axes in a file whose meaning the file does not know
NO_AXIS = "."  # of a dimension of size 1
MAX_DIMENSIONS = 10


@dataclass(frozen=True)
class Layout:
    """Assignment of the dimensions of a file's array to axes.

    Attributes:
        axes: one of tczyx for each dimension, or NO_AXIS.
        shape: size of each dimension.
    """

    axes: str
    shape: tuple[int, ...]

    def size(self, axis: str) -> int:
        """Return the size of an axis, 1 if the file lacks it."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def order(self) -> str:
        """Return the axes without those of size 1, whose order makes no difference."""
        return "".join(axis for axis, size in zip(self.axes, self.shape, strict=True) if size != 1)


def unknown_axes(count: int) -> str:
    """Return the axes of an array whose file does not name them: the last two are y and x, the others are unknown."""
    return "?" * (count - 2) + "YX"[-count:]


def name_axes(
    path: Path, file_axes: str, shape: Sequence[int], table_axes: str | None, like: Shape5D | None = None
) -> Layout:
    """Return the layout of a file, from its metadata or from the table.

    `table_axes` need not name dimensions of size 1, and may name axes of size 1 that the file omits. Ambiguities are
    resolved by the file's metadata, or by the shape `like`.

    Args:
        path: the file, for messages.
        file_axes: axes in the file's metadata, a letter for each dimension.
        shape: size of each dimension.
        table_axes: axes in the table, None if the table does not state them.
        like: shape (t, c, z, y, x) of the image that the file annotates.

    Raises:
        InputError: the layout is ambiguous or impossible.
    """
    shape = tuple(shape)
    if not table_axes:
        layouts = _list_file_layouts(file_axes, shape, like)
        advice = f"its axes {file_axes} of sizes {shape} are ambiguous; name them in the column axes"
    else:
        named = table_axes.lower().replace("s", "c")
        if len(set(named)) < len(named):
            raise InputError(
                f"{path}: the column axes ({table_axes}) names an axis twice (S means channels, like C); correct it"
            )
        layouts = _list_table_layouts(named, shape)
        advice = (
            f"has {len(shape)} axes of sizes {shape}, the column axes names {len(named)} ({table_axes}); correct it"
        )
    stated = [_FILE_AXES.get(axis) for axis in file_axes]
    layouts = [layout for layout in layouts if _agrees(layout, stated)] or layouts
    if like is not None:
        layouts = [layout for layout in layouts if _is_like(layout, like)] or layouts
    if len({layout.order() for layout in layouts}) != 1:
        raise InputError(f"{path}: {advice}")
    layout = layouts[0]
    if not {"y", "x"} <= set(layout.axes):
        raise InputError(f"{path}: its axes {layout.axes} lack y or x; name them in the column axes")
    if 0 in shape:
        raise InputError(f"{path}: has no pixels, its sizes are {shape}; replace or remove it")
    return layout


def _list_file_layouts(file_axes: str, shape: tuple[int, ...], like: Shape5D | None) -> list[Layout]:
    """Return the possible layouts of a file by its metadata, in which only t and z may be ambiguous."""
    letters = [
        _FILE_AXES.get(axis) or (NO_AXIS if size == 1 else "?") for axis, size in zip(file_axes, shape, strict=True)
    ]
    unclear = [axis for axis, letter in zip(file_axes, letters, strict=True) if letter == "?"]
    free = [axis for axis in "tz" if axis not in letters]
    guesses: list[tuple[str, ...]]
    if not unclear:
        guesses = [()]
    elif len(unclear) == 1 and unclear[0] in _PAGES and "t" in free:
        guesses = [("t",)]
    else:
        guesses = list(itertools.permutations(free, len(unclear))) if like else []
    layouts = []
    for guess in map(iter, guesses):
        axes = "".join(next(guess) if letter == "?" else letter for letter in letters)
        layouts.append(Layout(axes, shape))
    return [layout for layout in layouts if all(layout.axes.count(axis) < 2 for axis in AXES)]


def _list_table_layouts(named: str, shape: tuple[int, ...]) -> list[Layout]:
    """Return the possible layouts of a file for which the table names more or fewer axes than it has."""
    surplus = len(named) - len(shape)
    if len(shape) > MAX_DIMENSIONS:
        return []
    if surplus > 0:
        omissions = itertools.combinations([axis for axis in named if axis not in "yx"], surplus)
        return [Layout("".join(axis for axis in named if axis not in omitted), shape) for omitted in omissions]
    layouts = []
    for unnamed in itertools.combinations([place for place, size in enumerate(shape) if size == 1], -surplus):
        rest = iter(named)
        axes = "".join(NO_AXIS if place in unnamed else next(rest) for place in range(len(shape)))
        layouts.append(Layout(axes, shape))
    return layouts


def _agrees(layout: Layout, stated: Sequence[str | None]) -> bool:
    return all(axis in (NO_AXIS, own) for axis, own in zip(layout.axes, stated, strict=True) if own)


def _is_like(layout: Layout, like: Shape5D) -> bool:
    return all(layout.size(axis) == size for axis, size in zip(AXES, like, strict=True) if axis != "c")
