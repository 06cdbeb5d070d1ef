"""Cache of finished regions of a store, so that a job that was stopped, or whose image was edited, repeats little.

A region consists of whole shards of an array. It is found by a hash of everything that it depends on: its pixels, the
models and the code. The cache holds hard links to the files of the shards, in `results/predictions/.{batch}.regions`.
They need no space as long as the store exists, and they remain when the store is removed and written again. Zarr
renames complete files into place, so a file under its final name is complete.
"""

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.types import StrPath

NO_FILE = "none"
logger = logging.getLogger(__name__)


class RegionCache:
    """The cached regions of one array. Several threads may use it.

    Args:
        folder: of the cache, in the same file system as the store.
        array: zarr array, whose regions are whole shards.
        provenance: text that identifies everything that the array depends on, except for pixels and file layout.
    """

    def __init__(self, folder: StrPath, array: Any, provenance: str) -> None:
        self._folder, self._array = Path(folder), array
        self._prefix = f"{provenance} {array.dtype.str} {array.chunks} {array.shards}"
        self._used: set[str] = set()
        self._can_link = True
        self._lock = threading.Lock()  # regions of the same pixels have the same key

    def key(self, arrays: Iterable[NDArray[Any]], place: str) -> str:
        """Hash the arrays that a region is computed from, the text `place` and the provenance."""
        state = hashlib.blake2b(f"{self._prefix} {place}".encode(), digest_size=16)
        for array in arrays:
            array = np.ascontiguousarray(array)
            state.update(f"{array.shape} {array.dtype.str}".encode())
            state.update(array.reshape(-1).view(np.uint8).data)
        return state.hexdigest()

    def get(self, key: str, region: Sequence[slice]) -> bool:
        """Put the shards of a region in place, and return whether the cache had them.

        Args:
            key: of the region.
            region: slices of the array.
        """
        with self._lock:
            self._used.add(key)
            return self._get(key, region)

    def _get(self, key: str, region: Sequence[slice]) -> bool:
        try:
            digests = (self._folder / key).read_text().split()
        except (FileNotFoundError, ValueError):
            return False
        files = self._files(region)
        cached = [self._folder / f"{key}.{number}" for number in range(len(files))]
        if digests != [_digest(path) for path in cached]:
            return False
        for path, file, digest in zip(cached, files, digests, strict=True):
            file.unlink(missing_ok=True)
            if digest != NO_FILE:
                file.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, file)
                except OSError:  # the results were copied to a file system without hard links
                    return False
        return True

    def put(self, key: str, region: Sequence[slice]) -> None:
        """Add the shards of a region that was just written, if the file system has hard links."""
        with self._lock:
            if self._can_link:
                try:
                    self._link(key, region)
                except OSError as error:
                    self._can_link = False
                    logger.info(
                        "%s: finished regions cannot be kept for another run (%s)", self._folder, error.strerror
                    )

    def _link(self, key: str, region: Sequence[slice]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        digests = []
        for number, file in enumerate(self._files(region)):
            digests.append(_digest(file))
            path = self._folder / f"{key}.{number}"
            path.unlink(missing_ok=True)
            if digests[-1] != NO_FILE:  # a shard of zeros has no file
                os.link(file, path)
        partial = self._folder / f"{key}.part"
        partial.write_text(" ".join(digests))
        partial.replace(self._folder / key)

    def prune(self) -> None:
        """Remove the regions that `get` was not called for since this object was created."""
        for path in self._folder.glob("*"):
            if path.name.partition(".")[0] not in self._used:
                path.unlink()

    def _files(self, region: Sequence[slice]) -> list[Path]:
        """Paths of the shards of a region, in the order of their channels."""
        steps = self._array.shards or self._array.chunks
        positions = [range(span.start // step, -(-span.stop // step)) for span, step in zip(region, steps, strict=True)]
        root = Path(self._array.store_path.store.root) / self._array.store_path.path
        names = np.stack(np.meshgrid(*positions, indexing="ij"), -1).reshape(-1, len(positions))
        return [root / self._array.metadata.encode_chunk_key(tuple(map(int, name))) for name in names]


def remove_orphans(folder: StrPath, names: Container[str]) -> None:
    """Remove the caches in `folder` whose names are not among `names`."""
    for path in Path(folder).glob("*"):
        if path.name not in names:
            shutil.rmtree(path)


def _digest(path: Path) -> str:
    """Hash the content of a file. Both links lead to the same bytes, so a damaged shard is damaged under both."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError:
        return NO_FILE
