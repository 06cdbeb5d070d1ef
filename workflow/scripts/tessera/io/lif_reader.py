"""Opens Leica LIF files as LazyImages. An image in the file is a scene."""

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
from tessera.io.lazy_image import COLORS, ArrayLike, LazyImage
from tessera.io.plane_array import PlaneArray, make_image

# liffile uses these letters for axes of wavelengths. Each wavelength has an image.
_WAVELENGTHS = {"λ": "emission", "Λ": "excitation"}
_DIMENSIONS = {"1": "x", "2": "y", "3": "z", "4": "t"}  # DimID in the metadata


@contextlib.contextmanager
def open_lif(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open one image of the LIF file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage. Wavelengths are channels if there are no others.

    Raises:
        InputError: the file is damaged, or has several images and none is chosen.
    """
    import liffile

    with liffile.LifFile(path) as file:
        images = list(file.images)
        image = images[choose_scene(path, [each.path for each in images], request.scene)]
        if image.is_flim:
            raise InputError(f"{path}: {image.path} has lifetimes, which are not supported; export its intensities")
        frames = image.frames
        outer_axes = [axis for axis in frames.dims if axis not in frames.frame_dims]
        outer = [image.sizes[axis] for axis in outer_axes]
        types = {channel.dtype for channel in image._channels}
        if len(types) > 1:
            raise InputError(f"{path}: the channels of {image.path} differ in bit depth; save them with one bit depth")
        _check_block(path, image)

        def read(place: tuple[int, ...]) -> NDArray[Any]:
            plane: NDArray[Any] = image.frame(**dict(zip(outer_axes, place, strict=True)))
            return plane

        axes = list(image.dims)
        pixels: ArrayLike
        if image._shape_stored is None:
            axes = [*outer_axes, *frames.frame_dims]
            pixels = PlaneArray(path, outer, frames.frame_shape, frames.dtype, read)
        else:  # rows of colors are padded, which the frames of liffile do not support
            pixels = _map_padded(path, image)
        if unusual := [axis for axis in axes if len(axis) > 1]:
            raise InputError(f"{path}: {image.path} has axes {unusual}, which are not supported; export it as OME-TIFF")
        calibration = _read_calibration(image, has_colors=image.sizes.get("S") == 3)
        shape = [image.sizes[axis] for axis in axes]
        waves = [axis for axis in axes if axis in _WAVELENGTHS]
        if len(waves) == 1 and not {"C", "S"} & set(axes):
            axes[axes.index(waves[0])] = "C"
            calibration = replace(
                calibration,
                channels=[f"{wave * 1e9:g} nm" for wave in image.coords[waves[0]]],
                warnings=(*calibration.warnings, f"has wavelengths of {_WAVELENGTHS[waves[0]]}; they are its channels"),
            )
        yield make_image(path, "".join(axes), pixels, shape, request, calibration)


def _map_padded(path: Path, image: Any) -> NDArray[Any]:
    stored = np.memmap(path, image.dtype, "r", image.memory_block.offset, image._shape_stored)
    pixels = stored[tuple(slice(size) for size in image.shape)]
    return pixels[..., ::-1] if image._is_bgr else pixels


def _check_block(path: Path, image: Any) -> None:
    """Check that the pixels that an image claims are in its part of the file."""
    block = image.memory_block
    if block.offset < 0 or block.offset + block.size > path.stat().st_size:
        raise InputError(f"{path}: is truncated, or the pixels of {image.path} are in another file; copy it again")
    inner = set(image.frames.frame_dims)
    last = sum((each.number_elements - 1) * each.bytes_inc for each in image._dimensions if each.label not in inner)
    if "S" not in inner:
        last += max((channel.bytes_inc for channel in image._channels), default=0)
    plane = math.prod(image.frames.frame_shape) * image.dtype.itemsize
    stored = math.prod(image._shape_stored or image.shape) * image.dtype.itemsize
    if stored > block.size:
        last, plane = 0, stored
    if last + plane > block.size:
        raise InputError(
            f"{path}: {image.path} claims {last + plane} bytes of pixels, but has {block.size}; replace or remove it"
        )


def _read_calibration(image: Any, has_colors: bool) -> Calibration:
    sizes: dict[str, Any] = {}
    units: dict[str, Any] = {}
    for element in image.xml_element.iterfind("./Data/Image/ImageDescription/Dimensions/DimensionDescription"):
        axis = _DIMENSIONS.get(element.get("DimID", ""))
        count = int(element.get("NumberOfElements", "1"))
        if axis and count > 1:
            sizes[axis] = float(element.get("Length", "nan")) / (count - 1)
            units[axis] = element.get("Unit")
    calibration = convert_sizes([sizes.get(axis) for axis in "zyx"], [units.get(axis) for axis in "zyx"])
    calibration = calibration.complete_with(convert_interval(sizes.get("t"), units.get("t")))
    names = [channel.lut_name for channel in image._channels]
    unique = len(set(names)) == len(names)
    return replace(calibration, channels=list(COLORS[:3]) if has_colors else names if unique else None)
