"""Images whose planes are read on demand, whatever file they come from."""

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tessera.common.errors import InputError, SystemInputError
from tessera.common.types import Shape5D, VoxelSize
from tessera.io.file_axes import Layout
from tessera.io.shards import AXES

PLANE_BYTES = 2**28  # planes up to this size are decoded at once, larger ones block by block
MAX_EXPANSION = 2000  # a file that claims more than this many times its size (and more than PLANE_BYTES) is refused
COLORS = ("red", "green", "blue", "alpha")
_TYPES = {"bool": "uint8", "float16": "float32", "float64": "float32"}
_TYPES |= {name: name for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")}
_LABEL_TYPES = {"int64": "int64", "uint64": "uint64", "float64": "float64"}  # float32 merges large ids

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
