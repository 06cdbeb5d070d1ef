"""TIFF files of all kinds, opened as sources."""

import contextlib
import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile
import zarr

from tessera.common.errors import InputError
from tessera.io.lazy_image import (
    COLORS,
    MOST_EXPANSION,
    check_claimed_size,
    drop_constant_alpha,
    make_lazy_image,
    name_axes,
)

# Unlike deflate, these make next to nothing of labels that are mostly background. Tiles are read one by one.
MOST_EXPANSIONS = dict.fromkeys((tifffile.COMPRESSION.ZSTD, tifffile.COMPRESSION.LZMA), 100_000)
# Colours that are no amounts of light; those of JPEG, which are decoded to RGB, are.
FOREIGN = {tifffile.PHOTOMETRIC[name] for name in ("SEPARATED", "CIELAB", "ICCLAB", "ITULAB", "LOGLUV", "YCBCR")}
JPEG = {compression for compression in tifffile.COMPRESSION if "JPEG" in compression.name}
TILE_BYTES = 2**26  # tiles up to this size may be larger than their image, as those of small images are
COARSEST_UM = 20  # resolution tags that say more than this per pixel are a printer's
_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1, "µm": 1, "μm": 1, "\\u00b5m": 1, "micron": 1, "nm": 1e-3, "pm": 1e-6}
_UM |= {"microns": 1, "micrometer": 1, "micrometre": 1, "inch": 25400, "in": 25400, "å": 1e-4}
_SECONDS = {"s": 1, "sec": 1, "second": 1, "seconds": 1, "ms": 1e-3, "msec": 1e-3, "min": 60, "minute": 60, "h": 3600}
_NO_PAGES = re.compile(r"page offset|circular|corrupted|series|offset to page|tag list")


@contextlib.contextmanager
def open_tiff(path, axes, labels, like=None):
    """Open the first image that has pixels in the TIFF file at `path`, its full size, for the block that follows.

    Args:
        path: Path of the file.
        axes: its axes, where the file's own word is not to be taken.
        labels: whether the pixels are ids, which may be of 64 bits.
        like: shape (t, c, z, y, x) of the image that ids are of; None: it is not known.

    Yields:
        Source.

    Raises:
        InputError: the file is cut off, refers to others that are missing, or claims what cannot be.
    """
    with contextlib.ExitStack() as stack:
        with _complaints() as complaints:
            # Micro-Manager's own index makes one series of all positions; its OME-XML tells them apart.
            tiff = stack.enter_context(tifffile.TiffFile(path, is_mmstack=False))
            if tiff.is_ome:
                _check_set(path, tiff.ome_metadata)
            if len(tiff.pages) == 0 or not tiff.series:
                raise InputError(f"{path}: is a TIFF file without an image; replace or remove it")
            own = [series for series in tiff.series if any(_is_own(tiff, page) for page in series.pages)]
            if not own:
                raise InputError(f"{path}: its images are in {_elsewhere(tiff)}; list that in the table instead")
            series = own[0]
            pages = list(series.pages)
        if serious := [complaint for complaint in complaints if _NO_PAGES.search(complaint)]:
            raise InputError(f"{path}: the file is cut off or damaged ({serious[0]}); replace or remove it")
        _check_pages(path, tiff, series, pages)
        _check_colours(path, series.keyframe)
        layout = name_axes(path, series.axes, series.shape, axes, like)
        pixels = _tiff_pixels(path, tiff, series)
        source = make_lazy_image(path, layout, pixels, labels=labels, tiled=series.keyframe.is_tiled)
        channels, pixel_size_um, frame_interval_s = _tiff_metadata(tiff, series, layout)
        warnings = []
        if len(own) > 1:
            others = ", ".join(f"{other.name or 'unnamed'} {other.shape}" for other in own[1:])
            warnings.append(f"holds {len(own)} images; the first is taken, not {others}")
        if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
            warnings.append("has a palette, which is left out; its indices are kept as the pixels")
        if not (axes or labels) and set(series.axes) & {"I", "Q"} and layout.size("t") > 1:
            warnings.append("does not say what its pages are; they are taken as frames (column axes says otherwise)")
        if _is_inverted(tiff, series.keyframe):
            source, warning = _turned(source, series.keyframe.bitspersample)
            warnings.append(warning)
        source = replace(
            source, pixel_size_um=pixel_size_um, frame_interval_s=frame_interval_s, channels=channels, warnings=warnings
        )
        yield drop_constant_alpha(source) if set(series.keyframe.extrasamples) & {1, 2} else source


def _is_inverted(tiff, page):
    """Whether 0 is white: not where ImageJ only shows it so, nor in masks of tifffile, which says so of any bits."""
    if page.photometric != tifffile.PHOTOMETRIC.MINISWHITE or tiff.is_imagej:
        return False
    return page.bitspersample > 1 or not str(page.software).startswith("tifffile")


def _turned(source, bits):
    """`source` of a file in which 0 is white, with bright pixels as the large ones, and what to say of it."""
    if source.dtype.kind != "u":
        return source, "says that 0 is white; its pixels are kept as they are, since they may be negative"
    white = source.dtype.type(2**bits - 1)
    turned = replace(source, read=lambda *place: white - source.read(*place))
    return turned, "says that 0 is white; its pixels are turned, so that what is bright is large"


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


def _check_set(path, text):
    """Refuse an OME-TIFF that names files which tifffile must not open: it opens all of the set to list the images.

    Files that are not there are no matter: a renamed file still has its old name in it, and planes that are missing
    are found later.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return  # tifffile then opens no others
    own = root.get("UUID")
    folder = path.resolve().parent
    for element in root.iter():
        if not element.tag.endswith("UUID") or (own is not None and element.text == own):
            continue
        name = element.get("FileName", "")
        if not name or name == ".." or set(name) & set("/\\"):
            raise InputError(f"{path}: refers to {name!r}, which is no file beside it; save it as one file")
        file = folder / name
        if (file.exists() and not file.is_file()) or file.resolve().parent != folder:
            raise InputError(f"{path}: refers to {name}, which is no file of its own folder; save it as one file")


def _is_own(tiff, page):
    """Whether a page lies in the file that was opened, not in another one of its set."""
    return page is not None and page.parent.filehandle.path == tiff.filehandle.path


def _elsewhere(tiff):
    names = {page.parent.filehandle.name for series in tiff.series for page in series.pages if page is not None}
    return ", ".join(sorted(names))


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
            f"{path}: {missing} of its {len(pages)} planes were never written, or are in files that are not beside it; "
            "bring those, or save what there is as one file"
        )
    for number, page in enumerate(pages):
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if sum(page.databytecounts) == 0:
            raise InputError(f"{path}: page {number} holds no pixels; replace or remove it")
        _check_tile(path, number, page.keyframe, available)
        if max(ends) > page.parent.filehandle.size:
            raise InputError(
                f"{path}: is cut off, page {number} should end at byte {max(ends)} of {page.parent.filehandle.size}; "
                "replace or remove it"
            )
    if _is_mappable(tiff, series) and series.dataoffset + series.nbytes > tiff.filehandle.size:
        raise InputError(
            f"{path}: is cut off, its pixels should end at byte {series.dataoffset + series.nbytes} of "
            f"{tiff.filehandle.size}; replace or remove it"
        )
    check_claimed_size(path, series.nbytes, available, MOST_EXPANSIONS.get(series.keyframe.compression, MOST_EXPANSION))


def _check_colours(path, page):
    decoded = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression in JPEG
    if page.photometric in FOREIGN and not decoded:
        name = "CMYK" if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.photometric.name
        raise InputError(f"{path}: its colours are {name}, no amounts of light; save it as RGB or grey channels")


def _check_tile(path, number, page, available):
    """Refuse a page whose tiles or strips, each of which is decoded whole, would be much larger than the page."""
    claimed = math.prod(page.chunks) * page.dtype.itemsize
    check_claimed_size(path, claimed, available)
    if claimed > max(TILE_BYTES, 4 * page.nbytes):
        raise InputError(
            f"{path}: page {number} claims tiles of {claimed / 1e6:.0f} MB, the page itself has "
            f"{page.nbytes / 1e6:.3g} MB, which cannot be; replace or remove it"
        )


def _is_mappable(tiff, series):
    """Whether the pixels lie one after the other in the file that was opened; offsets may be those of another file."""
    return series.dataoffset is not None and all(_is_own(tiff, page) for page in series.pages)


def _tiff_pixels(path, tiff, series):
    if _is_mappable(tiff, series):
        return np.memmap(path, series.dtype.newbyteorder(tiff.byteorder), "r", series.dataoffset, series.shape)
    return zarr.open_array(series.aszarr(level=0), mode="r")


def _tiff_metadata(tiff, series, layout):
    """(channel names or None, (z, y, x) in micrometres, seconds between frames) of a TIFF file."""
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
    return channels, (depth, *sizes), frame_interval_s


def _pixel_size(resolution, unit):
    if not resolution or not all(resolution):
        return None
    size = _scaled(resolution[1] / resolution[0], unit, _UM)
    return size if size and size < COARSEST_UM else None


def _ome_metadata(tiff, series, channels, count):
    described = _ome_pixels(tiff, series)
    if described is None:
        return channels, (None, None, None), None
    sizes = tuple(
        _scaled(described.get(f"PhysicalSize{axis}"), described.get(f"PhysicalSize{axis}Unit", "um"), _UM)
        for axis in "ZYX"
    )
    frame_interval_s = _scaled(described.get("TimeIncrement"), described.get("TimeIncrementUnit", "s"), _SECONDS)
    names = [channel.get("Name") for channel in described.iterfind("{*}Channel")]
    return (names if all(names) and len(names) == count else channels), sizes, frame_interval_s


def _ome_pixels(tiff, series):
    """The element `Pixels` that describes a series; None where the metadata do not say which one it is."""
    images = ElementTree.fromstring(tiff.ome_metadata).findall("{*}Image")
    if len(images) == len(tiff.series):
        images = [images[tiff.series.index(series)]]
    elif len(images) > 1:  # tifffile leaves out images whose files are missing
        images = [image for image in images if image.get("Name") == series.name]
    return images[0].find("{*}Pixels") if len(images) == 1 else None


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
