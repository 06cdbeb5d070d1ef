"""Arrays that a file holds as one run of bytes, plain or compressed as a whole."""

import bz2
import contextlib
import gzip
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tessera.common.errors import InputError
from tessera.io.lazy_image import check_claimed_size

_STEP_BYTES = 2**22
# Bytes that one byte can become: deflate by https://zlib.net/zlib_tech.html, bzip2 with runs of its largest block
_EXPANSIONS = {"gzip": 1032, "bz2": 100_000}


def map_array(path: Path, dtype: DTypeLike, shape: Sequence[int], offset: int, packing: str = "") -> NDArray[Any]:
    """Return an array that is read from the file when it is used.

    A compressed array is unpacked into a temporary file, since its parts could not be read in any order.

    Args:
        path: the file.
        dtype: type of the elements.
        shape: sizes of the dimensions, slowest first.
        offset: place of the first element in the file, or of the compressed data.
        packing: "", "gzip" or "bz2".

    Raises:
        InputError: the file is too short for the array.
    """
    dtype = np.dtype(dtype)
    if any(size < 1 for size in shape):
        raise InputError(f"{path}: has no pixels, its sizes are {tuple(shape)}; replace or remove it")
    claimed = math.prod(shape) * dtype.itemsize
    there = path.stat().st_size - offset
    if packing:
        check_claimed_size(path, claimed, max(there, 0), _EXPANSIONS[packing])
        with _unpack(path, offset, packing, claimed) as unpacked:
            # The mapping keeps the file, which has no name any more.
            return np.memmap(cast(Any, unpacked), dtype, "r", 0, tuple(shape))
    if offset < 0 or claimed > there:
        raise _too_short(path, claimed, max(there, 0))
    mapped: NDArray[Any] = np.memmap(path, dtype, "r", offset, tuple(shape))
    return mapped


def unpack_beginning(path: Path, count: int) -> bytes:
    """Return the first bytes of a file that is compressed by gzip."""
    with gzip.open(path) as file:
        return file.read(count)


def _unpack(path: Path, offset: int, packing: str, claimed: int) -> IO[bytes]:
    """Return a temporary file with the first `claimed` bytes of the compressed data."""
    there = 0
    with contextlib.ExitStack() as stack:
        unpacked: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        file = stack.enter_context(open(path, "rb"))
        file.seek(offset)
        stream = gzip.GzipFile(fileobj=file) if packing == "gzip" else bz2.BZ2File(file)
        try:
            while data := stream.read(min(claimed - there, _STEP_BYTES)):
                there += unpacked.write(data)
            stream.read(1)  # after the last byte comes a checksum
        except EOFError:
            raise _too_short(path, claimed, there) from None
        if there < claimed:
            raise _too_short(path, claimed, there)
        unpacked.flush()
        stack.pop_all()
    file.close()
    return unpacked


def _too_short(path: Path, claimed: int, there: int) -> InputError:
    return InputError(
        f"{path}: is truncated or damaged, it claims {claimed} bytes of pixels and has {there}; replace or remove it"
    )
