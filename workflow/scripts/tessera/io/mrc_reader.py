"""Opens MRC files of electron microscopes as LazyImages (https://www.ccpem.ac.uk/mrc_format)."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tessera.common.errors import InputError
from tessera.io.calibration import convert_sizes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import LazyImage
from tessera.io.packed_file import map_array
from tessera.io.plane_array import make_image

_HEADER_BYTES = 1024


@contextlib.contextmanager
def open_mrc(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the MRC file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage.

    Raises:
        InputError: the file is damaged, or holds a stack of volumes.
    """
    import mrcfile
    from mrcfile.utils import data_dtype_from_header, data_shape_from_header

    choose_scene(path, [""], request.scene)
    with mrcfile.open(path, header_only=True) as file:
        header = file.header
        shape = tuple(int(size) for size in data_shape_from_header(header))
        if len(shape) > 3:
            raise InputError(f"{path}: is a stack of volumes, which is not supported; save each as a file")
        offset = _HEADER_BYTES + int(header.nsymbt)
        pixels = map_array(path, data_dtype_from_header(header), shape, offset)
        voxel = file.voxel_size
        calibration = convert_sizes([float(voxel.z), float(voxel.y), float(voxel.x)], ["angstrom"] * 3)
        if len(shape) == 3 and shape[0] > 1 and int(header.ispg) == 0 and not request.axes:
            note = "is a stack of images; they are read as planes in depth (set the column axes if they are frames)"
            calibration = replace(calibration, warnings=(*calibration.warnings, note))
    yield make_image(path, "ZYX"[-len(shape) :], pixels, shape, request, calibration)
