"""Opens DICOM files as LazyImages (https://www.dicomstandard.org)."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, convert_interval, convert_sizes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import COLORS, LazyImage, check_claimed_size
from tessera.io.plane_array import PlaneArray, make_image

DEFERRED_BYTES = 2**16  # larger values, such as the pixels, are not read with the header


@contextlib.contextmanager
def open_dicom(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the DICOM file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage, with the values that are stored: neither rescaled nor inverted.

    Raises:
        InputError: the file is damaged, has no pixels, or is a slide of several tiles.
    """
    import pydicom
    from pydicom.pixels import pixel_array

    choose_scene(path, [""], request.scene)
    header = pydicom.dcmread(path, defer_size=DEFERRED_BYTES)
    if "Rows" not in header or "PixelData" not in header:
        raise InputError(f"{path}: has no supported pixels; replace or remove it")
    if int(header.get("TotalPixelMatrixColumns") or 0) > header.Columns:
        raise InputError(f"{path}: is a slide of tiles, which is not supported; convert it to a pyramidal TIFF")
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.SamplesPerPixel)
    plane = [int(header.Rows), int(header.Columns)] + ([samples] if samples > 1 else [])
    first = pixel_array(path, index=0)
    check_claimed_size(path, math.prod(plane) * frames * first.dtype.itemsize, path.stat().st_size)

    def read(place: tuple[int, ...]) -> NDArray[Any]:
        return np.asarray(pixel_array(path, index=place[0]))

    pixels = PlaneArray(path, [frames], plane, first.dtype, read)
    depth = _number(header.get("SpacingBetweenSlices"))
    interval = _number(header.get("FrameTime"))
    axis = "T" if interval else "Z" if depth else "?"
    calibration = _read_calibration(header, depth if axis == "Z" else None)
    calibration = calibration.complete_with(convert_interval(interval, "ms"))
    if samples > 1:
        calibration = replace(calibration, channels=list(COLORS[:samples]))
    yield make_image(path, f"{axis}YXS"[: 1 + len(plane)], pixels, pixels.shape, request, calibration)


def _read_calibration(header: Any, depth: float | None) -> Calibration:
    """Return the sizes, which the file states in millimeters, and notes about what is not applied."""
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or (None, None)
    calibration = convert_sizes([depth, *map(_number, spacing)], ["mm"] * 3)
    notes = []
    if header.PhotometricInterpretation == "MONOCHROME1":
        notes.append("declares that low values are white; its values are not inverted")
    if header.PhotometricInterpretation == "PALETTE COLOR":
        notes.append("has a palette, which is ignored; its indices are the pixels")
    slope, intercept = (_number(header.get(f"Rescale{name}")) for name in ("Slope", "Intercept"))
    if (slope or 1, intercept or 0) != (1, 0):
        notes.append(f"states that its values mean {slope or 1:g} x + {intercept or 0:g}; the stored values are used")
    return replace(calibration, warnings=(*calibration.warnings, *notes))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
