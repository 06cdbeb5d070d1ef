"""Arrays whose planes a function reads one at a time, as LazyImages need them."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration
from tessera.io.file_axes import MAX_DIMENSIONS, name_axes
from tessera.io.file_request import FileRequest
from tessera.io.lazy_image import ArrayLike, LazyImage, make_lazy_image

MAX_PLANE_BYTES = 2**31  # planes that a reader decodes at once


class PlaneArray:
    """An array that reads whole planes and keeps the last one.

    Args:
        path: the file, for messages.
        outer: sizes of the dimensions that number the planes.
        plane: shape of a plane.
        dtype: type of the pixels.
        read: returns the plane at a place, given a number for each outer dimension.

    Raises:
        InputError: there are no pixels, or planes are too large to be decoded at once.
    """

    def __init__(
        self,
        path: Path,
        outer: Sequence[int],
        plane: Sequence[int],
        dtype: DTypeLike,
        read: Callable[[tuple[int, ...]], NDArray[Any]],
    ) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape = (*outer, *plane)
        self._path = path
        self._outer = tuple(outer)
        self._plane = tuple(plane)
        if math.prod(self._plane) * self.dtype.itemsize > MAX_PLANE_BYTES:
            raise InputError(
                f"{path}: has planes of {math.prod(self._plane) * self.dtype.itemsize / 1e9:.1f} GB, which must be "
                "decoded at once; convert it to a tiled OME-TIFF"
            )
        self._read = lru_cache(maxsize=1)(read)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return pixels; the index has a whole number or a slice for each dimension."""
        outer, inner = index[: len(self._outer)], index[len(self._outer) :]
        numbers = [
            range(at, at + 1) if isinstance(at, int) else range(*at.indices(size))
            for at, size in zip(outer, self._outer, strict=True)
        ]
        planes = [self._read_plane(place)[inner] for place in itertools.product(*numbers)]
        kept = [len(span) for span, at in zip(numbers, outer, strict=True) if isinstance(at, slice)]
        if len(planes) == 1:
            return planes[0].reshape(*kept, *planes[0].shape)
        return np.stack(planes).reshape(*kept, *planes[0].shape)

    def _read_plane(self, place: tuple[int, ...]) -> NDArray[Any]:
        plane = self._read(place)
        if plane.shape != self._plane:
            raise InputError(
                f"{self._path}: a plane has the sizes {plane.shape} instead of {self._plane}, so the file is damaged; "
                "replace or remove it"
            )
        return plane


def make_image(
    path: Path,
    file_axes: str,
    pixels: ArrayLike,
    shape: Sequence[int],
    request: FileRequest,
    calibration: Calibration,
    *,
    tiled: bool = False,
) -> LazyImage:
    """Return the LazyImage of an array in a file.

    Args:
        path: the file, for messages.
        file_axes: axes that the file states, a letter for each dimension (see `tessera.io.file_axes`).
        pixels: the array.
        shape: its shape.
        request: what the table says about the file.
        calibration: sizes, times, names and warnings of the file.
        tiled: whether reading blocks of a plane is efficient.

    Raises:
        InputError: the axes are ambiguous, or stores do not support the type of the pixels.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise InputError(f"{path}: has {len(shape)} axes, at most {MAX_DIMENSIONS} are supported; save it with fewer")
    layout = name_axes(path, file_axes, shape, request.axes, request.like)
    image = make_lazy_image(path, layout, pixels, labels=request.labels, tiled=tiled)
    channels = calibration.channels
    named = channels and len(channels) == layout.size("c") and "" not in channels
    return replace(
        image,
        pixel_size_um=calibration.pixel_size_um,
        frame_interval_s=calibration.frame_interval_s if layout.size("t") > 1 else None,
        channels=channels if named else None,
        warnings=[] if request.labels else list(calibration.warnings),
    )
