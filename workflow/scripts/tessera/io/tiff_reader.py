"""Opens TIFF files of all variants as LazyImages."""

import contextlib
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import Shape5D, VoxelSize
from tessera.io.lazy_image import (
    COLORS,
    MAX_EXPANSION,
    ArrayLike,
    Layout,
    LazyImage,
    check_claimed_size,
    drop_constant_alpha,
    make_lazy_image,
    name_axes,
)

# Unlike deflate, these reduce labels that are mostly background to almost nothing. Tiles are read one by one.
MAX_EXPANSIONS = dict.fromkeys((tifffile.COMPRESSION.ZSTD, tifffile.COMPRESSION.LZMA), 100_000)
# Non-additive color spaces. JPEG's YCbCr is decoded to RGB, so it is not one of them.
NON_ADDITIVE = {tifffile.PHOTOMETRIC[name] for name in ("SEPARATED", "CIELAB", "ICCLAB", "ITULAB", "LOGLUV", "YCBCR")}
JPEG = {compression for compression in tifffile.COMPRESSION if "JPEG" in compression.name}
TILE_BYTES = 2**26  # tiles up to this size may be larger than their image
COARSEST_UM = 20  # resolution tags with larger pixels are meant for printers
_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1, "µm": 1, "μm": 1, "\\u00b5m": 1, "micron": 1, "nm": 1e-3, "pm": 1e-6}
_UM |= {"microns": 1, "micrometer": 1, "micrometre": 1, "inch": 25400, "in": 25400, "å": 1e-4}
_SECONDS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "msec": 1e-3, "min": 60, "minute": 60, "h": 3600}
_NO_PAGES = re.compile(r"page offset|circular|corrupted|series|offset to page|tag list")


@contextlib.contextmanager
def open_tiff(path: Path, axes: str | None, labels: bool, like: Shape5D | None = None) -> Iterator[LazyImage]:
    """Open the full size of the first image with pixels in the TIFF file at `path` for the block that follows.

    Args:
        path: the file.
        axes: axes of its array, to override its metadata.
        labels: whether the pixels are ids, which may have 64 bits.
        like: shape (t, c, z, y, x) of the annotated image; None: unknown.

    Yields:
        The LazyImage.

    Raises:
        InputError: the file is truncated or corrupt, or refers to missing files.
    """
    with contextlib.ExitStack() as stack:
        with _collect_log() as complaints:
            # Micro-Manager's own index makes one series of all positions; its OME-XML separates them.
            tiff = stack.enter_context(tifffile.TiffFile(path, is_mmstack=False))
            if tiff.is_ome:
                _check_set(path, tiff.ome_metadata)
            if len(tiff.pages) == 0 or not tiff.series:
                raise InputError(f"{path}: is a TIFF file without images; replace or remove it")
            own = [series for series in tiff.series if any(_is_own(tiff, page) for page in series.pages)]
            if not own:
                raise InputError(f"{path}: its images are in {_other_files(tiff)}; name those in the table instead")
            series = own[0]
            pages = list(series.pages)
        if serious := [complaint for complaint in complaints if _NO_PAGES.search(complaint)]:
            raise InputError(f"{path}: the file is truncated or damaged ({serious[0]}); replace or remove it")
        _check_pages(path, tiff, series, pages)
        _check_colors(path, series.keyframe)
        layout = name_axes(path, series.axes, series.shape, axes, like)
        pixels = _tiff_pixels(path, tiff, series)
        image = make_lazy_image(path, layout, pixels, labels=labels, tiled=series.keyframe.is_tiled)
        channels, pixel_size_um, frame_interval_s = _tiff_metadata(tiff, series, layout)
        warnings = []
        if len(own) > 1:
            others = ", ".join(f"{other.name or 'unnamed'} {other.shape}" for other in own[1:])
            warnings.append(f"has {len(own)} images; the first is used, not {others}")
        if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
            warnings.append("has a palette, which is ignored; its indices are the pixels")
        if not (axes or labels) and set(series.axes) & {"I", "Q"} and layout.size("t") > 1:
            warnings.append(
                "does not state the axis of its pages; they are read as frames (set the column axes if they are not)"
            )
        if _is_inverted(tiff, series.keyframe):
            image, warning = _invert(image, series.keyframe.bitspersample)
            warnings.append(warning)
        image = replace(
            image, pixel_size_um=pixel_size_um, frame_interval_s=frame_interval_s, channels=channels, warnings=warnings
        )
        yield drop_constant_alpha(image) if set(series.keyframe.extrasamples) & {1, 2} else image


def _is_inverted(tiff: Any, page: Any) -> bool:
    """Return whether 0 is white. ImageJ only displays it so, and tifffile declares it for all bilevel masks."""
    if page.photometric != tifffile.PHOTOMETRIC.MINISWHITE or tiff.is_imagej:
        return False
    return page.bitspersample > 1 or not str(page.software).startswith("tifffile")


def _invert(image: LazyImage, bits: int) -> tuple[LazyImage, str]:
    """Return `image` of a file in which 0 is white with inverted pixels, so that bright is large, and a warning."""
    if image.dtype.kind != "u":
        return image, "declares that 0 is white; its pixels are not inverted, since they may be negative"
    white = image.dtype.type(2**bits - 1)
    inverted = replace(image, read=lambda t, z, rows, columns: white - image.read(t, z, rows, columns))
    return inverted, "declares that 0 is white; its pixels are inverted, so that bright pixels have large values"


class _ListHandler(logging.Handler):
    """Appends the text of each error to a list."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


@contextlib.contextmanager
def _collect_log() -> Iterator[list[str]]:
    """Yield a list that receives the errors that tifffile only logs, such as pages beyond the end of the file."""
    complaints: list[str] = []
    handler = _ListHandler(complaints)
    logger = logging.getLogger("tifffile")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield complaints
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _check_set(path: Path, text: str) -> None:
    """Check that an OME-TIFF only names files of its own folder, since tifffile opens all of them to list the images.

    Missing files are allowed: a renamed file still contains its old name, and missing planes are detected later.

    Raises:
        InputError: the file names a path, a link or a folder.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return  # then tifffile opens no other files
    own = root.get("UUID")
    folder = path.resolve().parent
    for element in root.iter():
        if not element.tag.endswith("UUID") or (own is not None and element.text == own):
            continue
        name = element.get("FileName", "")
        if not name or name == ".." or set(name) & set("/\\"):
            raise InputError(f"{path}: refers to {name!r}, which is not a file in its folder; save it as one file")
        file = folder / name
        if (file.exists() and not file.is_file()) or file.resolve().parent != folder:
            raise InputError(f"{path}: refers to {name}, which is not a file in its folder; save it as one file")


def _is_own(tiff: Any, page: Any) -> bool:
    """Return whether a page is in the opened file, not in another file of its set."""
    return bool(page is not None and page.parent.filehandle.path == tiff.filehandle.path)


def _other_files(tiff: Any) -> str:
    names = {page.parent.filehandle.name for series in tiff.series for page in series.pages if page is not None}
    return ", ".join(sorted(names))


def _check_pages(path: Path, tiff: Any, series: Any, pages: Sequence[Any]) -> None:
    """Check that the pages of a series exist, end within their files, and claim no more pixels than possible.

    Raises:
        InputError: the file is truncated or corrupt.
    """
    folder = path.resolve().parent
    available = 0
    for file in {page.parent.filehandle.path for page in pages if page is not None}:
        if Path(file).resolve().parent != folder:
            raise InputError(f"{path}: refers to {file}, outside its folder; save it as one file")
        available += Path(file).stat().st_size
    missing = sum(page is None for page in pages)
    if missing:
        raise InputError(
            f"{path}: {missing} of its {len(pages)} planes were never written, or are in missing files; add those "
            "files, or save the existing planes as one file"
        )
    for number, page in enumerate(pages):
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if sum(page.databytecounts) == 0:
            raise InputError(f"{path}: page {number} has no pixels; replace or remove it")
        _check_tile(path, number, page.keyframe, available)
        if max(ends) > page.parent.filehandle.size:
            raise InputError(
                f"{path}: is truncated, page {number} should end at byte {max(ends)} of {page.parent.filehandle.size}; "
                "replace or remove it"
            )
    if _is_mappable(tiff, series) and series.dataoffset + series.nbytes > tiff.filehandle.size:
        raise InputError(
            f"{path}: is truncated, its pixels should end at byte {series.dataoffset + series.nbytes} of "
            f"{tiff.filehandle.size}; replace or remove it"
        )
    check_claimed_size(path, series.nbytes, available, MAX_EXPANSIONS.get(series.keyframe.compression, MAX_EXPANSION))


def _check_colors(path: Path, page: Any) -> None:
    decoded = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression in JPEG
    if page.photometric in NON_ADDITIVE and not decoded:
        name = "CMYK" if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.photometric.name
        raise InputError(f"{path}: its colors are {name}, a non-additive color space; save it as RGB or gray channels")


def _check_tile(path: Path, number: int, page: Any, available: int) -> None:
    """Check that the tiles or strips of a page, which are decoded at once, are not much larger than the page.

    Raises:
        InputError: they are, so the file is corrupt.
    """
    claimed = math.prod(page.chunks) * page.dtype.itemsize
    check_claimed_size(path, claimed, available)
    if claimed > max(TILE_BYTES, 4 * page.nbytes):
        raise InputError(
            f"{path}: page {number} claims tiles of {claimed / 1e6:.0f} MB, the page itself has "
            f"{page.nbytes / 1e6:.3g} MB, so the file is corrupt; replace or remove it"
        )


def _is_mappable(tiff: Any, series: Any) -> bool:
    """Return whether the pixels are contiguous in the opened file; offsets may refer to another file."""
    return series.dataoffset is not None and all(_is_own(tiff, page) for page in series.pages)


def _tiff_pixels(path: Path, tiff: Any, series: Any) -> ArrayLike:
    if _is_mappable(tiff, series):
        mapped: NDArray[Any] = np.memmap(
            path, series.dtype.newbyteorder(tiff.byteorder), "r", series.dataoffset, series.shape
        )
        return mapped
    return zarr.open_array(series.aszarr(level=0), mode="r")


def _tiff_metadata(tiff: Any, series: Any, layout: Layout) -> tuple[list[str] | None, VoxelSize, float | None]:
    """Return (channel names, voxel size (z, y, x) in micrometers, seconds between frames), None where unknown."""
    channels = list(COLORS[: layout.size("c")]) if "S" in series.axes and 3 <= layout.size("c") <= 4 else None
    if tiff.is_ome:
        return _ome_metadata(tiff, series, channels, layout.size("c"))
    page = series.keyframe
    unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof("ResolutionUnit", 1)))
    depth = frame_interval_s = None
    if tiff.is_imagej:
        described = tiff.imagej_metadata
        unit = str(described.get("unit") or unit)
        depth = _scaled(described.get("spacing"), unit, _UM) if layout.size("z") > 1 else None
        frame_interval_s = _scaled(described.get("finterval"), described.get("tunit", "s"), _SECONDS)
    sizes = [_pixel_size(page.tags.valueof(tag), unit) for tag in ("YResolution", "XResolution")]
    if tiff.is_svs:
        described = tifffile.tifffile.svs_description_metadata(page.description)
        sizes = [_positive(described.get("MPP"))] * 2
    return channels, (depth, sizes[0], sizes[1]), frame_interval_s


def _pixel_size(resolution: tuple[int, int] | None, unit: str | None) -> float | None:
    if not resolution or not all(resolution):
        return None
    size = _scaled(resolution[1] / resolution[0], unit, _UM)
    return size if size and size < COARSEST_UM else None


def _ome_metadata(
    tiff: Any, series: Any, channels: list[str] | None, count: int
) -> tuple[list[str] | None, VoxelSize, float | None]:
    described = _ome_pixels(tiff, series)
    if described is None:
        return channels, (None, None, None), None
    z, y, x = (
        _scaled(described.get(f"PhysicalSize{axis}"), described.get(f"PhysicalSize{axis}Unit", "um"), _UM)
        for axis in "ZYX"
    )
    frame_interval_s = _scaled(described.get("TimeIncrement"), described.get("TimeIncrementUnit", "s"), _SECONDS)
    names = [channel.get("Name") for channel in described.iterfind("{*}Channel")]
    complete = [name for name in names if name]
    return (complete if len(complete) == len(names) == count else channels), (z, y, x), frame_interval_s


def _ome_pixels(tiff: Any, series: Any) -> ElementTree.Element | None:
    """Return the element `Pixels` of a series; None if the metadata does not identify it."""
    images = ElementTree.fromstring(tiff.ome_metadata).findall("{*}Image")
    if len(images) == len(tiff.series):
        images = [images[tiff.series.index(series)]]
    elif len(images) > 1:  # tifffile omits images whose files are missing
        images = [image for image in images if image.get("Name") == series.name]
    return images[0].find("{*}Pixels") if len(images) == 1 else None


def _scaled(value: Any, unit: str | None, units: Mapping[str, float]) -> float | None:
    factor = units.get(str(unit).lower())
    number = _positive(value)
    return number * factor if number and factor else None


def _positive(value: Any) -> float | None:
    """Return `value` as a number if it is finite and above 0, else None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None
