"""Opens datasets of HDF5 files as LazyImages: of ilastik, Imaris, or any other program. A dataset is a scene."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, convert_sizes
from tessera.io.chunk_reader import MAX_CHUNK_BYTES, ChunkReader
from tessera.io.file_axes import MAX_DIMENSIONS, unknown_axes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.imaris import is_imaris, open_imaris
from tessera.io.lazy_image import LazyImage, check_claimed_size
from tessera.io.plane_array import make_image

MAX_EXPANSION = 100_000  # chunks of labels are mostly background, and empty ones may be missing
MAX_OBJECTS = 100_000  # groups and datasets of a file


@contextlib.contextmanager
def open_hdf5(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open a dataset of the HDF5 file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it. Its scene is the path of the dataset.

    Yields:
        The LazyImage.

    Raises:
        InputError: the file is damaged, or has several datasets and none is chosen.
    """
    with h5py.File(path, "r") as file:
        if is_imaris(file):
            yield open_imaris(path, file, request)
            return
        names = list_datasets(path, file)
        wanted = f"/{request.scene}" if f"/{request.scene}" in names else request.scene
        dataset = file[names[choose_scene(path, names, wanted)]]
        check_dataset(path, dataset)
        pixels: Any = dataset
        if dataset.chunks:
            pixels = ChunkReader(dataset)
        yield make_image(path, _read_axes(dataset), pixels, dataset.shape, request, _read_calibration(dataset))


def list_datasets(path: Path, file: h5py.File) -> list[str]:
    """Return the paths of the datasets that may be images, in the order of their names. Links are not followed.

    Raises:
        InputError: the file has too many objects.
    """
    names: list[str] = []
    seen = 0

    def visit(name: str, each: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > MAX_OBJECTS:
            raise InputError(f"{path}: has more than {MAX_OBJECTS} datasets; save the image as a file of its own")
        is_array = isinstance(each, h5py.Dataset) and each.shape is not None and each.dtype.kind in "buif"
        if is_array and each.ndim <= MAX_DIMENSIONS and sum(side > 1 for side in each.shape) > 1:
            names.append(f"/{name}")

    file.visititems(visit)
    return names


def check_dataset(path: Path, dataset: h5py.Dataset) -> None:
    """Check that the pixels that a dataset claims can be in the file.

    Raises:
        InputError: they cannot, or they are in other files.
    """
    if dataset.is_virtual or dataset.external:
        raise InputError(f"{path}: the pixels of {dataset.name} are in other files; save them in one file")
    itemsize = dataset.dtype.itemsize
    if math.prod(dataset.chunks or (1,)) * itemsize > MAX_CHUNK_BYTES:
        raise InputError(f"{path}: has chunks of above {MAX_CHUNK_BYTES / 1e9:.0f} GB; save it with smaller chunks")
    stored = dataset.id.get_storage_size()
    check_claimed_size(path, math.prod(dataset.shape) * itemsize, stored, MAX_EXPANSION)
    if not stored:
        raise InputError(f"{path}: the pixels of {dataset.name} were never written; replace or remove it")


def _read_axes(dataset: h5py.Dataset) -> str:
    """Return the axes by vigra's tags (ilastik) or the labels of dimensions."""
    stated: list[str] = []
    if isinstance(tags := dataset.attrs.get("axistags"), str | bytes):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            stated = [str(axis["key"]) for axis in json.loads(tags)["axes"]]
    if len(stated) != dataset.ndim:
        stated = [dimension.label for dimension in dataset.dims]
    letters = "".join(name[:1].upper() if name[:1].upper() in "TCZYX" else "?" for name in stated if name)
    return letters if len(letters) == dataset.ndim else unknown_axes(dataset.ndim)


def _read_calibration(dataset: h5py.Dataset) -> Calibration:
    """Return the size of a voxel, which the plugin of Fiji for HDF5 and others write."""
    size = np.ravel(dataset.attrs.get("element_size_um", []))
    if len(size) != 3 or size.dtype.kind not in "if":
        return Calibration()
    return convert_sizes([float(side) for side in size], ["um"] * 3)
