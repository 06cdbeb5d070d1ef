"""Finished shards of an array that outlast its store, and the regions in them.

A folder of cached shards holds:

- a hard link to each shard. Links need no space as long as the store exists, and they remain when the store is removed
  and written again. Zarr renames complete files into place, so a file under its final name is complete;
- `zarr.json`, which makes the links an array of their own, so that single regions can be read;
- `regions`: a line of JSON for each shard, with the keys and places of its regions and a digest of the file.
"""

import hashlib
import json
import logging
import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray

from tessera.io.shards import Span

INDEX = "regions"
METADATA = "zarr.json"
logger = logging.getLogger(__name__)


class CachedRegion(NamedTuple):
    """A region in a cached shard.

    Attributes:
        key: hash of everything that it depends on.
        shard: name of the shard.
        region: slices of the array.
    """

    key: str
    shard: str
    region: Span


class CachedShards:
    """The cached shards of an array of one shape and layout.

    Args:
        folder: the folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = _read_lines(folder / INDEX)
        self._intact: dict[str, bool] = {}
        self._can_link = True

    def regions(self) -> list[CachedRegion]:
        """Return the regions of all shards."""
        return [
            CachedRegion(key, shard, tuple(map(slice, starts, stops)))
            for shard, line in self._lines.items()
            for key, starts, stops in line["regions"]
        ]

    def is_intact(self, shard: str) -> bool:
        """Return whether a cached shard is what was added, and was not replaced since then."""
        if shard not in self._intact:
            self._intact[shard] = _digest(self.folder / shard) == self._lines[shard]["digest"]
        return self._intact[shard]

    def read(self, region: Span) -> NDArray[Any]:
        """Read pixels of the cached shards."""
        array: Any = zarr.open_array(self.folder, mode="r")
        return np.asarray(array[region])

    def describe(self, root: Path) -> None:
        """Create the folder for shards of the array at `root`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        metadata = json.loads((root / METADATA).read_text())
        metadata["chunk_key_encoding"] = {"name": "v2", "configuration": {"separator": "."}}
        self._replace(METADATA, json.dumps(metadata))

    def restore(self, shard: str, file: Path, regions: Sequence[tuple[str, Span]]) -> bool:
        """Put a shard in place if it consists of these regions, and return whether it is there.

        Args:
            shard: name of the shard, which is intact.
            file: path of the shard in the store.
            regions: (key, slices) of each.
        """
        if self._lines[shard]["regions"] != _as_lists(regions):
            return False
        try:
            file.unlink(missing_ok=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            if (self.folder / shard).exists():  # a shard of zeros has no file
                os.link(self.folder / shard, file)
            return True
        except OSError:  # the results were copied to a file system without hard links
            return False

    def add(self, shard: str, file: Path, regions: Sequence[tuple[str, Span]]) -> None:
        """Add a shard that was just written, if the file system has hard links.

        Args:
            shard: name of the shard.
            file: path of the shard in the store.
            regions: (key, slices) of each.
        """
        self._intact[shard] = False
        digest = _digest(file)
        cached, new = self.folder / shard, self.folder / f"{shard}.new"
        try:
            if digest is None:
                cached.unlink(missing_ok=True)
            elif self._can_link:
                new.unlink(missing_ok=True)
                os.link(file, new)
                new.replace(cached)
        except OSError as error:
            self._can_link = False
            logger.info("%s: finished regions cannot be kept for another run (%s)", self.folder, error.strerror)
        if self._can_link:
            self._lines[shard] = {"shard": shard, "digest": digest, "regions": _as_lists(regions)}
            with (self.folder / INDEX).open("a") as lines:
                lines.write(json.dumps(self._lines[shard]) + "\n")

    def prune(self, shards: Container[str]) -> None:
        """Remove all files except those of the given shards."""
        kept = {shard: line for shard, line in self._lines.items() if shard in shards}
        self._replace(INDEX, "".join(json.dumps(line) + "\n" for line in kept.values()))
        for path in self.folder.glob("*"):
            if path.name not in {*kept, INDEX, METADATA}:
                path.unlink()

    def _replace(self, name: str, text: str) -> None:
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.replace(self.folder / name)


def _as_lists(regions: Sequence[tuple[str, Span]]) -> list[Any]:
    """Regions as they are in JSON."""
    return sorted([key, [span.start for span in spans], [span.stop for span in spans]] for key, spans in regions)


def _read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each shard; lines that are incomplete do not count."""
    lines: dict[str, dict[str, Any]] = {}
    try:
        texts = path.read_text().splitlines()
    except (FileNotFoundError, ValueError):
        return {}
    for text in texts:
        try:
            line = json.loads(text)
            lines[line["shard"]] = line
        except (ValueError, KeyError, TypeError):  # the process was killed
            continue
    return lines


def _digest(path: Path) -> str | None:
    """Hash the content of a file, None if there is none: a shard of zeros has no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError:
        return None
