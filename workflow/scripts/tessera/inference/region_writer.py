"""Predicts and writes the regions of one image, in groups of as many as the network gets at once.

Several threads take the groups in order. A group for which the memory is too small is predicted with smaller tiles.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tessera.common.progress import Progress
from tessera.inference.region_cache import RegionCache
from tessera.inference.tile_predictor import TilePredictor
from tessera.inference.tiling import Region, Tile
from tessera.io.shards import Span

logger = logging.getLogger(__name__)


class PlaneRegion(NamedTuple):
    """A region of one plane that is predicted.

    Attributes:
        t: time point.
        z: plane of the stack.
        region: slices (y, x) of the plane.
        part: slices (y, x) of the part of it that is in the region of interest.
    """

    t: int
    z: int
    region: Region
    part: Region


class TileProgress:
    """Counts the tiles and pixels of one image. Several threads may use it.

    Attributes:
        overlap_cost: pixels that the network sees per pixel that is kept.
    """

    def __init__(self, name: str, tiles: TilePredictor, regions: Iterable[PlaneRegion]) -> None:
        counts = [tiles.count(region.part) for region in regions]
        self.overlap_cost = sum(seen for _, seen, _ in counts) / max(1, sum(kept for _, _, kept in counts))
        self._name = name
        self._progress = Progress(sum(n_tiles for n_tiles, _, _ in counts), "tiles", name)
        self._pixels = 0
        self._lock = threading.Lock()

    def add(self, tiles: Sequence[Tile]) -> None:
        """Count tiles as predicted."""
        with self._lock:
            self._pixels += sum(tile.shape[0] * tile.shape[1] for tile in tiles)
        self._progress.advance(len(tiles), detail=self._rate())

    def add_cached(self, tiles: Sequence[Tile]) -> None:
        """Count tiles as predicted by an earlier run."""
        self._progress.skip(len(tiles))

    def log_summary(self, n_skipped: int) -> None:
        """Log the work on the whole image; `n_skipped` regions were not predicted."""
        done, cached = self._progress.done, self._progress.skipped
        parts = [f"{done} tiles, {self._rate()}", f"overlap costs {self.overlap_cost:.2f} times the pixels"]
        parts += [f"{cached} tiles were predicted by an earlier run"] if cached else []
        parts += [f"{n_skipped} regions were not predicted"] if n_skipped else []
        logger.info("%s: %s", self._name, "; ".join(parts))

    def _rate(self) -> str:
        return f"{self._pixels / max(self._progress.elapsed_s, 1e-9) / 1e6:.2f} Mpx/s"


@dataclass(frozen=True)
class RegionWriter:
    """Predicts and writes regions of one image. Several threads may use it.

    Attributes:
        tiles: predicts the tiles.
        n_outputs: number of outputs of the networks.
        cache: writes finished regions to the store, and keeps them.
        progress: counts tiles.
    """

    tiles: TilePredictor
    n_outputs: int
    cache: RegionCache
    progress: TileProgress

    def write_all(self, groups: "RegionQueue") -> None:
        """Predict and write groups until there are none left."""
        with groups:
            for group in groups:
                self.write(group)

    def write(self, group: Sequence[PlaneRegion]) -> None:
        """Predict and write the regions of a group that are not in the cache."""
        while group:
            group = self._try_write(group)

    def _try_write(self, group: Sequence[PlaneRegion]) -> list[PlaneRegion]:
        """Write a group; return the regions that remain, for smaller tiles, if memory was exhausted."""
        remaining, pending, core_px = [], [], self.tiles.core_px
        for plane_region in group:
            t, z, region, part = plane_region
            tiles = self.tiles.split(part, core_px)
            pixels = [self.tiles.read(t, z, tile) for tile in tiles]
            place = place_of(plane_region, self.n_outputs)
            key = self.cache.key(pixels, f"{region} {part}")
            if self.cache.get(key, place):
                self.progress.add_cached(tiles)
            else:
                remaining.append(plane_region)
                pending.append((place, key, tiles, pixels))
        pairs = [pair for *_, tiles, pixels in pending for pair in zip(tiles, pixels, strict=True)]
        try:
            cores = iter(self.tiles.predict_tiles(pairs))
        except MemoryError as error:
            self.tiles.shrink(error, core_px)
            return remaining
        for place, key, tiles, _ in pending:
            rows, columns = place[-2:]
            shape = (self.n_outputs, rows.stop - rows.start, columns.stop - columns.start)
            block = np.zeros(shape, np.uint8)
            block[0] = 255
            for tile in tiles:
                block[:, *_slices_within(tile.core, (rows, columns))] = next(cores)
            self.cache.put(key, place, block[None, :, None])
            self.progress.add(tiles)
        return []


class RegionQueue:
    """Groups of regions that several threads take in order. A thread that fails takes the rest away.

    Args:
        groups: the groups.
    """

    def __init__(self, groups: Iterable[list[PlaneRegion]]) -> None:
        self._groups = iter(groups)
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with self._lock:
                self._groups = iter(())

    def __iter__(self) -> Iterator[list[PlaneRegion]]:
        while True:
            with self._lock:
                group = next(self._groups, None)
            if group is None:
                return
            yield group


def place_of(region: PlaneRegion, n_outputs: int) -> Span:
    """Slices (t, c, z, y, x) of a region of the probabilities."""
    t, z = region.t, region.z
    return (slice(t, t + 1), slice(0, n_outputs), slice(z, z + 1), *region.region)


def group_regions(regions: Iterable[PlaneRegion], tiles: TilePredictor) -> list[list[PlaneRegion]]:
    """Group regions into as many as the network gets at once."""
    groups: list[list[PlaneRegion]] = []
    pixels = 0
    for region in regions:
        _, seen, _ = tiles.count(region.part)
        if not groups or pixels + seen > tiles.batch_px:
            groups.append([])
            pixels = 0
        groups[-1].append(region)
        pixels += seen
    return groups


def _slices_within(part: Region, region: Region) -> Region:
    """Index (y, x) of a part of a region in an array of the region's pixels."""
    rows, columns = (
        slice(inner.start - outer.start, inner.stop - outer.start) for inner, outer in zip(part, region, strict=True)
    )
    return rows, columns
