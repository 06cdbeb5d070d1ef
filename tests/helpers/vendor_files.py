"""Reads and writes files of microscope vendors without the libraries that Tessera uses, to compare with them."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
from numpy.typing import NDArray


def nd2_frame(path: Path, number: int, shape: tuple[int, int, int]) -> NDArray[Any]:
    """One frame (c, y, x) of an uncompressed ND2 file of 16 bits."""
    data = path.read_bytes()
    name = f"ImageDataSeq|{number}!".encode()
    # A chunk is a magic number, the lengths of its name and its data, the name, and the data, which begin with a time.
    begin = data.index(struct.pack("<I", 0x0ABECEDA) + struct.pack("<I", 4072))
    while data[begin + 16 : begin + 16 + len(name)] != name:
        begin = data.index(struct.pack("<I", 0x0ABECEDA), begin + 16)
    (name_bytes,) = struct.unpack_from("<I", data, begin + 4)
    channels, height, width = shape
    pixels = np.frombuffer(data, "<u2", channels * height * width, begin + 16 + name_bytes + 8)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def lif_blocks(path: Path) -> list[bytes]:
    """The memory blocks with pixels of a LIF file of version 2."""
    data = path.read_bytes()
    _, length = struct.unpack_from("<II", data)
    at, blocks = 8 + length, []
    while at < len(data):
        _, _, _, size, _, name_length = struct.unpack_from("<IIBQBI", data, at)
        at += struct.calcsize("<IIBQBI") + 2 * name_length
        if size:
            blocks.append(data[at : at + size])
        at += size
    return blocks


def lif_element(name: str, sides: dict[int, tuple[int, int]], channels: Sequence[tuple[int, int, str]]) -> str:
    """The XML of an image of 8 bits.

    Args:
        name: name of the image.
        sides: {number of the dimension (1 x, 2 y, 3 z, 4 t): (elements, bytes between them)}.
        channels: (tag, first byte, name of the color) of each.
    """
    dimensions = "".join(
        f'<DimensionDescription DimID="{number}" NumberOfElements="{count}" Origin="0" Length="{(count - 1) * 2e-6}" '
        f'Unit="m" BytesInc="{step}" BitInc="0"/>'
        for number, (count, step) in sides.items()
    )
    described = "".join(
        f'<ChannelDescription DataType="0" ChannelTag="{tag}" Resolution="8" NameOfMeasuredQuantity="" Min="0" '
        f'Max="255" Unit="" LUTName="{color}" IsLUTInverted="0" BytesInc="{first}" BitInc="0"/>'
        for tag, first, color in channels
    )
    return (
        f'<Element Name="{name}" UniqueID="{name}"><Data><Image><ImageDescription><Channels>{described}</Channels>'
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
        f'<Memory Size="0" MemoryBlockID="Block_{name}"/></Element>'
    )


def write_lif(path: Path, images: dict[str, tuple[str, bytes]]) -> None:
    """Write a LIF file of version 2 of {name: (XML of the image, its pixels)}."""
    elements = "".join(element for element, _ in images.values())
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="file" UniqueID="f"><Data/><Memory Size="0" '
        f'MemoryBlockID="Block_f"/><Children>{elements}</Children></Element></LMSDataContainerHeader>'
    ).encode("utf-16-le")
    parts = [struct.pack("<IIBI", 0x70, 5 + len(xml), 0x2A, len(xml) // 2), xml]
    for name, (_, pixels) in images.items():
        label = f"Block_{name}".encode("utf-16-le")
        parts += [
            struct.pack("<IIBQBI", 0x70, 14 + len(label), 0x2A, len(pixels), 0x2A, len(label) // 2),
            label,
            pixels,
        ]
    path.write_bytes(b"".join(parts))


def write_czi(path: Path, tiles: Sequence[tuple[dict[str, int], NDArray[Any]]], compression: int = 0) -> None:
    """Write a CZI file.

    Args:
        path: the file.
        tiles: (start along the axes, pixels (y, x) or (y, x, 3) of 8 or 16 bits) of each tile.
        compression: 0: none, 5: Zstandard, 6: Zstandard of low bytes and then high bytes.
    """
    xml = ElementTree.tostring(ElementTree.fromstring("<ImageDocument><Metadata/></ImageDocument>"))
    segments = [b""]
    entries = []
    at = 544
    for start, pixels in tiles:
        number = {("uint8", 2): 0, ("uint16", 2): 1, ("uint8", 3): 3, ("uint16", 3): 4}[pixels.dtype.name, pixels.ndim]
        stored = (pixels[..., ::-1] if pixels.ndim == 3 else pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
        if compression == 5:
            stored = imagecodecs.zstd_encode(stored)
        elif compression == 6:
            halves = np.frombuffer(stored, np.uint8).reshape(-1, 2).T.tobytes()
            stored = bytes((3, 1, 1)) + imagecodecs.zstd_encode(halves)
        sizes = {"X": pixels.shape[1], "Y": pixels.shape[0]} | {axis: 1 for axis in start if axis not in "XY"}
        dimensions = b"".join(
            struct.pack("<4siifi", axis.encode(), start.get(axis, 0), size, 0, size) for axis, size in sizes.items()
        )
        entry = b"DV" + struct.pack("<iqiiB5xi", number, at, 0, compression, 0, len(sizes)) + dimensions
        entries.append(entry)
        head = (struct.pack("<iiq", 0, 0, len(stored)) + entry).ljust(256, b"\0")
        segments.append(_segment(b"ZISRAWSUBBLOCK", head + stored))
        at += len(segments[-1])
    directory = _segment(b"ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries))
    metadata = _segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
    header = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, at, at + len(directory), 0, 0).ljust(512, b"\0")
    path.write_bytes(_segment(b"ZISRAWFILE", header) + b"".join(segments) + directory + metadata)


def _segment(name: bytes, data: bytes) -> bytes:
    return struct.pack("<16sqq", name, len(data), len(data)) + data
