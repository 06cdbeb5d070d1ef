"""Opens Nikon ND2 files as LazyImages. A position of the stage is a scene."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, average_interval, convert_sizes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import COLORS, LazyImage, check_claimed_size
from tessera.io.plane_array import PlaneArray, make_image

MAX_TIMES = 100  # frames whose times are read


@contextlib.contextmanager
def open_nd2(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open one position of the ND2 file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage.

    Raises:
        InputError: the file is damaged, lacks planes, or has several positions and none is chosen.
    """
    import nd2

    with nd2.ND2File(path) as file:
        sizes = dict(file.sizes)
        names = _name_positions(file, sizes.pop("P", 1))
        position = choose_scene(path, names, request.scene)
        frame_axes = "".join(axis for axis in ("C", "Y", "X", "S") if axis in sizes)
        if "S" in sizes and sizes.get("C", 1) == 1:
            frame_axes = frame_axes.replace("C", "")
        outer_axes = "".join(axis for axis in sizes if axis not in "CYXS")
        outer, plane = [sizes[axis] for axis in outer_axes], [sizes[axis] for axis in frame_axes]
        check_claimed_size(path, math.prod((*outer, *plane)) * file.dtype.itemsize, path.stat().st_size)
        numbers = _number_planes(path, file, outer_axes, position)

        def read(place: tuple[int, ...]) -> NDArray[Any]:
            pixels = np.asarray(file.read_frame(numbers[place]))
            return pixels.reshape(plane) if pixels.size == math.prod(plane) else pixels

        pixels = PlaneArray(path, outer, plane, file.dtype, read)
        calibration = _read_calibration(file, outer_axes, numbers)
        if "S" in frame_axes and "C" not in frame_axes:
            calibration = replace(calibration, channels=list(COLORS[: sizes["S"]]))
        yield make_image(path, outer_axes + frame_axes, pixels, pixels.shape, request, calibration)


def _name_positions(file: Any, count: int) -> list[str]:
    for loop in file.experiment:
        if loop.type == "XYPosLoop" and len(loop.parameters.points) == count:
            return [point.name or "" for point in loop.parameters.points]
    return [""] * count


def _number_planes(path: Path, file: Any, outer_axes: str, position: int) -> dict[tuple[int, ...], int]:
    """Return {place: number of the plane in the file} of one position.

    Raises:
        InputError: a plane is not in the file, such as of an acquisition that was stopped. The library would return 0.
    """
    numbers = {
        tuple(indices.get(axis, 0) for axis in outer_axes): number
        for number, indices in enumerate(file.loop_indices)
        if indices.get("P", 0) == position
    }
    # Old files (JPEG 2000) have no such list.
    offsets = getattr(file._rdr, "_frame_offsets", None)
    expected = math.prod(file.sizes[axis] for axis in outer_axes)
    if offsets is None:
        present = len(numbers)
    else:
        packed = file.attributes.compressionType is not None
        size = 1 if packed else math.prod(file._raw_frame_shape) * file.dtype.itemsize
        end = path.stat().st_size - size
        present = sum(offsets.get(number, end + 1) <= end for number in numbers.values())
    if present < expected:
        raise InputError(
            f"{path}: lacks {expected - present} of its {expected} planes; copy the file again, or save the existing "
            "planes as OME-TIFF"
        )
    return numbers


def _read_calibration(file: Any, outer_axes: str, numbers: dict[tuple[int, ...], int]) -> Calibration:
    voxel = file.voxel_size()
    depth = voxel.z if "Z" in outer_axes else None  # else a default
    calibration = convert_sizes((depth, voxel.y, voxel.x), ("um", "um", "um"))
    channels = [channel.channel.name for channel in (file.metadata.channels or [])]
    calibration = replace(calibration, channels=channels or None)
    if "T" not in outer_axes:
        return calibration
    place = outer_axes.index("T")
    first = {at[place]: number for at, number in numbers.items() if not any(at[:place] + at[place + 1 :])}
    step = max(1, len(first) // MAX_TIMES)
    times: dict[int, float] = {}
    for frame in [*range(0, len(first), step), len(first) - 1]:
        with contextlib.suppress(Exception):  # of any kind; times are not essential
            times[frame] = file.frame_metadata(first[frame]).channels[0].time.relativeTimeMs / 1000
    return calibration.complete_with(average_interval(times))
