"""Writes the regions of a store as whole shards, and keeps them, so that a job repeats little after a stop or an edit.

A region is a part of one plane, with all channels. It is found by a hash of everything that it depends on: its pixels,
the models and the code. Shards are larger than regions, so that stores have few files. The cache of an image is a
folder in `results/predictions/.{batch}.regions`. It has a subfolder with the finished shards (`cached_shards`), and, of
each shard in progress, a file `{shard}.part` of its finished regions (`finished_parts`). Until the image is finished,
there may be another subfolder, from a run in which the image had another shape or layout.
"""

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.types import StrPath
from tessera.inference.cached_shards import CachedRegion, CachedShards
from tessera.inference.finished_parts import Part, append_part, find_parts, read_part
from tessera.io.shards import Span, iterate_shards, slices_within


@dataclass
class _Shard:
    """A shard in progress.

    Attributes:
        missing: number of its regions that are neither cached nor predicted yet.
        has_many: whether it has more than one region.
        regions: (key, slices) of its finished regions. Frames with the same pixels have the same key.
        kept: slices of the regions that the cached shard of the same name has in the same place.
        pixels: (slices, pixels) of the other finished regions.
    """

    missing: int
    has_many: bool
    regions: list[tuple[str, Span]] = field(default_factory=list)
    kept: list[Span] = field(default_factory=list)
    pixels: list[tuple[Span, NDArray[Any]]] = field(default_factory=list)


class RegionCache:
    """Writes the regions of one array. Several threads may use it.

    Memory holds the shards in progress, so regions should arrive in the order of the shards.

    Args:
        folder: of the cache, in the same file system as the store.
        array: zarr array (t, c, z, y, x) in a folder.
        provenance: text that identifies everything that the array depends on, except for pixels and file layout.
        background: value of each channel where there is no region.
    """

    def __init__(self, folder: StrPath, array: Any, provenance: str, background: Sequence[int]) -> None:
        self._array, self._background = array, np.asarray(background, array.dtype)
        self._prefix = f"{provenance} {array.dtype.str}"
        layout = f"{array.shape} {array.chunks} {array.shards} {array.metadata.codecs}"
        self._cached = CachedShards(Path(folder) / hashlib.blake2b(layout.encode(), digest_size=4).hexdigest())
        self._lock = threading.Lock()
        self._shards: dict[str, _Shard] = {}
        self._finished: set[str] = set()
        self._in_place = {(each.key, str(each.region)) for each in self._cached.regions()}
        self._elsewhere: dict[str, tuple[CachedShards, CachedRegion]] = {}
        self._parts: dict[str, Part] = {}
        others = [CachedShards(path) for path in sorted(Path(folder).glob("*/")) if path != self._cached.folder]
        for shards in (*others, self._cached):
            self._elsewhere |= {each.key: (shards, each) for each in shards.regions()}
            for path in sorted(shards.folder.glob("*.part")):
                self._parts |= find_parts(path)

    def key(self, arrays: Iterable[NDArray[Any]], place: str) -> str:
        """Hash the arrays that a region is computed from, the text `place` and the provenance."""
        state = hashlib.blake2b(f"{self._prefix} {place}".encode(), digest_size=16)
        for array in arrays:
            array = np.ascontiguousarray(array)
            state.update(f"{array.shape} {array.dtype.str}".encode())
            state.update(array.reshape(-1).view(np.uint8).data)
        return state.hexdigest()

    def plan(self, regions: Iterable[Span]) -> None:
        """Say which regions will come, before the first one. Shards that have none are written as background.

        Args:
            regions: slices (t, c, z, y, x), each within one shard and with all channels.
        """
        self._cached.describe(self._root())
        counts = Counter(map(self._name, regions))
        for shard in iterate_shards(self._array):
            name = self._name(shard)
            if name in counts:
                self._shards[name] = _Shard(counts[name], counts[name] > 1)
            else:
                for channel in map(int, np.flatnonzero(self._background)):
                    place = (shard[0], slice(channel, channel + 1), *shard[2:])
                    self._array[place] = self._background[channel]

    def get(self, key: str, region: Span) -> bool:
        """Return whether the cache has a region; then it is finished.

        Args:
            key: of the region.
            region: slices of the array.
        """
        pixels = None
        with self._lock:
            if (key, str(region)) not in self._in_place or not self._cached.is_intact(self._name(region)):
                pixels = self._read(key, region)
                if pixels is None:
                    return False
        self._add(key, region, pixels)
        return True

    def put(self, key: str, region: Span, pixels: NDArray[Any]) -> None:
        """Add a region that was just predicted.

        Args:
            key: of the region.
            region: slices of the array.
            pixels: (t, c, z, y, x) of the region.
        """
        name = self._name(region)
        if self._shards[name].has_many:
            append_part(self._part_file(name), key, pixels, self._lock)
        self._add(key, region, pixels)

    def prune(self) -> None:
        """Remove what this run did not use."""
        for path in self._cached.folder.parent.glob("*"):
            if path != self._cached.folder:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._cached.prune(self._finished)

    def _read(self, key: str, region: Span) -> NDArray[Any] | None:
        """Pixels of a region that is in another place or in an unfinished shard, None if it is not in the cache."""
        shape = [span.stop - span.start for span in region]
        if key in self._parts:
            return read_part(self._parts[key], shape, self._array.dtype)
        shards, cached = self._elsewhere.get(key, (None, None))
        if shards is None or cached is None or not shards.is_intact(cached.shard):
            return None
        pixels = shards.read(cached.region)
        return pixels if list(pixels.shape) == shape else None

    def _add(self, key: str, region: Span, pixels: NDArray[Any] | None) -> None:
        """Add a finished region to its shard; None: the cached shard has it in the same place."""
        name = self._name(region)
        with self._lock:
            shard = self._shards[name]
            shard.regions.append((key, region))
            if pixels is None:
                shard.kept.append(region)
            else:
                shard.pixels.append((region, pixels))
            shard.missing -= 1
            if shard.missing:
                return
            del self._shards[name]
            self._finished.add(name)
        self._finish(name, shard)

    def _finish(self, name: str, shard: _Shard) -> None:
        """Write a shard of which all regions are there, and put it into the cache."""
        file = self._root() / self._array.metadata.encode_chunk_key(tuple(map(int, name.split("."))))
        if shard.pixels or not self._cached.restore(name, file, shard.regions):
            whole = self._span(name)
            self._array[whole] = self._assemble(whole, shard)
            with self._lock:
                self._cached.add(name, file, shard.regions)
        self._part_file(name).unlink(missing_ok=True)

    def _assemble(self, whole: Span, shard: _Shard) -> NDArray[Any]:
        """Pixels (t, c, z, y, x) of a shard."""
        pixels = np.empty([span.stop - span.start for span in whole], self._array.dtype)
        pixels[...] = self._background[:, None, None, None]
        if shard.kept:
            kept = self._cached.read(whole)
            for region in shard.kept:
                place = slices_within(region, whole)
                pixels[place] = kept[place]
        for region, block in shard.pixels:
            pixels[slices_within(region, whole)] = block
        return pixels

    def _root(self) -> Path:
        return Path(self._array.store_path.store.root) / self._array.store_path.path

    def _part_file(self, name: str) -> Path:
        return self._cached.folder / f"{name}.part"

    def _name(self, region: Span) -> str:
        """Name of the shard that a region is in: its numbers along the axes."""
        return ".".join(str(span.start // step) for span, step in zip(region, self._array.shards, strict=True))

    def _span(self, name: str) -> Span:
        """Slices of a shard."""
        numbers = zip(map(int, name.split(".")), self._array.shards, self._array.shape, strict=True)
        return tuple(slice(number * step, min((number + 1) * step, size)) for number, step, size in numbers)


def remove_orphans(folder: StrPath, names: Container[str]) -> None:
    """Remove the caches in `folder` whose names are not among `names`."""
    for path in Path(folder).glob("*"):
        if path.name not in names:
            shutil.rmtree(path)
