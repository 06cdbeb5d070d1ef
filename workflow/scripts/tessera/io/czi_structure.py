"""The structure of Zeiss CZI files: which tiles of pixels they have, and where.

Source: Zeiss, "ZISRAW (CZI) File Format", version 1.2.2, and the open library libCZI for the compression by Zstandard.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.lazy_image import check_claimed_size

MAX_XML_BYTES = 2**27
MAX_TILE_BYTES = 2**31
MAX_ENTRIES = 10_000_000
_SEGMENT_BYTES = 32  # the header of a segment: its name, and two sizes
# {number in the file: (type, samples of a pixel)}
_PIXEL_TYPES = {0: ("<u1", 1), 1: ("<u2", 1), 2: ("<f4", 1), 3: ("<u1", 3), 4: ("<u2", 3), 8: ("<f4", 3), 9: ("<u1", 4)}
_PIXEL_TYPES |= {12: ("<i4", 1)}
_UNCOMPRESSED, _JPEG, _LZW, _JPEG_XR, _ZSTD, _ZSTD_PLUS = 0, 1, 2, 4, 5, 6


@dataclass(frozen=True)
class Tile:
    """A rectangle of pixels in the file.

    Attributes:
        start: {axis: place of the first element}.
        size: {axis: number of elements in the image}.
        stored: {axis: number of elements in the file}; they differ from `size` in reduced copies.
        offset: place of its segment in the file.
        pixel_type: number of the type of its pixels.
        compression: number of its compression.
        entry_bytes: bytes of its entry in the directory.
    """

    start: dict[str, int]
    size: dict[str, int]
    stored: dict[str, int]
    offset: int
    pixel_type: int
    compression: int
    entry_bytes: int

    @property
    def is_full_size(self) -> bool:
        """Whether it is no reduced copy."""
        return all(self.stored[axis] == self.size[axis] for axis in "XY")


@dataclass(frozen=True)
class CziStructure:
    """The tiles and the metadata of a file.

    Attributes:
        tiles: the tiles, in the order of the directory.
        metadata: root of the XML, None if there is none.
    """

    tiles: list[Tile]
    metadata: ElementTree.Element | None


def read_structure(path: Path, file: BinaryIO) -> CziStructure:
    """Read the directory of tiles and the metadata of a CZI file.

    Args:
        path: the file, for messages.
        file: the opened file.

    Raises:
        InputError: the file is truncated or damaged, or a part of a set of files.
    """
    size = os.fstat(file.fileno()).st_size
    header = _read_segment(path, file, 0, b"ZISRAWFILE", 80, size)
    part, directory, metadata = struct.unpack_from("<iqq", header, 48)
    if part:
        raise InputError(f"{path}: is part {part} of a set of files, which is not supported; save it as one CZI file")
    head = _read_segment(path, file, directory, b"ZISRAWDIRECTORY", 128, size)
    (count,) = struct.unpack_from("<i", head)
    if not 0 < count < min(MAX_ENTRIES, size // 32):
        raise InputError(f"{path}: claims {count} tiles of pixels, so it is empty or damaged; replace or remove it")
    file.seek(directory + _SEGMENT_BYTES + 128)
    tiles = [_read_entry(path, file, size) for _ in range(count)]
    return CziStructure(tiles, _read_metadata(path, file, metadata, size) if metadata else None)


def read_tile(path: Path, file: BinaryIO, tile: Tile) -> NDArray[Any]:
    """Return the pixels (y, x, samples) of a tile. Colors are in the order red, green, blue.

    Raises:
        InputError: the tile is damaged, or its compression is unknown.
    """
    size = os.fstat(file.fileno()).st_size
    head = _read_segment(path, file, tile.offset, b"ZISRAWSUBBLOCK", 16, size)
    metadata_bytes, _, data_bytes = struct.unpack_from("<iiq", head)
    begin = tile.offset + _SEGMENT_BYTES + max(256, 16 + tile.entry_bytes) + metadata_bytes
    if min(metadata_bytes, data_bytes) < 0 or begin + data_bytes > size:
        raise _truncated(path, begin + data_bytes, size)
    dtype, samples = pixel_type(path, tile.pixel_type)
    shape = (tile.stored["Y"], tile.stored["X"], samples)
    claimed = int(np.prod(shape, dtype=float)) * dtype.itemsize
    if claimed > MAX_TILE_BYTES:
        raise InputError(
            f"{path}: has tiles of {claimed / 1e9:.1f} GB, which must be decoded at once; export it as OME-TIFF"
        )
    check_claimed_size(path, claimed, data_bytes, 1 if tile.compression == _UNCOMPRESSED else 2000)
    file.seek(begin)
    pixels = _decode(path, file.read(data_bytes), tile.compression, claimed, dtype)
    if pixels.size != np.prod(shape):
        raise InputError(f"{path}: the tile at byte {tile.offset} does not have its {shape} pixels; replace the file")
    pixels = pixels.reshape(shape)
    # JPEG XR and JPEG decoders return red first.
    reversed_ = samples > 1 and tile.compression not in (_JPEG_XR, _JPEG)
    return pixels[..., [2, 1, 0, 3][:samples]] if reversed_ else pixels


def pixel_type(path: Path, number: int) -> tuple[np.dtype[Any], int]:
    """Return the type and the samples of pixels.

    Raises:
        InputError: the type is not supported, such as complex numbers.
    """
    if number not in _PIXEL_TYPES:
        raise InputError(f"{path}: has pixels of type {number}, which is not supported; export it as OME-TIFF")
    name, samples = _PIXEL_TYPES[number]
    return np.dtype(name), samples


def _decode(path: Path, data: bytes, compression: int, claimed: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if compression == _UNCOMPRESSED:
        return np.frombuffer(data[:claimed], dtype)
    if compression == _JPEG_XR:
        return np.asarray(imagecodecs.jpegxr_decode(data))
    if compression == _JPEG:
        return np.asarray(imagecodecs.jpeg8_decode(data))
    if compression == _LZW:
        return np.frombuffer(imagecodecs.lzw_decode(data, out=claimed), dtype)
    if compression == _ZSTD:
        return np.frombuffer(imagecodecs.zstd_decode(data, out=claimed), dtype)
    if compression == _ZSTD_PLUS:
        # Its header is its own length, and then pairs of a number and a value; number 1 tells whether the low bytes of
        # all pixels come before the high bytes.
        length = data[0]
        packed = length == 3 and data[1] == 1 and bool(data[2] & 1)
        plain = np.frombuffer(imagecodecs.zstd_decode(data[length:], out=claimed), np.uint8)
        return plain.reshape(2, -1).T.ravel().view(dtype) if packed else plain.view(dtype)
    raise InputError(f"{path}: is compressed by method {compression}, which is not supported; export it as OME-TIFF")


def _read_segment(path: Path, file: BinaryIO, offset: int, name: bytes, count: int, size: int) -> bytes:
    """Return the first `count` bytes of a segment after its header."""
    if not 0 <= offset <= size - _SEGMENT_BYTES - count:
        raise _truncated(path, offset, size)
    file.seek(offset)
    head = file.read(_SEGMENT_BYTES + count)
    if head[:16].rstrip(b"\0") != name:
        raise InputError(f"{path}: is damaged, there is no {name.decode()} at byte {offset}; replace or remove it")
    return head[_SEGMENT_BYTES:]


def _read_entry(path: Path, file: BinaryIO, size: int) -> Tile:
    head = file.read(32)
    if len(head) < 32 or head[:2] != b"DV":
        raise InputError(f"{path}: its directory of tiles is damaged; replace or remove it")
    pixel_type, offset, part, compression = struct.unpack_from("<iqii", head, 2)
    (count,) = struct.unpack_from("<i", head, 28)
    data = file.read(20 * count) if 0 < count <= 32 else b""
    if not data or len(data) < 20 * count or part:
        raise InputError(f"{path}: its directory of tiles is damaged or names other files; replace or remove it")
    start, extent, stored = {}, {}, {}
    for name, first, length, _, stored_length in struct.iter_unpack("<4siifi", data):
        axis = name.rstrip(b"\0").decode("ascii", "replace")
        start[axis], extent[axis], stored[axis] = first, length, stored_length or length
    if not {"X", "Y"} <= set(extent) or min(min(extent.values()), min(stored.values())) < 1:
        raise InputError(f"{path}: its directory of tiles is damaged; replace or remove it")
    if not 0 < offset < size:
        raise _truncated(path, offset, size)
    return Tile(start, extent, stored, offset, pixel_type, compression, 32 + 20 * count)


def _read_metadata(path: Path, file: BinaryIO, offset: int, size: int) -> ElementTree.Element:
    (length,) = struct.unpack_from("<i", _read_segment(path, file, offset, b"ZISRAWMETADATA", 256, size))
    if not 0 < length < MAX_XML_BYTES:
        raise InputError(f"{path}: claims {length} bytes of metadata, so it is damaged; replace or remove it")
    return ElementTree.fromstring(file.read(length))


def _truncated(path: Path, end: int, size: int) -> InputError:
    return InputError(f"{path}: is truncated or damaged, it refers to byte {end} of {size}; replace or remove it")
