"""Masks in the `_seg.npy` files of Cellpose: a dict in a pickle in a NumPy file, which is never unpickled."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import Shape5D
from tessera.io.annotation import Annotation
from tessera.io.lazy_image import LazyImage, as_input_error
from tessera.io.plain_pickle import read_array, read_plain_pickle

_MAGIC = b"\x93NUMPY"


def is_cellpose(path: Path) -> bool:
    """Return whether a file is a NumPy file of Python objects."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(256)
    return head.startswith(_MAGIC) and b"|O" in head


def open_cellpose(files: Sequence[Path], shape: Shape5D) -> Annotation:
    """Open `_seg.npy` files: one for the image, or one for each frame. One is in memory at a time.

    Args:
        files: the files, in the order of the frames.
        shape: (t, c, z, y, x) of the image.

    Raises:
        InputError: a file is damaged, holds anything but plain values, or does not fit the image.
    """
    frames, _, depth, height, width = shape
    if len(files) not in (1, frames):
        raise InputError(
            f"{files[0].parent}: has {len(files)} files of Cellpose, but its image has {frames} frames; give one for "
            "each frame"
        )
    expected = (1 if len(files) > 1 else frames, depth, height, width)
    current: dict[int, NDArray[Any]] = {}

    def load(number: int) -> NDArray[Any]:
        if number not in current:
            current.clear()
            masks = _read_masks(files[number])
            # A movie and a stack both have three axes in Cellpose.
            if masks.ndim > 4 or masks.shape[-2:] != (height, width) or masks.size != np.prod(expected):
                raise InputError(
                    f"{files[number]}: its masks have the shape {masks.shape}, but its image has {expected[0]} frames, "
                    f"{depth} planes, y {height}, x {width}; annotate the image at its full size"
                )
            current[number] = masks.reshape(expected)
        return current[number]

    load(0)

    def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        masks = load(t if len(files) > 1 else 0)
        return masks[0 if len(files) > 1 else t, z, rows, columns].astype(np.int64)[None]

    source = LazyImage((frames, 1, depth, height, width), np.dtype(np.int64), read, tiled=True)
    return Annotation(source, one_object_per_mask=True)


def _read_masks(path: Path) -> NDArray[Any]:
    with as_input_error(path), open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, _ = read_header(file)
        start = file.tell()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:  # a read is never larger than the file
            content.seek(start)
            try:
                value = read_plain_pickle(content)
                # NumPy pickles an array without dimensions as an array with a list of one element.
                if hasattr(value, "state") and shape == ():
                    value = value.state[4][0]
                if not isinstance(value, dict) or "masks" not in value:
                    raise ValueError("has no masks, so it is not a file of Cellpose")
                return read_array(value["masks"])
            except (ValueError, TypeError, IndexError, KeyError) as error:
                raise InputError(
                    f"{path}: cannot be read without running its code ({error}); save the masks of Cellpose as TIFF or "
                    "PNG"
                ) from None
