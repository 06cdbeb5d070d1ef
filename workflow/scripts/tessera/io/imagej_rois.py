"""Regions that people draw with ImageJ or Fiji: .roi files, and .zip files of the ROI manager.

The package roifile decodes them (https://imagej.net/ij/developer/source/ij/io/RoiDecoder.java.html).
"""

import importlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tessera.common.errors import InputError
from tessera.common.image_formats import ROI, describe_missing_package
from tessera.common.types import Shape5D
from tessera.io.drawn_labels import Drawing, DrawnRegion, class_in_name
from tessera.io.drawn_shapes import Polygons, Ring, as_ring, ellipse, rectangle
from tessera.io.lazy_image import as_input_error

MOST_ENTRY_BYTES = 2**24
MOST_BYTES = 2**30  # of all regions in a file, unpacked
_POLYGON, _RECTANGLE, _OVAL, _FREEHAND, _TRACED = 0, 1, 2, 7, 8


def is_roi_zip(path: Path) -> bool:
    """Return whether a ZIP file holds .roi files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return any(name.lower().endswith(".roi") for name in names)


def read_imagej_rois(path: Path, shape: Shape5D, classes: Sequence[str]) -> Drawing:
    """Read the regions of a .roi or .zip file.

    The class of a region is its name if that is one of `classes`, with or without a number at the end, else the number
    of its group. Its frame and plane are its position in ImageJ.

    Args:
        path: the file.
        shape: (t, c, z, y, x) of the image.
        classes: names of the classes, background first.

    Raises:
        InputError: the file is damaged, or roifile is not installed.
    """
    if missing := describe_missing_package(ROI):
        raise InputError(f"{path}: {missing}")
    roifile: Any = importlib.import_module("roifile")
    regions: list[DrawnRegion] = []
    lines = 0
    for entry, data in _entries(path):
        with as_input_error(path):
            roi = roifile.ImagejRoi.frombytes(data)
            rings = _rings(roi)
            if rings is None:
                lines += 1
                continue
            t, z = _position(roi, shape)
            class_name = class_in_name(str(roi.name or Path(entry).stem), classes)
            if class_name is None and 0 < roi.group < len(classes):
                class_name = classes[roi.group]
            regions.append(DrawnRegion(Polygons([rings]), len(regions), class_name, t, z))
    notes = [f"{lines} lines, points or texts, which have no area; they are left out"] if lines else []
    return Drawing(regions, notes=notes)


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of the regions in a file, whatever sizes it claims."""
    with as_input_error(path):
        if not zipfile.is_zipfile(path):
            with open(path, "rb") as file:
                yield path.name, _limit(path, file.read(MOST_ENTRY_BYTES + 1))
            return
        total = 0
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.lower().endswith(".roi"):
                    with archive.open(entry) as file:
                        data = _limit(path, file.read(MOST_ENTRY_BYTES + 1))
                    total += len(data)
                    if total > MOST_BYTES:
                        raise InputError(f"{path}: has more than {MOST_BYTES} bytes of regions; split it into files")
                    yield entry.filename, data


def _limit(path: Path, data: bytes) -> bytes:
    if len(data) > MOST_ENTRY_BYTES:
        raise InputError(f"{path}: has a region of more than {MOST_ENTRY_BYTES} bytes, so it is damaged; replace it")
    return data


def _rings(roi: Any) -> list[Ring] | None:
    """Return the outline of a region, None if it has no area."""
    kind = int(roi.roitype)
    if kind == _RECTANGLE and roi.multi_coordinates is not None:
        return [as_ring(points) for points in roi.coordinates(multi=True)]
    left, top, width, height = roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top
    if roi.subpixelrect:
        left, top, width, height = roi.xd, roi.yd, roi.widthd, roi.heightd
    if kind == _RECTANGLE and not int(roi.subtype):
        return [rectangle(left, top, width, height)]
    if kind == _OVAL:
        return [ellipse(left + width / 2, top + height / 2, width / 2, height / 2)]
    if kind in (_POLYGON, _FREEHAND, _TRACED):
        return [as_ring(roi.coordinates())]
    return None


def _position(roi: Any, shape: Shape5D) -> tuple[int | None, int | None]:
    """Return the frame and plane of a region, from 0, or None for all.

    ImageJ counts from 1, and 0 is all. In an image that is no hyperstack it has one number for channels, planes and
    frames, of which channels change fastest. ImageJ may call the frames of a movie planes.
    """
    frames, channels, depth, _, _ = shape
    t, z, c = int(roi.t_position), int(roi.z_position), int(roi.c_position)
    if not (t or z or c) and roi.position > 0:
        stack = int(roi.position) - 1
        if stack >= channels * depth * frames:
            return stack, 0  # which is refused, with the number of frames
        return stack // (channels * depth), stack // channels % depth
    if depth == 1 and frames > 1 and z > 1 and t <= 1:
        t, z = z, 0
    elif frames == 1 and depth > 1 and t > 1 and z <= 1:
        t, z = 0, t
    return (t - 1 if t else None), (z - 1 if z else None)
