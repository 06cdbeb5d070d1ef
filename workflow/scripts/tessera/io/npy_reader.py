"""Opens NumPy files (.npy) as LazyImages. Objects are never unpickled."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration
from tessera.io.file_axes import unknown_axes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import LazyImage
from tessera.io.packed_file import map_array
from tessera.io.plane_array import make_image


@contextlib.contextmanager
def open_npy(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the array in the file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it; an array of more than two dimensions needs axes.

    Yields:
        The LazyImage.

    Raises:
        InputError: the file is damaged, or its elements are Python objects.
    """
    choose_scene(path, [""], request.scene)
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
        offset = file.tell()
    if dtype.hasobject:
        raise InputError(
            f"{path}: holds Python objects, which may run any code; save the pixels as an array of numbers"
        )
    pixels = map_array(path, dtype, shape[::-1] if by_columns else shape, offset)
    pixels = pixels.T if by_columns else pixels
    yield make_image(path, unknown_axes(len(shape)), pixels, shape, request, Calibration())
