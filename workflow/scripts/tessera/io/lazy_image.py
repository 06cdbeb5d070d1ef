"""Images whose planes are read on demand, whatever file they come from, and the layout of their axes."""

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tessera.common.errors import InputError, SystemInputError
from tessera.common.types import Shape5D, VoxelSize
from tessera.io.pyramid import AXES

PLANE_BYTES = 2**28  # planes up to this size are decoded at once, larger ones block by block
MAX_EXPANSION = 2000  # a file that claims more than this many times its size (and more than PLANE_BYTES) is refused
COLORS = ("red", "green", "blue", "alpha")
_TYPES = {"bool": "uint8", "float16": "float32", "float64": "float32"}
_TYPES |= {name: name for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")}
_LABEL_TYPES = {"int64": "int64", "uint64": "uint64", "float64": "float64"}  # float32 merges large ids
_FILE_AXES = {axis.upper(): axis for axis in AXES} | {"S": "c"}  # {axis in a file: axis of Tessera}
_PAGES = "IQ"  # axes in a file whose meaning the file does not know
NO_AXIS = "."  # of a dimension of size 1
MAX_DIMENSIONS = 10

ReadFunction: TypeAlias = Callable[[int, int, slice, slice], NDArray[Any]]
"""read(t, z, rows, columns) returns pixels (c, y, x) of one frame and plane; rows and columns are slices."""


class ArrayLike(Protocol):
    """An array that is read by an index of numbers and slices."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""

    def __getitem__(self, index: Any, /) -> Any:
        """Read elements."""


@dataclass(frozen=True)
class LazyImage:
    """An image whose planes are read on demand.

    Attributes:
        shape: (t, c, z, y, x).
        dtype: type of the pixels, one that stores support.
        read: see ReadFunction; it raises InputError if the file is damaged.
        tiled: whether reading a block of a plane is as efficient as reading whole rows.
        pixel_size_um: size of a voxel along z, y and x in micrometers, None where the file does not state it.
        frame_interval_s: seconds between frames, None if the file does not state it.
        channels: names of the channels, None if the file does not state them.
        transparency: whether the last channel is declared as transparency.
        warnings: sentences for the user.
    """

    shape: Shape5D
    dtype: np.dtype[Any]
    read: ReadFunction
    tiled: bool = False
    pixel_size_um: VoxelSize = (None, None, None)
    frame_interval_s: float | None = None
    channels: list[str] | None = None
    transparency: bool = False
    warnings: list[str] = field(default_factory=list)


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


def make_lazy_image(path: Path, layout: Layout, pixels: ArrayLike, *, labels: bool, tiled: bool = False) -> LazyImage:
    """Return a LazyImage that reads from an array.

    Args:
        path: the file, for messages.
        layout: axes of the array.
        pixels: the array.
        labels: whether the pixels are ids, which may have 64 bits.
        tiled: whether reading blocks of a plane is efficient.

    Raises:
        InputError: stores do not support the type of the pixels.
    """
    types = _TYPES | _LABEL_TYPES if labels else _TYPES
    if pixels.dtype.name not in types:
        raise InputError(
            f"{path}: its pixels have the type {pixels.dtype.name}, which is not supported; save it as 8 or 16 bit or "
            "as float"
        )
    dtype = np.dtype(types[pixels.dtype.name])
    kept = [axis for axis in "cyx" if axis in layout.axes]
    order = [[axis for axis in layout.axes if axis in kept].index(axis) for axis in kept]

    def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        index = {"t": t, "c": slice(None), "z": z, "y": rows, "x": columns}
        with as_input_error(path):
            block = np.asarray(pixels[tuple(index.get(axis, 0) for axis in layout.axes)])
        block = block.transpose(order)
        return _convert(path, block if "c" in kept else block[None], dtype)

    frames, channels, depth, height, width = (layout.size(axis) for axis in AXES)
    shape = (frames, channels, depth, height, width)
    if isinstance(pixels, np.ndarray):  # in memory or memory-mapped: any block is available
        return LazyImage(shape, dtype, read, tiled=True)
    if channels * height * width * dtype.itemsize > PLANE_BYTES:
        return LazyImage(shape, dtype, read, tiled=tiled)
    read_plane = lru_cache(maxsize=1)(lambda t, z: read(t, z, slice(None), slice(None)))
    return LazyImage(shape, dtype, lambda t, z, rows, columns: read_plane(t, z)[:, rows, columns], tiled=True)


def _convert(path: Path, pixels: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `pixels` in the type of the store, in which they must not become infinite or vanish."""
    with np.errstate(over="ignore", under="ignore"):
        converted: NDArray[Any] = pixels.astype(dtype)
    if pixels.dtype.kind == "f" and pixels.dtype.itemsize > dtype.itemsize:
        if (np.isinf(converted) & np.isfinite(pixels)).any():
            largest = np.abs(pixels[np.isfinite(pixels)]).max()
            raise InputError(
                f"{path}: has the value {largest:g}, which 32-bit floats cannot hold; divide the pixels by a constant, "
                "or replace the value if it marks missing pixels"
            )
        if not converted.any() and pixels.any():
            raise InputError(
                f"{path}: its values are so small that they are 0 as 32-bit floats; multiply the pixels by a constant"
            )
    return converted


def drop_transparency(image: LazyImage, *, opaque: bool) -> LazyImage:
    """Return `image` without its last channel, which is declared as transparency, if it holds no information.

    Otherwise the channel is kept, with a warning.

    Args:
        image: an image with at least two channels.
        opaque: whether the channel must be opaque everywhere. Some programs declare any fourth channel as transparency,
            and a black one is a stain without signal. False: any constant transparency holds no information.
    """
    frames, count, depth, height, width = image.shape
    most = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
    rows = max(1, PLANE_BYTES // (count * width * image.dtype.itemsize))
    seen: set[Any] = set()
    for t, z, top in itertools.product(range(frames), range(depth), range(0, height, rows)):
        alpha = image.read(t, z, slice(top, min(top + rows, height)), slice(None))[-1]
        seen |= {alpha.min(), alpha.max()}
        if len(seen) > 1:
            warning = "its transparency varies; it is kept as a channel"
        elif opaque and seen != {most}:
            warning = f"its transparency is {alpha.min():g} everywhere, not opaque; it is kept as a channel"
        else:
            continue
        return replace(image, transparency=True, warnings=[*image.warnings, warning])
    return replace(
        image,
        shape=(frames, count - 1, depth, height, width),
        read=lambda t, z, rows, columns: image.read(t, z, rows, columns)[:-1],
        channels=image.channels[:-1] if image.channels else None,
    )


def check_claimed_size(path: Path, claimed: int, available: int, max_expansion: int = MAX_EXPANSION) -> None:
    """Check that the pixels that a file claims to have can be in it.

    Args:
        path: the file, for messages.
        claimed: bytes of its pixels when decoded.
        available: bytes of the file.
        max_expansion: largest ratio of the two that the compression can reach.

    Raises:
        InputError: the file claims too many pixels, so it is corrupt.
    """
    if claimed > max(PLANE_BYTES, max_expansion * available):
        raise InputError(
            f"{path}: claims {claimed / 1e9:.1f} GB of pixels in a file of {available} bytes, so the file is corrupt; "
            "replace or remove it"
        )


# Errors of the machine that may be temporary and do not mean that the file is damaged.
_TEMPORARY = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EMFILE,
    errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT,
}  # fmt: skip


@contextlib.contextmanager
def as_input_error(path: Path) -> Iterator[None]:
    """Turn any error in the block, which reads a user's file, into an InputError that names the file.

    Raises:
        InputError: the file is damaged.
        SystemInputError: the machine failed, perhaps only temporarily.
    """
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large to be decoded at once ({error}); convert it to a tiled TIFF") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: its header is damaged; replace or remove it") from error
    except Exception as error:  # decoders raise almost any type of error for damaged files
        if isinstance(error, MemoryError):
            raise SystemInputError(
                f"{path}: does not fit into memory; give the job more memory and run again"
            ) from error
        if isinstance(error, OSError) and error.errno in _TEMPORARY:
            raise SystemInputError(
                f"{path}: cannot be read now ({error.strerror}); check its permissions and its disk, and run again"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path}: cannot be read, because it is damaged or of an unknown variant ({reason}); replace it"
        ) from error
