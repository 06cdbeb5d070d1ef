"""Opens TIFF files of all variants as LazyImages."""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.chunk_reader import ChunkReader
from tessera.io.file_axes import name_axes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import (
    COLORS,
    ArrayLike,
    LazyImage,
    drop_transparency,
    make_lazy_image,
)
from tessera.io.lossy_masks import refuse_lossy_page
from tessera.io.ome_xml import check_ome_set, looks_like_ome, parse_ome
from tessera.io.tiff_calibration import read_tiff_calibration
from tessera.io.tiff_pages import check_pages, check_plane_count, is_mappable, is_own_page, list_unused_pages
from tessera.io.tiff_structure import check_tiff_structure

# Non-additive color spaces. JPEG's YCbCr is decoded to RGB, so it is not one of them.
NON_ADDITIVE = {tifffile.PHOTOMETRIC[name] for name in ("SEPARATED", "CIELAB", "ICCLAB", "ITULAB", "LOGLUV", "YCBCR")}
JPEG = {compression for compression in tifffile.COMPRESSION if "JPEG" in compression.name}
_NO_PAGES = re.compile(r"page offset|circular|corrupted|series|offset to page|tag list")


@contextlib.contextmanager
def open_tiff(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the full size of an image in the TIFF file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it. Without a scene, it is the first image with pixels.

    Yields:
        The LazyImage.

    Raises:
        InputError: the file is truncated or corrupt, refers to missing files, or holds ids compressed with loss.
    """
    axes, labels, like = request.axes, request.labels, request.like
    offsets = check_tiff_structure(path)
    if not offsets:
        raise InputError(f"{path}: is a TIFF file without images; replace or remove it")
    with contextlib.ExitStack() as stack:
        with _collect_log() as complaints:
            # Micro-Manager's own index makes one series of all positions; its OME-XML separates them.
            tiff = stack.enter_context(tifffile.TiffFile(path, is_mmstack=False))
            warnings = _check_description(path, tiff, len(offsets), guessable=bool(axes or like))
            series = _choose_series(path, tiff, request.scene, warnings)
            if labels:
                refuse_lossy_page(path, tiff, series.keyframe)
            _check_colors(path, series.keyframe)
            check_plane_count(path, tiff, series)
            pages = series._pages if is_mappable(tiff, series) else list(series)
        if serious := [complaint for complaint in complaints if _NO_PAGES.search(complaint)]:
            raise InputError(f"{path}: the file is truncated or damaged ({serious[0]}); replace or remove it")
        warnings += check_pages(path, series, pages)
        warnings += list_unused_pages(tiff, offsets)
        file_axes = series.axes
        if guessed := _has_guessed_colors(series) and not axes:
            # The annotated image tells what the planes are.
            file_axes = file_axes.replace("S", "Q") if labels else file_axes
            warnings += [] if labels else [_describe_unclear_axis("channels", "planes")]
        layout = name_axes(path, file_axes, series.shape, axes, like)
        pixels = _tiff_pixels(path, tiff, series)
        image = make_lazy_image(path, layout, pixels, labels=labels, tiled=series.keyframe.is_tiled)
        if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
            warnings.append("has a palette, which is ignored; its indices are the pixels")
        if not (axes or labels) and set(series.axes) & {"I", "Q"} and layout.size("t") > 1:
            warnings.append(_describe_unclear_axis("frames", "pages"))
        if _is_inverted(tiff, series.keyframe):
            image, warning = _invert(image, series.keyframe.bitspersample)
            warnings.append(warning)
        calibration = read_tiff_calibration(tiff, series, layout)
        channels = calibration.channels
        has_colors = "S" in (axes or series.axes).upper() and not guessed
        if channels is None and has_colors and 3 <= layout.size("c") <= 4:
            channels = list(COLORS[: layout.size("c")])
        image = replace(
            image,
            pixel_size_um=calibration.pixel_size_um,
            frame_interval_s=calibration.frame_interval_s,
            channels=channels,
            warnings=warnings + ([] if labels else list(calibration.warnings)),
        )
        declared = "S" in series.axes and not (axes or guessed) and set(series.keyframe.extrasamples) & {1, 2}
        yield drop_transparency(image, opaque=True) if declared and layout.size("c") in (2, 4) else image


def _check_description(path: Path, tiff: Any, page_count: int, *, guessable: bool) -> list[str]:
    """Check the OME-XML of a file before it is used, and return warnings.

    Args:
        path: the file.
        tiff: the opened file; it is treated as a plain TIFF file from now on if its OME-XML cannot be used.
        page_count: number of its pages.
        guessable: whether the axes are known without its OME-XML.

    Raises:
        InputError: the OME-XML is damaged, and the axes are unknown without it.
    """
    description = tiff.pages.first.description
    if not looks_like_ome(description):
        return []
    root = parse_ome(description)
    if not isinstance(root, str):
        tiff.is_ome = True  # even if something follows the OME-XML
        check_ome_set(path, root, page_count)
        return []
    if not guessable:
        raise InputError(
            f"{path}: its OME-XML is not well-formed ({root}), so that its axes are unknown; name them in the column "
            "axes, or save it again"
        )
    tiff.is_ome = False
    return [f"has OME-XML that is not well-formed ({root}) and is ignored, with the sizes and names in it"]


def _choose_series(path: Path, tiff: Any, scene: str, warnings: list[str]) -> Any:
    """Return the chosen or else the first full-size series with pages in the opened file, and append warnings."""
    if not tiff.series:
        raise InputError(f"{path}: is a TIFF file without images; replace or remove it")
    own = [series for series in tiff.series if any(is_own_page(tiff, page) for page in series._pages)]
    if not own:
        raise InputError(f"{path}: its images are in {_other_files(tiff)}; name those in the table instead")
    own.sort(key=lambda series: bool(series.keyframe.is_reduced))  # stable; thumbnails last
    if own[0].keyframe.is_reduced:
        warnings.append("says that its pixels are a reduced copy, such as a preview, of an image that is not in it")
    if scene:
        own = [own[choose_scene(path, [series.name or "" for series in own], scene)]]
    elif len(own) > 1 and own[0].kind == "ome":
        choose_scene(path, [series.name or "" for series in own], scene)
    if len(own) > 1:
        others = ", ".join(f"{other.name or 'unnamed'} {other.shape}" for other in own[1:])
        warnings.append(f"has {len(own)} images; the first is used, not {others}")
    for kind, name in (("ome", "OME-XML"), ("imagej", "ImageJ header")):
        if getattr(tiff, f"is_{kind}") and own[0].kind not in ("ome", "imagej", "shaped"):
            warnings.append(f"has an {name} that does not describe its pages; its axes are not taken from it")
    return own[0]


def _has_guessed_colors(series: Any) -> bool:
    """Return whether the colors of a series are a guess of tifffile, which wrote an array of three or four planes.

    It stores an array (4, y, x) as the colors and the transparency of one page unless its caller states the axes.
    """
    page = series.keyframe
    by_tifffile = series.kind in ("uniform", "generic") and str(page.software).startswith("tifffile")
    return bool(
        (series.kind == "shaped" or by_tifffile)
        and page.photometric == tifffile.PHOTOMETRIC.RGB
        and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        and '"axes"' not in (page.shaped_description or "")
    )


def _describe_unclear_axis(meaning: str, parts: str) -> str:
    return f"does not state the axis of its {parts}; they are read as {meaning} (set the column axes if they are not)"


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


def _other_files(tiff: Any) -> str:
    names = {page.parent.filehandle.name for series in tiff.series for page in series.pages if page is not None}
    return ", ".join(sorted(names))


def _check_colors(path: Path, page: Any) -> None:
    decoded = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression in JPEG
    if page.photometric in NON_ADDITIVE and not decoded:
        name = "CMYK" if page.photometric == tifffile.PHOTOMETRIC.SEPARATED else page.photometric.name
        raise InputError(f"{path}: its colors are {name}, a non-additive color space; save it as RGB or gray channels")


def _tiff_pixels(path: Path, tiff: Any, series: Any) -> ArrayLike:
    if is_mappable(tiff, series):
        mapped: NDArray[Any] = np.memmap(
            path, series.dtype.newbyteorder(tiff.byteorder), "r", series.dataoffset, series.shape
        )
        return mapped
    page = series.keyframe
    together = page.samplesperpixel if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE else 1
    return ChunkReader(zarr.open_array(series.aszarr(level=0), mode="r"), together)
