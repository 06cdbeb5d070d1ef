"""An image whose planes are read when asked for, whatever file they come from."""

import contextlib
import errno
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from PIL import Image, UnidentifiedImageError

from tessera.common.errors import InputError, SystemInputError
from tessera.io.pyramid import AXES

PLANE_BYTES = 2**28  # planes up to this size are decoded at once, larger ones piece by piece
MOST_EXPANSION = 2000  # a file that claims to hold more than so many times its size (and PLANE_BYTES) is not believed
COLORS = ("red", "green", "blue", "alpha")
_TYPES = {"bool": "uint8", "float16": "float32", "float64": "float32"}
_TYPES |= {name: name for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")}
_LABEL_TYPES = {"int64": "int64", "uint64": "uint64"}
_OWN = {axis.upper(): axis for axis in AXES} | {"S": "c"}  # what files say of which axes
_PAGES = "IQ"  # and what they say where they do not know
NO_AXIS = "."  # of a dimension of size 1
MOST_DIMENSIONS = 10


@dataclass(frozen=True)
class LazyImage:
    """An image whose planes are read when asked for.

    Attributes:
        shape: (t, c, z, y, x).
        dtype: type of the pixels, one that stores keep.
        read: read(t, z, rows, columns), the last two being slices, gives pixels (c, y, x) of one frame and depth; it
            raises InputError where the file is damaged.
        tiled: whether reading pieces of a plane is as good as reading whole rows.
        pixel_size_um: size of a pixel in z, y, x in micrometres, None where the file does not say.
        frame_interval_s: seconds between frames, None where the file does not say.
        channels: names of the channels, None where the file does not say.
        warnings: what the user should know, as sentences.
    """

    shape: tuple[int, int, int, int, int]
    dtype: np.dtype
    read: Callable
    tiled: bool = False
    pixel_size_um: tuple[float | None, float | None, float | None] = (None, None, None)
    frame_interval_s: float | None = None
    channels: list[str] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """Which dimension of a file's array is which axis; `size` of an axis that it lacks is 1."""

    axes: str  # one of tczyx per dimension, or NO_AXIS
    shape: tuple[int, ...]

    def size(self, axis):
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def order(self):
        """The axes without those of size 1, which make no difference."""
        return "".join(axis for axis, size in zip(self.axes, self.shape, strict=True) if size != 1)


def name_axes(path, own, shape, axes, like=None):
    """The layout of a file whose own word on its axes is `own`, or as the table says in `axes`.

    Dimensions of size 1 need no name, and axes that the file leaves out since their size is 1 may be named. What is not
    clear then follows from what the file says, or from the shape `like` (t, c, z, y, x) of the image that ids are of.
    """
    if not axes:
        layouts = _list_own(own, shape, like)
        advice = f"its axes {own} of sizes {shape} are not clear; name them in the column axes"
    else:
        named = axes.lower().replace("s", "c")
        if len(set(named)) < len(named):
            raise InputError(f"{path}: the column axes ({axes}) names an axis twice (S are channels, as C); correct it")
        layouts = _list_named(named, shape)
        advice = f"has {len(shape)} axes of sizes {shape}, the column axes names {len(named)} ({axes}); correct it"
    told = [_OWN.get(axis) for axis in own]
    for fits in (lambda layout: _agrees(layout, told), lambda layout: like is None or _is_like(layout, like)):
        layouts = list(filter(fits, layouts)) or layouts
    if len({layout.order() for layout in layouts}) != 1:
        raise InputError(f"{path}: {advice}")
    layout = layouts[0]
    if not {"y", "x"} <= set(layout.axes):
        raise InputError(f"{path}: its axes {layout.axes} lack y or x; name them in the column axes")
    if 0 in shape:
        raise InputError(f"{path}: holds no pixels, its sizes are {shape}; replace or remove it")
    return layout


def _list_own(own, shape, like):
    """What the layout of a file may be by its own word, in which only t and z may be unclear."""
    letters = [_OWN.get(axis) or (NO_AXIS if size == 1 else "?") for axis, size in zip(own, shape, strict=True)]
    unclear = [axis for axis, letter in zip(own, letters, strict=True) if letter == "?"]
    free = [axis for axis in "tz" if axis not in letters]
    if not unclear:
        guesses = [""]
    elif len(unclear) == 1 and unclear[0] in _PAGES and "t" in free:
        guesses = ["t"]
    else:
        guesses = itertools.permutations(free, len(unclear)) if like else []
    layouts = []
    for guess in map(iter, guesses):
        axes = "".join(next(guess) if letter == "?" else letter for letter in letters)
        layouts.append(Layout(axes, tuple(shape)))
    return [layout for layout in layouts if all(layout.axes.count(axis) < 2 for axis in AXES)]


def _list_named(named, shape):
    """What the layout of a file may be of which the table says `named`, more or fewer axes than the file has."""
    over = len(named) - len(shape)
    if len(shape) > MOST_DIMENSIONS:
        return []
    if over > 0:
        several = itertools.combinations([axis for axis in named if axis not in "yx"], over)
        return [Layout("".join(axis for axis in named if axis not in left), tuple(shape)) for left in several]
    layouts = []
    for unnamed in itertools.combinations([place for place, size in enumerate(shape) if size == 1], -over):
        rest = iter(named)
        axes = "".join(NO_AXIS if place in unnamed else next(rest) for place in range(len(shape)))
        layouts.append(Layout(axes, tuple(shape)))
    return layouts


def _agrees(layout, told):
    return all(axis in (NO_AXIS, own) for axis, own in zip(layout.axes, told, strict=True) if own)


def _is_like(layout, like):
    return all(layout.size(axis) == size for axis, size in zip(AXES, like, strict=True) if axis != "c")


def make_lazy_image(path, layout, pixels, *, labels, tiled=False):
    """A LazyImage on the array-like `pixels` with the dimensions of `layout`; ids (`labels`) may be of 64 bits."""
    types = _TYPES | _LABEL_TYPES if labels else _TYPES
    if pixels.dtype.name not in types:
        raise InputError(
            f"{path}: its pixels are {pixels.dtype.name}, which cannot be kept; save it as 8 or 16 bit or as float"
        )
    dtype = np.dtype(types[pixels.dtype.name])
    kept = [axis for axis in "cyx" if axis in layout.axes]
    order = [[axis for axis in layout.axes if axis in kept].index(axis) for axis in kept]

    def cut(t, z, rows, columns):
        wanted = {"t": t, "c": slice(None), "z": z, "y": rows, "x": columns}
        with as_input_error(path):
            piece = np.asarray(pixels[tuple(wanted.get(axis, 0) for axis in layout.axes)])
        piece = piece.transpose(order)
        return (piece if "c" in kept else piece[None]).astype(dtype)

    shape = tuple(layout.size(axis) for axis in AXES)
    if isinstance(pixels, np.ndarray):  # in memory, or mapped into it: any piece is at hand
        return LazyImage(shape, dtype, cut, tiled=True)
    if shape[1] * shape[3] * shape[4] * dtype.itemsize > PLANE_BYTES:
        return LazyImage(shape, dtype, cut, tiled=tiled)
    whole = lru_cache(maxsize=1)(lambda t, z: cut(t, z, slice(None), slice(None)))
    return LazyImage(shape, dtype, lambda t, z, rows, columns: whole(t, z)[:, rows, columns], tiled=True)


def drop_constant_alpha(source):
    """`source` without its last channel, where that is transparency and the same everywhere."""
    frames, count, depth, height, width = source.shape
    rows = max(1, PLANE_BYTES // (count * width * source.dtype.itemsize))
    seen = set()
    for t, z, top in itertools.product(range(frames), range(depth), range(0, height, rows)):
        alpha = source.read(t, z, slice(top, top + rows), slice(None))[-1]
        seen |= {alpha.min(), alpha.max()}
        if len(seen) > 1:
            return replace(source, warnings=[*source.warnings, "its transparency varies; it is kept as a channel"])
    return replace(
        source,
        shape=(frames, count - 1, depth, height, width),
        read=lambda t, z, rows, columns: source.read(t, z, rows, columns)[:-1],
        channels=source.channels[:-1] if source.channels else None,
    )


def check_claimed_size(path, claimed, available, most=MOST_EXPANSION):
    """Refuse a file of `available` bytes that claims more bytes of pixels than its compression could put there."""
    if claimed > max(PLANE_BYTES, most * available):
        raise InputError(
            f"{path}: claims {claimed / 1e9:.1f} GB of pixels in a file of {available} bytes, which cannot be; replace "
            "or remove it"
        )


# What the machine may lack, or refuse, at times, and is no fault of the file.
_PASSING = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EMFILE,
    errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT,
}  # fmt: skip


@contextlib.contextmanager
def as_input_error(path):
    """Turn whatever goes wrong with a file from outside into an InputError that names it.

    Raises:
        InputError: the file is at fault.
        SystemInputError: the machine is, and may not be the next time.
    """
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large to be decoded whole ({error}); convert it to a tiled TIFF") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: its header is damaged; replace or remove it") from error
    except Exception as error:  # decoders raise almost anything on damaged files
        if isinstance(error, MemoryError):
            raise SystemInputError(
                f"{path}: does not fit into memory; give the job more of it, and run again"
            ) from error
        if isinstance(error, OSError) and error.errno in _PASSING:
            raise SystemInputError(
                f"{path}: cannot be read now ({error.strerror}); see to its permissions and its disk, and run again"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path}: cannot be read, it is damaged or of an unknown variant ({reason}); replace it"
        ) from error
