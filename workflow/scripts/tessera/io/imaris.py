"""The image of an Imaris file (.ims), which is an HDF5 file."""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, convert_sizes
from tessera.io.chunk_reader import MAX_CHUNK_BYTES, ChunkReader
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import LazyImage, check_claimed_size
from tessera.io.plane_array import make_image

MAX_EXPANSION = 100_000
_LEVEL = "DataSet/ResolutionLevel 0"


def is_imaris(file: h5py.File) -> bool:
    """Return whether an HDF5 file is one of Imaris."""
    return f"{_LEVEL}/TimePoint 0/Channel 0/Data" in file and "DataSetInfo/Image" in file


def open_imaris(path: Path, file: h5py.File, request: FileRequest) -> LazyImage:
    """Return the full size of the image of an Imaris file.

    Args:
        path: the file, for messages.
        file: the opened file.
        request: what the table says about it.

    Raises:
        InputError: the file is damaged.
    """
    choose_scene(path, [""], request.scene)
    stated = file["DataSetInfo/Image"].attrs
    # The datasets are padded to whole chunks.
    sides = [int(_text(stated[axis])) for axis in "ZYX"]
    level = file[_LEVEL]
    frames = len([name for name in level if name.startswith("TimePoint ")])
    channels = len([name for name in level["TimePoint 0"] if name.startswith("Channel ")])
    pixels = _Channels(path, level, (frames, channels, *sides))
    ends = [(_text(stated.get(f"ExtMin{n}", "nan")), _text(stated.get(f"ExtMax{n}", "nan"))) for n in (2, 1, 0)]
    steps = [(float(high) - float(low)) / side for (low, high), side in zip(ends, sides, strict=True)]
    calibration = convert_sizes(steps, [_text(stated.get("Unit", "um"))] * 3)
    names = [_text(file[f"DataSetInfo/Channel {n}"].attrs.get("Name", "")) for n in range(channels)]
    calibration = calibration.complete_with(Calibration(channels=names))
    return make_image(path, "TCZYX", pixels, pixels.shape, request, calibration)


class _Channels:
    """The pixels (t, c, z, y, x) of the datasets, one for each frame and channel."""

    def __init__(self, path: Path, level: Any, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._readers: dict[tuple[int, int], Any] = {}
        types, stored = set(), 0
        for t, c in np.ndindex(*shape[:2]):
            name = f"TimePoint {t}/Channel {c}/Data"
            if name not in level:
                raise InputError(f"{path}: lacks {name}, so it is damaged; replace or remove it")
            dataset = level[name]
            if dataset.is_virtual or dataset.external:
                raise InputError(f"{path}: its pixels are in other files; save them in one file")
            small = any(there < side for there, side in zip(dataset.shape, shape[2:], strict=True))
            if small or math.prod(dataset.chunks or (1,)) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
                raise InputError(f"{path}: {name} is smaller than the image or has too large chunks; save it again")
            types.add(dataset.dtype)
            stored += dataset.id.get_storage_size()
            self._readers[t, c] = ChunkReader(dataset) if dataset.chunks else dataset
        if len(types) != 1:
            raise InputError(f"{path}: its channels differ in the type of their pixels; save them with one type")
        self.dtype: np.dtype[Any] = types.pop()
        check_claimed_size(path, math.prod(shape) * self.dtype.itemsize, stored, MAX_EXPANSION)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return pixels; the index has a whole number for t and z, and a number or a slice for the other axes."""
        asked = [
            at if isinstance(at, int) else range(*at.indices(side)) for at, side in zip(index, self.shape, strict=True)
        ]
        t, c, *within = asked
        inner = tuple(at if isinstance(at, int) else slice(at.start, at.stop) for at in within)
        if not isinstance(t, int):
            raise ValueError("an image is read frame by frame")
        if isinstance(c, int):
            return np.asarray(self._readers[t, c][inner])
        return np.stack([self._readers[t, number][inner] for number in c])


def _text(value: Any) -> str:
    """Return an attribute of Imaris, an array of single characters, as text."""
    if isinstance(value, np.ndarray):
        return b"".join(np.ravel(value).astype("S1")).decode("utf-8", "replace")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
