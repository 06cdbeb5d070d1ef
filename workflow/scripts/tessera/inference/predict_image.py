"""Probabilities of one image, written region by region to a store.

A region is one shard of each output. Regions are predicted in groups of as many as the network gets at once. Three
groups are in progress in dask's threads: one is read, one is in the network, one is written. Regions outside of the
region of interest and of the chosen frames, and empty ones, become background.
"""

import json
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
from numpy.typing import NDArray

from tessera.common.progress import Progress
from tessera.common.types import Roi, StrPath
from tessera.data.channels import match_channels
from tessera.data.domain_shift import find_domain_shift
from tessera.data.normalization import choose_intensity_ranges
from tessera.data.rescaling import choose_scale
from tessera.inference.diameter_estimation import estimate_diameter
from tessera.inference.empty_regions import EmptyRegionFilter
from tessera.inference.prediction_plan import PredictionPlan
from tessera.inference.region_cache import RegionCache
from tessera.inference.seam_windows import choose_seam_windows, seam_window_shape, write_seam_windows
from tessera.inference.tile_predictor import NetworkView, TilePredictor
from tessera.inference.tiling import Region, Tile
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_image, open_array, read_metadata
from tessera.io.pyramid import iterate_shards
from tessera.io.region_of_interest import check_roi, clip_to_roi, select_frames

GROUPS_IN_PROGRESS = 3
GROUPS_PER_DASK_GRAPH = 1024
SEAM_WINDOW_PX = 512
SEAM_HALO_PX = 256  # the reference for a seam must itself be right up to its border
UNLIMITED_CORE_PX = 2**31
logger = logging.getLogger(__name__)


class PlaneRegion(NamedTuple):
    """A region of one plane that is predicted.

    Attributes:
        t: time point.
        z: plane of the stack.
        region: slices (y, x) of a shard.
        part: slices (y, x) of the part of it that is in the region of interest.
    """

    t: int
    z: int
    region: Region
    part: Region


class ImagePredictor:
    """Predicts one image.

    Args:
        source: store of the image.
        name: of the image.
        plan: how the image is predicted.
        roi: (y0, y1, x0, x1), the region of interest; None: the whole image.
        frames: text of the column `frames`, see `tessera.io.region_of_interest.select_frames`.

    Raises:
        InputError: the image does not fit the model, or the table the image.
    """

    def __init__(
        self,
        source: Path,
        name: str,
        plan: PredictionPlan,
        roi: Roi | None = None,
        frames: str | None = None,
    ) -> None:
        self._source, self._name, self._plan, self._roi = source, name, plan, roi
        self._pixels, self._metadata = open_array(source), read_metadata(source)
        model = plan.ensemble.settings
        order = match_channels(name, self._metadata.channels, model["channels"])
        ranges = choose_intensity_ranges(self._metadata.contrast_limits, order, model)
        check_roi(name, roi, (self._pixels.shape[3], self._pixels.shape[4]))
        self._view = NetworkView(order, ranges)
        self._object_diameter_px = self._choose_scale(frames)
        warnings = find_domain_shift(
            source, model, rescale=plan.settings.rescale, object_diameter_px=self._object_diameter_px, roi=roi,
            frames=frames,
        )  # fmt: skip
        for warning in warnings:
            logger.info("%s", warning)
        self._frames = select_frames(name, frames, self._pixels.shape[0])
        self._tiles = TilePredictor(self._pixels, plan.ensemble, self._view, plan.tiles)

    def _choose_scale(self, frames: str | None) -> float | None:
        """Set the scale of the view, and return the diameter of the objects in pixels, None if it is not used."""
        settings, model = self._plan.settings, self._plan.ensemble.settings
        pixel_size_um = self._metadata.pixel_size_um
        is_auto = settings.object_diameter_px == "auto"
        diameter_px = None if settings.object_diameter_px == "auto" else settings.object_diameter_px

        def choose(diameter_px: float | None) -> float:
            return choose_scale(
                self._name, pixel_size_um, model, rescale=settings.rescale, object_diameter_px=diameter_px
            )

        self._view = replace(self._view, scale=choose(diameter_px))
        if is_auto and settings.rescale:
            diameter_px = estimate_diameter(self._source, self._plan.ensemble, self._view, roi=self._roi, frames=frames)
            scale = choose(diameter_px)
            self._view = replace(self._view, scale=scale)
            if diameter_px:
                logger.info(
                    "%s: objects are about %.3g px wide, so the image is magnified %.3g times",
                    self._name, diameter_px, scale,
                )  # fmt: skip
        return diameter_px

    def write(self, path: Path, cache_folder: StrPath) -> None:
        """Write the probabilities to a new store at `path`.

        Args:
            path: of the store.
            cache_folder: of the `RegionCache` of this image.

        Raises:
            InputError: the store of the image is damaged, or there is not enough memory.
        """
        plan, outputs = self._plan, self._plan.ensemble.settings["outputs"]
        shape = (self._pixels.shape[0], len(outputs), *self._pixels.shape[2:])
        predictions = create_store(path, shape, np.uint8, **chunk_layout(self._pixels))
        regions, n_skipped = self._list_regions(predictions)
        tiling = {"scale": self._view.scale, "core_px": plan.tiles.core_px, "halo_px": plan.tiles.halo_px}
        dependencies = [plan.provenance, self._view.ranges, self._view.order, outputs, tiling]
        cache = RegionCache(cache_folder, predictions, json.dumps(dependencies))
        progress = TileProgress(self._name, self._tiles, regions)
        writer = RegionWriter(self._tiles, predictions, cache, progress)
        groups = _group_regions(regions, self._tiles)
        workers = max(1, min(plan.workers or GROUPS_IN_PROGRESS, GROUPS_IN_PROGRESS))
        for first in range(0, len(groups), GROUPS_PER_DASK_GRAPH):
            some = groups[first : first + GROUPS_PER_DASK_GRAPH]
            tasks = [dask.delayed(writer.write, pure=False)(group) for group in some]
            dask.compute(*tasks, scheduler="threads", num_workers=workers)
        cache.prune()
        self._predict_seams(path, predictions)
        description = plan.description | {
            "rescale": plan.settings.rescale,
            "object_diameter_px": self._object_diameter_px,
            "scale": self._view.scale,
            "core_px": self._tiles.core_px,
            "overlap_cost": progress.overlap_cost,
            "regions_skipped": n_skipped,
        }
        finish_image(
            path,
            name=self._name,
            channels=outputs,
            levels=1,
            extra={"prediction": description},
            pixel_size_um=self._metadata.pixel_size_um,
            frame_interval_s=self._metadata.frame_interval_s,
            contrast_limits=[(0, 255)] * len(outputs),
        )
        progress.log_summary(n_skipped)

    def _list_regions(self, predictions: Any) -> tuple[list[PlaneRegion], int]:
        """List the regions to predict; write background to the others, and count these."""
        contrast = self._plan.settings.empty_contrast_threshold
        empty_filter = EmptyRegionFilter(self._source, self._view.ranges, self._view.order, contrast)
        regions, n_skipped, frames = [], 0, set(self._frames)
        for t, c, z, rows, columns in iterate_shards(predictions):
            if c.start == 0:
                part = clip_to_roi(self._roi, (rows, columns)) if t.start in frames else None
                if part is None or empty_filter.is_empty(t.start, z.start, *part):
                    predictions[t, 0, z, rows, columns] = 255
                    n_skipped += 1
                else:
                    regions.append(PlaneRegion(t.start, z.start, (rows, columns), part))
        return regions, n_skipped

    def _predict_seams(self, path: Path, predictions: Any) -> None:
        """Predict windows on seams again, each as one tile centered on the seam, and keep them in the store."""
        rows, columns = self._tiles.find_seams(predictions.shards[-2:], self._roi)
        origins = choose_seam_windows(
            predictions, rows, columns,
            count=self._plan.settings.seam_check_windows, side_px=SEAM_WINDOW_PX, frames=self._frames, roi=self._roi,
        )  # fmt: skip
        height, width = seam_window_shape(self._tiles.plane, SEAM_WINDOW_PX, self._roi)
        windows: list[NDArray[np.uint8]] = []
        for t, z, y, x in origins:
            region = slice(y, y + height), slice(x, x + width)
            (tile,) = self._tiles.split(region, core_px=UNLIMITED_CORE_PX, halo_px=SEAM_HALO_PX)
            try:
                windows += self._tiles.predict_tiles([(tile, self._tiles.read(t, z, tile))])
            except MemoryError as error:  # a window is one tile, which may be larger than those of the image
                logger.info("Not enough memory for a window on a seam (%s); seams are not checked", error)
                return
        write_seam_windows(path, origins, windows)


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
        predictions: zarr array uint8 (t, outputs, z, y, x).
        cache: finished regions.
        progress: counts tiles.
    """

    tiles: TilePredictor
    predictions: Any
    cache: RegionCache
    progress: TileProgress

    def write(self, group: Sequence[PlaneRegion]) -> None:
        """Predict and write the regions of a group that are not in the cache."""
        while not self._try_write(group):
            pass

    def _try_write(self, group: Sequence[PlaneRegion]) -> bool:
        """Write a group; return False, with smaller tiles for the next try, if memory was exhausted."""
        pending, core_px = [], self.tiles.core_px
        for t, z, region, part in group:
            tiles = self.tiles.split(part, core_px)
            pixels = [self.tiles.read(t, z, tile) for tile in tiles]
            place = (slice(t, t + 1), slice(0, self.predictions.shape[1]), slice(z, z + 1), *region)
            key = self.cache.key(pixels, f"{region} {part}")
            if self.cache.get(key, place):
                self.progress.add_cached(tiles)
            else:
                pending.append((place, key, tiles, pixels))
        pairs = [pair for *_, tiles, pixels in pending for pair in zip(tiles, pixels, strict=True)]
        try:
            cores = iter(self.tiles.predict_tiles(pairs))
        except MemoryError as error:
            self.tiles.shrink(error, core_px)
            return False
        for place, key, tiles, _ in pending:
            rows, columns = place[-2:]
            shape = (self.predictions.shape[1], rows.stop - rows.start, columns.stop - columns.start)
            block = np.zeros(shape, np.uint8)
            block[0] = 255
            for tile in tiles:
                block[:, *_slices_within(tile.core, (rows, columns))] = next(cores)
            self.predictions[place] = block[None, :, None]
            self.cache.put(key, place)
            self.progress.add(tiles)
        return True


def _group_regions(regions: Iterable[PlaneRegion], tiles: TilePredictor) -> list[list[PlaneRegion]]:
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
