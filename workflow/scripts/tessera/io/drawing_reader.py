"""Finds out which format drawn annotations have, and opens them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from tessera.common.errors import InputError
from tessera.common.image_formats import ROI
from tessera.common.types import Shape5D
from tessera.io.annotation import Annotation, LabelKind
from tessera.io.coco import read_coco
from tessera.io.drawn_labels import Drawing, DrawnRegion, draw_labels, join_drawings
from tessera.io.frame_numbers import check_frame_pairs
from tessera.io.geojson import read_geojson
from tessera.io.imagej_rois import is_roi_zip, read_imagej_rois
from tessera.io.json_drawing import json_format
from tessera.io.labelme import read_labelme
from tessera.io.lazy_image import as_input_error
from tessera.io.ome_rois import is_ome_xml, read_ome_rois


def drawing_format(path: Path) -> str | None:
    """Return the format of a drawing by its content: roi, coco, geojson, labelme or ome; None if it is an image.

    Raises:
        InputError: it is a JSON file of another format.
    """
    if not path.is_file():
        return None
    with as_input_error(path), open(path, "rb") as file:
        head = file.read(512)
    if head.startswith(ROI.signatures) or (head.startswith(b"PK\x03\x04") and is_roi_zip(path)):
        return "roi"
    if head.startswith(b"PK") and path.suffix.lower() == ".zip" and not zipfile.is_zipfile(path):
        raise InputError(f"{path}: is a damaged ZIP file; export it again")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return json_format(path)
    return "ome" if is_ome_xml(text) else None


def open_drawings(
    files: Sequence[Path], shape: Shape5D, kind: LabelKind, image_files: Sequence[Path]
) -> Annotation | None:
    """Open annotations that hold outlines or run lengths; None if the first file is none of these.

    Args:
        files: one file, one file for each frame or plane, or several .roi files of one image.
        shape: (t, c, z, y, x) of the image.
        kind: what the labels mean.
        image_files: files of the image.

    Raises:
        InputError: a file is damaged or does not fit the image.
    """
    format_ = drawing_format(files[0])
    if format_ is None:
        return None
    for file in files[1:]:
        if (other := drawing_format(file)) != format_:
            raise InputError(f"{file}: has the format {other or 'of an image'}, but {files[0].name} is {format_}")
    name = str(files[0] if len(files) == 1 else files[0].parent)
    drawings = [_read(file, format_, shape, kind, image_files) for file in files]
    if len(files) > 1 and len(files) == max(shape[0], shape[2]) and format_ != "coco":
        if len(image_files) == len(files):
            check_frame_pairs(files, image_files)
        drawing = join_drawings(drawings, files, shape)
    elif len(files) == 1:
        drawing = drawings[0]
    elif format_ == "roi":
        drawing = _collect(drawings)
    else:
        raise InputError(
            f"{name}: has {len(files)} annotations of the format {format_}, but its image has {shape[0]} frames and "
            f"{shape[2]} planes; give one for each frame"
        )
    return draw_labels(drawing, shape, kind, name)


def _read(file: Path, format_: str, shape: Shape5D, kind: LabelKind, image_files: Sequence[Path]) -> Drawing:
    if format_ == "roi":
        return read_imagej_rois(file, shape, kind.classes)
    if format_ == "coco":
        return read_coco(file, shape, image_files)
    if format_ == "geojson":
        return read_geojson(file, semantic=kind.semantic)
    if format_ == "ome":
        return read_ome_rois(file, kind.classes)
    return read_labelme(file)


def _collect(drawings: Sequence[Drawing]) -> Drawing:
    """Return the regions of several files of one image."""
    regions = [region for drawing in drawings for region in drawing.regions]
    numbered = [
        DrawnRegion(region.shape, number, region.class_name, region.t, region.z, region.ignored)
        for number, region in enumerate(regions)
    ]
    return Drawing(numbered, notes=list(dict.fromkeys(note for drawing in drawings for note in drawing.notes)))
