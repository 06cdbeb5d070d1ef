"""Regions in OME-XML files (https://docs.openmicroscopy.org/ome-model/latest/developers/roi.html)."""

import base64
import bz2
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.drawn_labels import Drawing, DrawnRegion, class_in_name
from tessera.io.drawn_shapes import Pixels, Polygons, Ring, Shape, as_ring, ellipse, rectangle
from tessera.io.lazy_image import as_input_error

_WITHOUT_AREA = ("Line", "Polyline", "Point", "Label")


def is_ome_xml(head: bytes) -> bool:
    """Return whether a file that begins with `head` is OME-XML."""
    return head.lstrip().startswith(b"<") and b"OME" in head


def read_ome_rois(path: Path, classes: Sequence[str]) -> Drawing:
    """Read the regions of an OME-XML file. The shapes of one ROI are one object.

    The class is the name of the ROI or the text of a shape, if that is one of `classes`.

    Raises:
        InputError: the file is damaged, declares entities, or describes several images.
    """
    root = _parse(path)
    images = root.findall("{*}Image")
    if len(images) > 1:
        raise InputError(f"{path}: describes {len(images)} images; save the regions of each in a file of its own")
    pixels = images[0].find("{*}Pixels") if images else None
    regions: list[DrawnRegion] = []
    flat = 0
    for number, roi in enumerate(root.iterfind("{*}ROI")):
        for shape in roi.iterfind("{*}Union/*"):
            kind = shape.tag.rpartition("}")[2]
            if kind in _WITHOUT_AREA:
                flat += 1
                continue
            with as_input_error(Path(f"{path}: {roi.get('ID', number)}")):
                drawn = _shape(kind, shape)
                t, z = (None if (at := shape.get(name)) is None else int(at) for name in ("TheT", "TheZ"))
            names = (roi.get("Name"), shape.get("Text"))
            class_name = next((found for name in names if name and (found := class_in_name(name, classes))), None)
            regions.append(DrawnRegion(drawn, number, class_name, t, z))
    with as_input_error(path):
        size = None if pixels is None else (int(pixels.attrib["SizeY"]), int(pixels.attrib["SizeX"]))
    notes = [f"{flat} lines, points or texts, which have no area; they are left out"] if flat else []
    return Drawing(regions, size=size, notes=notes)


def _parse(path: Path) -> ElementTree.Element:
    with as_input_error(path):
        content = path.read_bytes()
    if re.search(rb"<!(DOCTYPE|ENTITY)", content) or b"\0" in content:  # entities may grow without limit
        raise InputError(f"{path}: declares entities or is not UTF-8, which OME-XML does not need; export it again")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path}: is not well-formed XML ({error}); export it again") from None


def _shape(kind: str, shape: ElementTree.Element) -> Shape:
    def number(name: str) -> float:
        return float(shape.attrib[name])

    if kind == "Polygon":
        ring = as_ring([point.split(",") for point in shape.attrib["Points"].split()])
    elif kind == "Rectangle":
        ring = rectangle(number("X"), number("Y"), number("Width"), number("Height"))
    elif kind == "Ellipse":
        ring = ellipse(number("X"), number("Y"), number("RadiusX"), number("RadiusY"))
    elif kind == "Mask":
        return _mask(shape, round(number("X")), round(number("Y")), round(number("Width")), round(number("Height")))
    else:
        raise ValueError(f"the shape {kind} is unknown")
    return Polygons([[_transform(ring, shape.find("{*}Transform"))]])


def _transform(ring: Ring, matrix: ElementTree.Element | None) -> Ring:
    if matrix is None:
        return ring
    a00, a10, a01, a11, a02, a12 = (float(matrix.attrib[name]) for name in ("A00", "A10", "A01", "A11", "A02", "A12"))
    return as_ring(ring @ np.array([(a00, a10), (a01, a11)]) + (a02, a12))


def _mask(shape: ElementTree.Element, left: int, top: int, width: int, height: int) -> Pixels:
    """Return a mask with one bit for each pixel, row by row, the highest bit first."""
    data = shape.find("{*}BinData")
    if data is None or shape.find("{*}Transform") is not None:
        raise ValueError("its mask has no BinData, or is transformed")
    packed = base64.b64decode("".join((data.text or "").split()), validate=True)
    wanted = -(-width * height // 8)
    compression = data.get("Compression", "none")
    if compression == "zlib":
        packed = zlib.decompressobj().decompress(packed, wanted + 1)
    elif compression == "bzip2":
        packed = bz2.BZ2Decompressor().decompress(packed, wanted + 1)
    elif compression != "none":
        raise ValueError(f"the compression {compression} is unknown")
    if width < 1 or height < 1 or len(packed) != wanted:
        raise ValueError(f"its mask has {len(packed)} bytes, but {width} x {height} pixels need {wanted}")
    bits: NDArray[np.uint8] = np.unpackbits(np.frombuffer(packed, np.uint8), count=width * height)
    return Pixels(top, left, bits.reshape(height, width).astype(bool))
