"""Files of finished parts of an array: each part is appended, and those that were written completely can be read.

A part is a line "{key} {bytes} {digest}" and its compressed pixels. A process that is killed leaves an incomplete part
at the end of the file, which is removed before the next one is appended.
"""

import hashlib
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

CODEC = "lz4"


class Part(NamedTuple):
    """A part in a file.

    Attributes:
        path: the file.
        start: position of the compressed pixels in it.
        length: number of their bytes.
        digest: of these bytes.
    """

    path: Path
    start: int
    length: int
    digest: str


def append_part(path: Path, key: str, pixels: NDArray[Any], lock: threading.Lock) -> None:
    """Append a part to a file.

    Args:
        path: the file; it is created if it does not exist.
        key: name of the part, without blanks.
        pixels: its pixels.
        lock: held while the file is written.
    """
    content = pa.compress(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8), codec=CODEC, asbytes=True)
    with lock, path.open("ab") as file:
        file.write(f"{key} {len(content)} {_digest(content)}\n".encode() + content)


def find_parts(path: Path) -> dict[str, Part]:
    """Return {key: part} of a file, and remove what follows the last complete part."""
    parts = {}
    size = path.stat().st_size
    with path.open("r+b") as file:
        while True:
            first = file.tell()
            try:
                key, length, digest = file.readline().decode().split()
                part = Part(path, file.tell(), int(length), digest)
            except ValueError:  # also at the end of the file
                break
            if part.start + part.length > size:
                break
            parts[key] = part
            file.seek(part.start + part.length)
        file.truncate(first)
    return parts


def read_part(part: Part, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Return the pixels of a part, None if it is damaged or no longer there."""
    try:
        with part.path.open("rb") as file:
            file.seek(part.start)
            content = file.read(part.length)
        if _digest(content) != part.digest:
            return None
        size = math.prod(shape) * dtype.itemsize
        pixels = pa.decompress(content, decompressed_size=size, codec=CODEC, asbytes=True)
        return np.frombuffer(pixels, dtype).reshape(shape)
    except (OSError, ValueError):
        return None


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
