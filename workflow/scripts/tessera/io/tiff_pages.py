"""Checks that the pixels that the pages of a TIFF file claim to have can be in it, before memory is used for them."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tessera.common.errors import InputError
from tessera.io.chunk_reader import MAX_CHUNK_BYTES
from tessera.io.lazy_image import MAX_EXPANSION, check_claimed_size

TILE_BYTES = 2**26  # tiles up to this size may be larger than their image
# Unlike deflate, these reduce labels that are mostly background to almost nothing. Tiles are read one by one.
MAX_EXPANSIONS = dict.fromkeys((tifffile.COMPRESSION.ZSTD, tifffile.COMPRESSION.LZMA), 100_000)
# Bytes that one byte can become: deflate by https://zlib.net/zlib_tech.html, LZW with codes of 12 bits for up to 4096
# bytes each, and PackBits with two bytes for a run of 128.
_EXACT_EXPANSIONS = {
    tifffile.COMPRESSION.NONE: 1,
    tifffile.COMPRESSION.PACKBITS: 64,
    tifffile.COMPRESSION.ADOBE_DEFLATE: 1032,
    tifffile.COMPRESSION.DEFLATE: 1032,
    tifffile.COMPRESSION.LZW: 2731,
}

_DESCRIBED = ("ome", "imagej", "shaped", "lsm", "fluoview", "stk")  # kinds of series whose header counts planes


def is_own_page(tiff: Any, page: Any) -> bool:
    """Return whether a page is in the opened file, not in another file of its set."""
    return bool(page is not None and page.parent.filehandle.path == tiff.filehandle.path)


def is_mappable(tiff: Any, series: Any) -> bool:
    """Return whether the pixels are contiguous in the opened file; offsets may refer to another file."""
    return series.dataoffset is not None and all(is_own_page(tiff, page) for page in series._pages)


def check_plane_count(path: Path, tiff: Any, series: Any) -> None:
    """Check that a series has a page for each plane that its header claims, before the pages are listed.

    Raises:
        InputError: the header claims more.
    """
    claimed = _count_planes(series)
    if is_mappable(tiff, series):
        _check_mapped(path, tiff, series)
    elif len(series._pages) == 1 < claimed and not series.is_truncated:
        first = series._pages[0].index
        if claimed > len(tiff.pages) - first:
            raise _too_few_pages(path, claimed, len(tiff.pages) - first)
    elif len(series._pages) < claimed:
        raise _too_few_pages(path, claimed, len(series._pages))


def _too_few_pages(path: Path, claimed: int, there: int) -> InputError:
    return InputError(f"{path}: its header claims {claimed} planes, but it has {there}; replace or remove it")


def _check_mapped(path: Path, tiff: Any, series: Any) -> None:
    if series.dataoffset + series.nbytes > tiff.filehandle.size:
        raise InputError(
            f"{path}: is truncated, its pixels should end at byte {series.dataoffset + series.nbytes} of "
            f"{tiff.filehandle.size}; replace or remove it"
        )


def check_pages(path: Path, series: Any, pages: Sequence[Any]) -> list[str]:
    """Check that the pages of a series exist, end within their files, and claim no more pixels than possible.

    Returns:
        Warnings about pixels that were never written.

    Raises:
        InputError: the file is truncated or corrupt, or its tiles are too large to be decoded at once.
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
    checked: set[int] = set()
    empty = 0
    for number, page in enumerate(pages):
        if id(page.keyframe) not in checked:
            _check_keyframe(path, number, page.keyframe, available)
            checked.add(id(page.keyframe))
        empty += _check_segments(path, number, page)
    check_claimed_size(path, series.nbytes, available, MAX_EXPANSIONS.get(series.keyframe.compression, MAX_EXPANSION))
    return [f"has {empty} tiles or strips that were never written; their pixels are 0"] if empty else []


def _check_segments(path: Path, number: int, page: Any) -> int:
    """Check the tiles or strips of a page, and return how many of them were never written."""
    counts = np.asarray(page.databytecounts, np.uint64).astype(float)
    if counts.sum() == 0:
        raise InputError(f"{path}: page {number} has no pixels; replace or remove it")
    offsets = np.asarray(page.dataoffsets, np.uint64).astype(float)
    shared = min(len(offsets), len(counts))
    end = (offsets[:shared] + counts[:shared]).max()
    if end > page.parent.filehandle.size:
        raise InputError(
            f"{path}: is truncated, page {number} should end at byte {end:.0f} of {page.parent.filehandle.size}; "
            "replace or remove it"
        )
    keyframe = page.keyframe
    if keyframe.is_contiguous or keyframe.is_lsm or keyframe.is_stk or keyframe.parent.is_ndpi:
        return 0  # these describe their strips in other ways
    needed = math.prod(keyframe.chunked)
    if shared < needed:
        raise InputError(
            f"{path}: page {number} has {shared} of the {needed} tiles or strips of its image; replace or remove it"
        )
    most = _EXACT_EXPANSIONS.get(keyframe.compression)
    written = int(np.count_nonzero(counts[:needed]))
    claimed = keyframe.nbytes * written / needed
    # Samples that do not fill their bytes, such as those of 12 bits, are packed.
    bits = float(np.mean(keyframe.bitspersample))
    if most and claimed * min(1, bits / (8 * keyframe.dtype.itemsize)) > most * counts.sum():
        raise InputError(
            f"{path}: page {number} claims {claimed:.0f} bytes of pixels in {counts.sum():.0f} bytes of the file, so "
            "the file is damaged; replace or remove it"
        )
    return int(needed - written)


def _check_keyframe(path: Path, number: int, page: Any, available: int) -> None:
    """Check that the tiles or strips of a page, which are decoded at once, are not much larger than the page.

    Raises:
        InputError: they are, so the file is corrupt, or they are too large to be decoded at once.
    """
    if page.dtype is None:
        raise InputError(
            f"{path}: has pixels of {page.bitspersample} bits in the format {page.sampleformat}, which are not "
            "supported; save it as 8 or 16 bit or as float"
        )
    claimed = math.prod(page.chunks) * page.dtype.itemsize
    check_claimed_size(path, claimed, available, MAX_EXPANSIONS.get(page.compression, MAX_EXPANSION))
    if claimed > max(TILE_BYTES, 4 * page.nbytes):
        raise InputError(
            f"{path}: page {number} claims tiles of {claimed / 1e6:.0f} MB, the page itself has "
            f"{page.nbytes / 1e6:.3g} MB, so the file is corrupt; replace or remove it"
        )
    together = page.samplesperpixel if page.planarconfig == 2 else 1
    if page.compression != tifffile.COMPRESSION.NONE and claimed * together > MAX_CHUNK_BYTES:
        what = "tiles" if page.is_tiled else "strips"
        raise InputError(
            f"{path}: has {what} of {claimed * together / 1e9:.1f} GB, which must be decoded at once; save it again "
            "with smaller tiles (512 x 512 pixels)"
        )


def list_unused_pages(tiff: Any, offsets: Collection[int]) -> list[str]:
    """Return a warning if the header of a file describes fewer planes than the file has pages.

    Args:
        tiff: the opened file.
        offsets: the places of its pages.
    """
    if not all(series.kind in _DESCRIBED for series in tiff.series):
        return []
    used: set[int] = set()
    without_page = 0
    for series in tiff.series:
        for level in series.levels:
            used |= {page.offset for page in level._pages[: _count_planes(level)] if is_own_page(tiff, page)}
        if len(series._pages) == 1:
            without_page += _count_planes(series) - 1
    unused = len(offsets) - len(used & set(offsets)) - without_page
    if unused <= 0:
        return []
    return [
        f"has {len(offsets)} pages, but its header describes {len(offsets) - unused} of them; the others are ignored"
    ]


def _count_planes(series: Any) -> int:
    """Return the number of planes by the header of a series."""
    return int(math.prod(series.get_shape(squeeze=False)) // max(1, math.prod(series.keyframe.shape)))
