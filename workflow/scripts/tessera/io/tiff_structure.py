"""Checks the structure of a TIFF file before a reader opens it.

A reader that trusts a damaged file follows its pages in circles, or skips the tags that it cannot read, so that an
OME-TIFF without its end becomes a plain stack. The format is described in the TIFF 6.0 specification (Adobe, 1992) and
in the BigTIFF design (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.image_formats import FORMATS

MAX_TAGS = 4096  # of a page, as in tifffile
MAX_SUBPAGES = 1024  # of a page: levels of a pyramid, or thumbnails
FIRST_PRIVATE_TAG = 32768
_SUBPAGES = 330  # the tag SubIFDs
# Bytes of a value by the number of its type; 0: no such type.
_TYPE_BYTES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8])


@dataclass(frozen=True)
class _Format:
    """The sizes of the numbers in a TIFF file.

    Attributes:
        order: "<" or ">".
        count: format of the number of tags.
        offset: format of an offset.
        inline: bytes of a value that is in its tag, not elsewhere.
    """

    order: str
    count: str
    offset: str
    inline: int

    @property
    def tag(self) -> np.dtype[np.void]:
        """Type of a tag."""
        number = f"{self.order}u{self.inline}"
        order = self.order
        return np.dtype([("code", f"{order}u2"), ("type", f"{order}u2"), ("count", number), ("value", number)])


def check_tiff_structure(path: Path) -> list[int]:
    """Follow the pages of a TIFF file.

    Args:
        path: the file. Its name ends with .ndpi if its offsets have 64 bits in spite of its header.

    Returns:
        The places of the pages, without pages within pages (SubIFDs).

    Raises:
        InputError: the file is truncated or damaged: pages form a circle, or pages or the data of a tag lie beyond its
            end.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        format_, offset = _read_header(path, file)
        wide = path.suffix.lower() == ".ndpi" and format_.inline == 4
        pages: dict[int, int] = {}
        while offset:
            number = len(pages)
            if offset in pages:
                raise InputError(
                    f"{path}: is damaged, its page {number - 1} is followed by page {pages[offset]} again; replace or "
                    "remove it"
                )
            if not 8 <= offset < size:
                raise _truncated(path, f"its page {number} should be at byte {offset}", size)
            pages[offset] = number
            file.seek(offset)
            tags, offset = _read_page(path, file, format_, number, size, wide)
            if not wide:
                _check_tags(path, file, format_, tags, number, size)
    return list(pages)


def is_tiff(path: Path) -> bool:
    """Return whether a file begins like a TIFF file."""
    with open(path, "rb") as file:
        return file.read(4) in FORMATS["tiff"].signatures


def _read_header(path: Path, file: BinaryIO) -> tuple[_Format, int]:
    """Return the format of the numbers and the offset of the first page."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    try:
        (version,) = struct.unpack_from(f"{order}H", head, 2)
        if version == 43:
            return _Format(order, f"{order}Q", f"{order}Q", 8), struct.unpack_from(f"{order}Q", head, 8)[0]
        return _Format(order, f"{order}H", f"{order}I", 4), struct.unpack_from(f"{order}I", head, 4)[0]
    except struct.error:
        raise _truncated(path, "its header should end at byte 8 or 16", len(head)) from None


def _read_page(
    path: Path, file: BinaryIO, format_: _Format, number: int, size: int, wide: bool
) -> tuple[NDArray[np.void], int]:
    """Return the tags of the page at the position of `file`, and the offset of the next page (0 after the last)."""
    start = file.tell()
    offset_format = f"{format_.order}Q" if wide else format_.offset
    try:
        (count,) = struct.unpack(format_.count, file.read(struct.calcsize(format_.count)))
        if count > MAX_TAGS:
            raise InputError(f"{path}: is damaged, its page {number} claims {count} tags; replace or remove it")
        data = file.read(count * format_.tag.itemsize)
        (following,) = struct.unpack(offset_format, file.read(struct.calcsize(offset_format)))
    except struct.error:
        raise _truncated(path, f"its page {number} starts at byte {start} and has no end", size) from None
    return np.frombuffer(data, format_.tag), following


def _check_tags(path: Path, file: BinaryIO, format_: _Format, tags: NDArray[np.void], number: int, size: int) -> None:
    """Check that the values of the tags of a page are within the file."""
    known = tags["type"] < len(_TYPE_BYTES)
    width = np.where(known, _TYPE_BYTES[np.where(known, tags["type"], 0)], 0)
    unknown = (width == 0) & (tags["code"] < FIRST_PRIVATE_TAG)
    if unknown.any():
        raise InputError(
            f"{path}: is damaged, tag {tags['code'][unknown][0]} of its page {number} has the unknown type "
            f"{tags['type'][unknown][0]}; replace or remove it"
        )
    # Floats do not overflow.
    lengths = width * tags["count"].astype(np.float64)
    ends = lengths + tags["value"]
    outside = (lengths > format_.inline) & ((ends > size) | (tags["value"] < 8))
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise _truncated(
            path, f"tag {tags['code'][first]} of its page {number} should end at byte {ends[first]:.0f}", size
        )
    for tag in tags[tags["code"] == _SUBPAGES]:
        _check_subpages(path, file, format_, tag, number, size)


def _check_subpages(path: Path, file: BinaryIO, format_: _Format, tag: np.void, number: int, size: int) -> None:
    count, width = int(tag["count"]), int(_TYPE_BYTES[tag["type"]])
    if count > MAX_SUBPAGES or width not in (4, 8):
        raise InputError(f"{path}: is damaged, its page {number} claims {count} pages in it; replace or remove it")
    if count * width <= format_.inline:
        data = struct.pack(format_.offset, int(tag["value"]))[: count * width]
    else:
        file.seek(int(tag["value"]))
        data = file.read(count * width)
    offsets = np.frombuffer(data, f"{format_.order}u{width}")
    if (offsets >= size).any():
        raise _truncated(path, f"a level of its page {number} should be at byte {offsets.max()}", size)


def _truncated(path: Path, what: str, size: int) -> InputError:
    return InputError(f"{path}: is truncated, {what} of {size}; replace or remove it")
