"""Raw image files, opened as planes that are read when asked for."""

import contextlib
import itertools
import logging
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image, UnidentifiedImageError

from .errors import InputError
from .stores import AXES

PLANE_BYTES = 2**28  # planes up to this size are decoded at once, larger ones piece by piece
MOST_EXPANSION = 2000  # a file that claims to hold more than so many times its size (and PLANE_BYTES) is not believed
COARSEST_UM = 20  # resolution tags that say more than this per pixel are a printer's
_TYPES = {"bool": "uint8", "float16": "float32", "float64": "float32"}
_TYPES |= {name: name for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")}
_LABEL_TYPES = {"int64": "int64", "uint64": "uint64"}
_GENERIC = {"I": "t", "Q": "t", "S": "c"}
_COLOURS = ("red", "green", "blue", "alpha")
_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1, "µm": 1, "μm": 1, "\\u00b5m": 1, "micron": 1, "nm": 1e-3, "pm": 1e-6}
_UM |= {"microns": 1, "micrometer": 1, "micrometre": 1, "inch": 25400, "in": 25400, "å": 1e-4}
_SECONDS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "msec": 1e-3, "min": 60, "minute": 60, "h": 3600}
_LATER = (
    ".czi",
    ".nd2",
    ".lif",
    ".oib",
    ".oif",
    ".oir",
    ".vsi",
    ".ims",
    ".dv",
    ".zarr",
    ".h5",
    ".hdf5",
    ".mrc",
    ".sld",
)
_SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".png", ".jpg", ".jpeg", ".jp2", ".j2k", *_LATER)
_KINDS = {
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "flat": (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
}
_NO_PAGES = re.compile(r"page offset|circular|corrupted|series|offset to page|tag list")


@dataclass(frozen=True)
class Source:
    """An image whose planes are read when asked for.

    Attributes:
        shape: (t, c, z, y, x).
        dtype: type of the pixels, one that stores keep.
        read: read(t, z, rows, columns), the last two being slices, gives pixels (c, y, x) of one frame and depth; it
            raises InputError where the file is damaged.
        tiled: whether reading pieces of a plane is as good as reading whole rows.
        pixel_um: size of a pixel in z, y, x in micrometres, None where the file does not say.
        frame_s: seconds between frames, None where the file does not say.
        channels: names of the channels, None where the file does not say.
        notes: what the user should know, as sentences.
    """

    shape: tuple[int, int, int, int, int]
    dtype: np.dtype
    read: Callable
    tiled: bool = False
    pixel_um: tuple[float | None, float | None, float | None] = (None, None, None)
    frame_s: float | None = None
    channels: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def list_files(paths):
    """The files among `paths` and the images right in the folders among them, in natural order (2 before 10).

    Raises:
        InputError: a path does not exist, or there is no file at all.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += _list_folder(path)
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: there is no such file; correct the table of images")
    if not files:
        raise InputError(f"{', '.join(map(str, paths))}: holds no files; correct the table of images")
    return sorted(files, key=natural_order)


def _list_folder(folder):
    """The images in a folder, whatever lies beside them; all files where none has the name of an image."""
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    return [file for file in files if file.suffix.lower() in _SUFFIXES] or files


def natural_order(path):
    """Key that sorts names with numbers in them as people do: frame 2 before frame 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", str(path))]


@contextlib.contextmanager
def open_source(paths, axes=None, *, labels=False):
    """Open one file, or several as the frames of a movie, for the block that follows.

    Args:
        paths: files or folders.
        axes: the axes of the (squeezed) array in each file, such as "tzyx", where the file's own word is not to be
            taken; for several files, their leading t may be named or not.
        labels: the pixels are ids: indices of a palette stay what they are, and integers may be of 64 bits.

    Yields:
        Source.

    Raises:
        InputError: a file cannot be read, is of an unknown kind, claims what cannot be, or does not fit the others.
    """
    files = list_files(paths)
    with contextlib.ExitStack() as stack:
        if len(files) == 1:
            yield stack.enter_context(_open_file(files[0], axes, labels))
        else:
            yield stack.enter_context(_open_frames(files, axes, labels))


@contextlib.contextmanager
def _open_file(path, axes, labels):
    kind = _recognise(path)
    with contextlib.ExitStack() as stack:
        with _blaming(path):
            opened = _open_tiff(path, axes, labels) if kind == "tiff" else _open_flat(path, axes, labels)
            source = stack.enter_context(opened)
        yield source


def _recognise(path):
    with _blaming(path), open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise InputError(f"{path}: the file is empty; replace or remove it")
    for kind, beginnings in _KINDS.items():
        if head.startswith(beginnings):
            return kind
    if path.suffix.lower() in _LATER:
        raise InputError(f"{path}: {path.suffix} files cannot be read yet; convert it to OME-TIFF (Bio-Formats, Fiji)")
    raise InputError(
        f"{path}: is not a TIFF, PNG, JPEG or JPEG 2000 file, it begins with {head[:4]!r}; replace or remove it"
    )


@contextlib.contextmanager
def _open_frames(files, axes, labels):
    """Several files as the frames of one movie; one file is open at a time."""
    axes = axes[1:] if axes and axes[0].lower() == "t" else axes
    first = None
    for file in files:
        with _open_file(file, axes, labels) as frame:
            if frame.shape[0] > 1:
                raise InputError(
                    f"{file}: holds {frame.shape[0]} frames itself, but is one of {len(files)} files of a movie; "
                    "give each file a row of its own, or say what its axes are (column axes)"
                )
            first = first or (file, frame)
            if (frame.shape, frame.dtype) != (first[1].shape, first[1].dtype):
                raise InputError(
                    f"{file}: is {_describe(frame)}, but {first[0].name} is {_describe(first[1])}; all frames of a "
                    "movie must be alike"
                )
    with contextlib.ExitStack() as stack:
        held = {}

        def read(t, z, rows, columns):
            if t not in held:
                stack.close()
                held.clear()
                held[t] = stack.enter_context(_open_file(files[t], axes, labels))
            return held[t].read(0, z, rows, columns)

        yield replace(first[1], shape=(len(files), *first[1].shape[1:]), read=read)


def _describe(source):
    sizes = " x ".join(f"{size} {axis}" for axis, size in zip(AXES[1:], source.shape[1:], strict=True) if size > 1)
    return f"{sizes} {source.dtype}"


@contextlib.contextmanager
def _open_tiff(path, axes, labels):
    with contextlib.ExitStack() as stack:
        with _complaints() as complaints:
            tiff = stack.enter_context(tifffile.TiffFile(path))
            if len(tiff.pages) == 0 or not tiff.series:
                raise InputError(f"{path}: is a TIFF file without an image; replace or remove it")
            series = tiff.series[0]
            pages = list(series.pages)
        if serious := [complaint for complaint in complaints if _NO_PAGES.search(complaint)]:
            raise InputError(f"{path}: the file is cut off or damaged ({serious[0]}); replace or remove it")
        _check_pages(path, tiff, series, pages)
        layout = _layout(path, series.axes, series.shape, axes)
        pixels = _tiff_pixels(path, tiff, series)
        source = _source(path, layout, pixels, labels=labels, tiled=series.keyframe.is_tiled)
        channels, pixel_um, frame_s = _tiff_metadata(tiff, series, layout)
        notes = []
        if len(tiff.series) > 1:
            others = ", ".join(f"{other.name or 'unnamed'} {other.shape}" for other in tiff.series[1:])
            notes.append(f"holds {len(tiff.series)} images; the first is taken, not {others}")
        if not axes and set(series.axes) & {"I", "Q"}:
            notes.append("does not say what its pages are; they are taken as frames (column axes says otherwise)")
        source = replace(source, pixel_um=pixel_um, frame_s=frame_s, channels=channels, notes=notes)
        yield _without_alpha(source) if set(series.keyframe.extrasamples) & {1, 2} else source


@contextlib.contextmanager
def _complaints():
    """What tifffile logs as errors and then goes on without, such as pages that lie beyond the end of the file."""
    complaints = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())
    logger = logging.getLogger("tifffile")
    passed_on, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield complaints
    finally:
        logger.removeHandler(handler)
        logger.propagate = passed_on


def _check_pages(path, tiff, series, pages):
    """Refuse a series whose pages are missing, lie beyond the end of the file, or claim more than it can hold."""
    folder = path.resolve().parent
    available = 0
    for file in {page.parent.filehandle.path for page in pages if page is not None}:
        if Path(file).resolve().parent != folder:
            raise InputError(f"{path}: refers to {file}, outside of its folder; save it as one file")
        available += Path(file).stat().st_size
    missing = sum(page is None for page in pages)
    if missing:
        raise InputError(
            f"{path}: {missing} of its {len(pages)} planes are in files that are not beside it; bring them, or save it "
            "as one file"
        )
    for number, page in enumerate(pages):
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if sum(page.databytecounts) == 0:
            raise InputError(f"{path}: page {number} holds no pixels; replace or remove it")
        if max(ends) > page.parent.filehandle.size:
            raise InputError(
                f"{path}: is cut off, page {number} should end at byte {max(ends)} of {page.parent.filehandle.size}; "
                "replace or remove it"
            )
    if series.dataoffset is not None and series.dataoffset + series.nbytes > tiff.filehandle.size:
        raise InputError(
            f"{path}: is cut off, its pixels should end at byte {series.dataoffset + series.nbytes} of "
            f"{tiff.filehandle.size}; replace or remove it"
        )
    _check_size(path, series.nbytes, available)


def _check_size(path, claimed, available):
    if claimed > max(PLANE_BYTES, MOST_EXPANSION * available):
        raise InputError(
            f"{path}: claims {claimed / 1e9:.1f} GB of pixels in a file of {available} bytes, which cannot be; replace "
            "or remove it"
        )


def _tiff_pixels(path, tiff, series):
    if series.dataoffset is not None:
        return np.memmap(path, series.dtype.newbyteorder(tiff.byteorder), "r", series.dataoffset, series.shape)
    return zarr.open_array(series.aszarr(level=0), mode="r")


def _tiff_metadata(tiff, series, layout):
    """(channel names or None, (z, y, x) in micrometres, seconds between frames) of a TIFF file."""
    channels = list(_COLOURS[: layout.size("c")]) if "S" in series.axes and 3 <= layout.size("c") <= 4 else None
    if tiff.is_ome:
        return _ome_metadata(tiff.ome_metadata, channels, layout.size("c"))
    page = series.keyframe
    unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof("ResolutionUnit", 1)))
    depth = frame_s = None
    if tiff.is_imagej:
        described = tiff.imagej_metadata
        unit = str(described.get("unit") or unit)
        depth = _scaled(described.get("spacing"), unit, _UM) if layout.size("z") > 1 else None
        frame_s = _scaled(described.get("finterval"), described.get("tunit", "s"), _SECONDS)
    sizes = [_pixel_size(page.tags.valueof(tag), unit) for tag in ("YResolution", "XResolution")]
    if tiff.is_svs:
        described = tifffile.tifffile.svs_description_metadata(page.description)
        sizes = [_positive(described.get("MPP"))] * 2
    return channels, (depth, *sizes), frame_s


def _pixel_size(resolution, unit):
    if not resolution or not all(resolution):
        return None
    size = _scaled(resolution[1] / resolution[0], unit, _UM)
    return size if size and size < COARSEST_UM else None


def _ome_metadata(text, channels, count):
    ome = tifffile.xml2dict(text).get("OME", {})
    image = ome.get("Image", {})
    described = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    sizes = tuple(
        _scaled(described.get(f"PhysicalSize{axis}"), described.get(f"PhysicalSize{axis}Unit", "um"), _UM)
        for axis in "ZYX"
    )
    frame_s = _scaled(described.get("TimeIncrement"), described.get("TimeIncrementUnit", "s"), _SECONDS)
    listed = described.get("Channel", [])
    names = [channel.get("Name") for channel in (listed if isinstance(listed, list) else [listed])]
    return ([str(name) for name in names] if all(names) and len(names) == count else channels), sizes, frame_s


def _scaled(value, unit, units):
    factor = units.get(str(unit).lower())
    value = _positive(value)
    return value * factor if value and factor else None


def _positive(value):
    """`value` as a number, if it is one above 0 that a measurement can be."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


@contextlib.contextmanager
def _open_flat(path, axes, labels):
    """PNG, JPEG or JPEG 2000, which must be decoded whole; Pillow refuses to decode very large ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "JPEG", "JPEG2000")) as image:
            _check_size(path, image.width * image.height * len(image.getbands()), path.stat().st_size)
            if getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{path}: is an animation; save its frames as one TIFF or as files of their own")
            pixels = _decode_flat(path, image, labels)
    layout = _layout(path, "YXS"[: pixels.ndim], pixels.shape, axes)
    colours = pixels.ndim == 3 and not axes
    channels = list(_COLOURS[: layout.size("c")]) if colours and layout.size("c") >= 3 else None
    source = replace(_source(path, layout, pixels, labels=labels), channels=channels)
    yield _without_alpha(source) if colours and layout.size("c") in (2, 4) else source


def _decode_flat(path, image, labels):
    """Pixels (y, x) or (y, x, c)."""
    if image.format == "JPEG2000":
        pixels = imagecodecs.jpeg2k_decode(path.read_bytes())
    elif image.mode == "P" and not labels:
        pixels = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    elif image.mode in ("CMYK", "YCbCr"):
        pixels = np.asarray(image.convert("RGB"))
    elif any("16" in str(tile.args) for tile in image.tile) and len(image.getbands()) > 1:
        pixels = imagecodecs.png_decode(path.read_bytes())  # Pillow would cut colours of 16 bits to 8
    else:
        pixels = np.asarray(image)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels


@dataclass(frozen=True)
class _Layout:
    """Which dimension of a file's array is which axis."""

    axes: str  # one of tczyx per dimension
    shape: tuple[int, ...]

    def size(self, axis):
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


def _layout(path, own, shape, axes):
    """The layout of a file whose own word on its axes is `own`, or as the table says in `axes`."""
    if not axes:
        named = "".join(letter if (letter := _GENERIC.get(axis, axis.lower())) in AXES else "?" for axis in own)
        if "?" in named or len(set(named)) < len(named):
            raise InputError(f"{path}: its axes {own} of sizes {shape} are not clear; name them in the column axes")
    else:
        named = axes.lower().replace("s", "c")
        if len(named) != len(shape):
            raise InputError(
                f"{path}: has {len(shape)} axes of sizes {shape}, the column axes names {len(named)} ({axes}); "
                "correct it"
            )
    if not {"y", "x"} <= set(named):
        raise InputError(f"{path}: its axes {named} lack y or x; name them in the column axes")
    if 0 in shape:
        raise InputError(f"{path}: holds no pixels, its sizes are {shape}; replace or remove it")
    return _Layout(named, tuple(shape))


def _source(path, layout, pixels, *, labels, tiled=False):
    """A Source on an array-like with the dimensions of `layout`."""
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
        with _blaming(path):
            piece = np.asarray(pixels[tuple(wanted[axis] for axis in layout.axes)])
        piece = piece.transpose(order)
        return (piece if "c" in kept else piece[None]).astype(dtype)

    shape = tuple(layout.size(axis) for axis in AXES)
    if isinstance(pixels, np.ndarray):  # in memory, or mapped into it: any piece is at hand
        return Source(shape, dtype, cut, tiled=True)
    if shape[1] * shape[3] * shape[4] * dtype.itemsize > PLANE_BYTES:
        return Source(shape, dtype, cut, tiled=tiled)
    whole = lru_cache(maxsize=1)(lambda t, z: cut(t, z, slice(None), slice(None)))
    return Source(shape, dtype, lambda t, z, rows, columns: whole(t, z)[:, rows, columns], tiled=True)


def _without_alpha(source):
    """`source` without its last channel, where that is transparency and the same everywhere."""
    frames, count, depth, height, width = source.shape
    rows = max(1, PLANE_BYTES // (count * width * source.dtype.itemsize))
    seen = set()
    for t, z, top in itertools.product(range(frames), range(depth), range(0, height, rows)):
        alpha = source.read(t, z, slice(top, top + rows), slice(None))[-1]
        seen |= {alpha.min(), alpha.max()}
        if len(seen) > 1:
            return replace(source, notes=[*source.notes, "its transparency varies; it is kept as a channel"])
    return replace(
        source,
        shape=(frames, count - 1, depth, height, width),
        read=lambda t, z, rows, columns: source.read(t, z, rows, columns)[:-1],
        channels=source.channels[:-1] if source.channels else None,
    )


@contextlib.contextmanager
def _blaming(path):
    """Turn whatever goes wrong with a file from outside into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large to be decoded whole ({error}); convert it to a tiled TIFF") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: its header is damaged; replace or remove it") from error
    except Exception as error:  # decoders raise almost anything on damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path}: cannot be read, it is damaged or of an unknown variant ({reason}); replace it"
        ) from error
