"""Opens NIfTI files (.nii, .nii.gz) as LazyImages (https://nifti.nimh.nih.gov)."""

import contextlib
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.calibration import convert_interval, convert_sizes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import ArrayLike, LazyImage
from tessera.io.packed_file import map_array, unpack_beginning
from tessera.io.plane_array import make_image

_HEADER_BYTES = {348: "Nifti1Header", 540: "Nifti2Header"}
_AXES = "XYZTC"  # of the dimensions, fastest first


@contextlib.contextmanager
def open_nifti(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the NIfTI file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage. The orientation in space is not applied.

    Raises:
        InputError: the file is damaged, or has more than five dimensions.
    """
    import nibabel

    choose_scene(path, [""], request.scene)
    with open(path, "rb") as file:
        head = file.read(544)
    packed = head.startswith(b"\x1f\x8b")
    head = unpack_beginning(path, 544) if packed else head
    length = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    name = next((_HEADER_BYTES[each] for each in length if each in _HEADER_BYTES), None)
    if name is None:
        raise InputError(f"{path}: does not begin like a NIfTI file; replace or remove it")
    size = 348 if name == "Nifti1Header" else 540
    header = getattr(nibabel, name).from_fileobj(io.BytesIO(head[:size]))
    shape = tuple(int(side) for side in header.get_data_shape())
    if not 2 <= len(shape) <= len(_AXES):
        raise InputError(f"{path}: has {len(shape)} dimensions, but needs 2 to {len(_AXES)}; save it with fewer")
    offset = int(header.get_data_offset())
    dtype = header.get_data_dtype()
    if packed:
        whole = map_array(path, np.uint8, [offset + math.prod(shape) * dtype.itemsize], 0, "gzip")
        pixels: ArrayLike = whole[offset:].view(dtype).reshape(shape[::-1])
    else:
        pixels = map_array(path, dtype, shape[::-1], offset)
    zooms = dict(zip(_AXES, header.get_zooms(), strict=False))
    space, time = header.get_xyzt_units()
    calibration = convert_sizes([zooms.get(axis) for axis in "ZYX"], [space] * 3)
    calibration = calibration.complete_with(convert_interval(zooms.get("T"), time))
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept or 0) != (1, 0):
        pixels = _Scaled(pixels, float(slope), float(intercept or 0))
        note = f"states that its values are {slope:g} x + {intercept or 0:g}; this is applied"
        calibration = replace(calibration, warnings=(*calibration.warnings, note))
    yield make_image(path, _AXES[: len(shape)][::-1], pixels, shape[::-1], request, calibration)


class _Scaled:
    """An array whose values are scaled when they are read, as 32-bit floats."""

    def __init__(self, stored: ArrayLike, slope: float, intercept: float) -> None:
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self._stored = stored
        self._slope = slope
        self._intercept = intercept

    def __getitem__(self, index: Any) -> NDArray[Any]:
        values = np.asarray(self._stored[index], np.float64)
        return (values * self._slope + self._intercept).astype(np.float32)
