"""TIFF files of every kind whose pixels and metadata are known, and the structure of a TIFF file as bytes."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tifffile

PIXELS = np.random.default_rng(0).integers(0, 200, (3, 12, 16)).astype(np.uint16)


def write_plain(path: Path) -> None:
    """A movie of three frames."""
    tifffile.imwrite(path, PIXELS, photometric="minisblack", metadata={"axes": "TYX"})


def write_compressed(path: Path) -> None:
    """A movie of three frames in compressed strips."""
    tifffile.imwrite(
        path, PIXELS, photometric="minisblack", compression="zlib", rowsperstrip=5, metadata={"axes": "TYX"}
    )


def write_ome(path: Path, **options: object) -> None:
    """Three channels with names; the OME-XML is at the end of the file."""
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": {"Name": ["DAPI", "GFP", "RFP"]}}
    tifffile.imwrite(path, PIXELS, ome=True, photometric="minisblack", metadata=metadata, **options)


def write_imagej(path: Path) -> None:
    """A movie of three frames of ImageJ."""
    metadata = {"axes": "TYX", "unit": "um", "finterval": 2.0}
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=(2, 2), metadata=metadata)


def write_pyramid(path: Path) -> None:
    """An image with one more level."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        large = np.kron(PIXELS[0], np.ones((3, 3), np.uint16))
        writer.write(large, subifds=1, tile=(16, 16), compression="zlib", metadata={"axes": "YX"})
        writer.write(PIXELS[0], subfiletype=1, tile=(16, 16), compression="zlib")


def write_bigtiff(path: Path) -> None:
    """Three channels with names in a file with offsets of 64 bits and the other order of bytes."""
    write_ome(path, bigtiff=True, byteorder=">")


WRITERS: dict[str, Callable[[Path], None]] = {
    "plain": write_plain,
    "compressed": write_compressed,
    "ome": write_ome,
    "imagej": write_imagej,
    "pyramid": write_pyramid,
    "bigtiff": write_bigtiff,
}


def page_bytes(offset: int, following: int, pixels_at: int) -> bytes:
    """A page of 4 x 4 pixels of 8 bits, to be at `offset`, whose pixels and next page are at the other places."""
    tags = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, pixels_at), (277, 1), (278, 4), (279, 16)]
    return (
        struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        + (struct.pack("<I", following))
    )


def chain_of_pages(following: Sequence[int]) -> bytes:
    """A TIFF file with a page for each number in `following`: the number of the next page, -1 for none."""
    size = len(page_bytes(0, 0, 0))
    start = 8 + 16
    offsets = [start + size * number for number in range(len(following))]
    pages = [page_bytes(at, offsets[to] if to >= 0 else 0, 8) for at, to in zip(offsets, following, strict=True)]
    return struct.pack("<2sHI", b"II", 42, start) + bytes(range(16)) + b"".join(pages)
