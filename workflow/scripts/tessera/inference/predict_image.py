"""Probabilities of one image, written region by region to a store.

A region is a part of a plane, at most REGION_PX high and wide, in one shard with all outputs. Regions are predicted in
groups of as many as the network gets at once. Three groups are in progress in dask's threads: one is read, one is in
the network, one is written. The threads take the groups in the order of the shards, so that memory holds few shards.
Regions outside of the region of interest and of the chosen frames, and empty ones, become background.
"""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
from numpy.typing import NDArray

from tessera.common.types import Roi, StrPath
from tessera.inference.diameter_estimation import (
    DiameterEstimate,
    SampledImage,
    can_estimate,
    contradicts,
    estimate_diameter,
)
from tessera.inference.empty_regions import EmptyRegionFilter
from tessera.inference.network_view import view_image
from tessera.inference.prediction_plan import PredictionPlan
from tessera.inference.region_cache import RegionCache
from tessera.inference.region_writer import (
    PlaneRegion,
    RegionQueue,
    RegionWriter,
    TileProgress,
    group_regions,
    place_of,
)
from tessera.inference.seam_windows import choose_seam_windows, seam_window_shape, write_seam_windows
from tessera.inference.tile_predictor import TilePredictor
from tessera.inference.tiling import Tile
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_image, open_array, read_metadata
from tessera.io.region_of_interest import check_roi, clip_to_roi, select_frames
from tessera.io.shards import iterate_blocks, iterate_shards, largest_block_px

GROUPS_IN_PROGRESS = 3
REGION_PX = 2048
SEAM_WINDOW_PX = 512
SEAM_HALO_PX = 256  # the reference for a seam must itself be right up to its border
UNLIMITED_CORE_PX = 2**31
EVIDENCE_DIAMETERS = 20  # size of the part in which objects may contradict the scale, in their expected diameters
logger = logging.getLogger(__name__)


class OnlyTile(NamedTuple):
    """The only tile of a small image.

    Attributes:
        predictor: predicts the tiles of the image.
        tile: the tile.
        pixels: its pixels, as they are stored.
    """

    predictor: TilePredictor
    tile: Tile
    pixels: NDArray[Any]


class ImagePredictor:
    """Predicts one image.

    Args:
        source: store of the image.
        name: of the image.
        plan: how the image is predicted.
        roi: (y0, y1, x0, x1), the region of interest; None: the whole image.
        frames: text of the column `frames`, see `tessera.io.region_of_interest.select_frames`.
        common: estimate of the images of the same microscope, which is used unless the image contradicts it; None: the
            image is estimated alone.

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
        common: DiameterEstimate | None = None,
    ) -> None:
        self._source, self._name, self._plan, self._roi, self._frames_text = source, name, plan, roi, frames
        self._pixels, self._metadata = open_array(source), read_metadata(source)
        check_roi(name, roi, (self._pixels.shape[3], self._pixels.shape[4]))
        self._frames = select_frames(name, frames, self._pixels.shape[0])
        settings = plan.settings
        self._is_auto = settings.rescale and settings.object_diameter_px == "auto"
        given_px = None if settings.object_diameter_px == "auto" else settings.object_diameter_px
        self._use_diameter(DiameterEstimate(given_px))
        self._usual_scale = self._view.scale
        self._may_differ = self._is_auto and common is not None and can_estimate(plan.ensemble.settings)
        if self._is_auto:
            self._use_diameter(self._estimate_alone() if common is None else common)

    def _use_diameter(self, estimate: DiameterEstimate) -> None:
        """Set how the network sees the image. Unknown diameters leave the scale to the pixel size."""
        model, settings = self._plan.ensemble.settings, self._plan.settings
        self._estimate = estimate
        self._view = view_image(
            self._source, self._name, model, rescale=settings.rescale, object_diameter_px=estimate.diameter_px
        )
        self._tiles = TilePredictor(self._pixels, self._plan.ensemble, self._view, self._plan.tiles)

    def _estimate_alone(self) -> DiameterEstimate:
        view = replace(self._view, scale=self._usual_scale)
        sampled = SampledImage(self._source, view, self._roi, self._frames_text)
        return estimate_diameter([sampled], self._plan.ensemble)

    @property
    def only_tile(self) -> OnlyTile | None:
        """The tile of a small image that is one tile; None if there are more, or if its region is empty."""
        times, _, depth, *plane = self._pixels.shape
        layout = chunk_layout(self._pixels)
        part = clip_to_roi(self._roi, (slice(0, plane[0]), slice(0, plane[1])))
        if (times, depth) != (1, 1) or max(plane) > min(layout["shard_px"], REGION_PX) or part is None:
            return None
        tiles = self._tiles.split(part)
        if len(tiles) > 1 or self._empty_filter().is_empty(0, 0, *part):
            return None
        return OnlyTile(self._tiles, tiles[0], self._tiles.read(0, 0, tiles[0]))

    def write(self, path: Path, cache_folder: StrPath) -> None:
        """Write the probabilities to a new store at `path`.

        Args:
            path: of the store.
            cache_folder: of the `RegionCache` of this image.

        Raises:
            InputError: the store of the image is damaged, or there is not enough memory.
        """
        if self._estimate.diameter_px and self._is_auto:
            logger.info(
                "%s: objects are about %.3g px wide, so the image is magnified %.3g times",
                self._name, self._estimate.diameter_px, self._view.scale,
            )  # fmt: skip
        predictions = self._predict(path, cache_folder)
        if self._may_differ and self._is_contradicted(predictions):
            self._may_differ = False
            common_px, alone = self._expected_px, self._estimate_alone()
            if alone.diameter_px and alone != self._estimate:
                logger.info(
                    "%s: its objects contradict the %.3g px of the images that belong to it; it is predicted again",
                    self._name, common_px,
                )  # fmt: skip
                self._use_diameter(alone)
                self.write(path, cache_folder)

    @property
    def _expected_px(self) -> float:
        """Diameter in pixels of the image of objects that the network expects."""
        diameter_px: float = self._plan.ensemble.settings["diameter_px"]
        return diameter_px / self._view.scale

    def _is_contradicted(self, predictions: Any) -> bool:
        """Return whether the objects in a part of the middle plane are strong evidence against the scale."""
        frame, depth = self._frames[len(self._frames) // 2], self._pixels.shape[2] // 2
        y0, y1, x0, x1 = self._roi or (0, self._tiles.plane[0], 0, self._tiles.plane[1])
        side = math.ceil(EVIDENCE_DIAMETERS * self._expected_px)
        rows, columns = (
            slice(max(low, (low + high - side) // 2), min(high, (low + high + side) // 2))
            for low, high in ((y0, y1), (x0, x1))
        )
        return contradicts(predictions[frame, :, depth, rows, columns], self._expected_px)

    def _predict(self, path: Path, cache_folder: StrPath) -> Any:
        """Predict the image at the present scale, and return the zarr array of probabilities."""
        plan, outputs = self._plan, self._plan.ensemble.settings["outputs"]
        shape = (self._pixels.shape[0], len(outputs), *self._pixels.shape[2:])
        predictions = create_store(path, shape, np.uint8, **chunk_layout(self._pixels))
        regions, n_skipped = self._list_regions(predictions)
        tiling = {"scale": self._view.scale, "core_px": plan.tiles.core_px, "halo_px": plan.tiles.halo_px}
        dependencies = [plan.provenance, self._view.order, outputs, tiling]
        background = [255] + [0] * (len(outputs) - 1)
        cache = RegionCache(cache_folder, predictions, json.dumps(dependencies), background)
        cache.plan(place_of(region, len(outputs)) for region in regions)
        progress = TileProgress(self._name, self._tiles, regions)
        writer = RegionWriter(self._tiles, len(outputs), cache, progress)
        groups = group_regions(regions, self._tiles)
        workers = max(1, min(plan.workers or GROUPS_IN_PROGRESS, GROUPS_IN_PROGRESS, len(groups)))
        queue = RegionQueue(groups)
        if workers == 1:
            writer.write_all(queue)
        else:
            tasks = [dask.delayed(writer.write_all, pure=False)(queue) for _ in range(workers)]
            dask.compute(*tasks, scheduler="threads", num_workers=workers)
        cache.prune()
        self._predict_seams(path, predictions)
        description = plan.description | {
            "rescale": plan.settings.rescale,
            "object_diameter_px": self._estimate.diameter_px,
            "other_diameter_px": self._estimate.other_px,
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
        return predictions

    def _empty_filter(self) -> EmptyRegionFilter:
        contrast = self._plan.settings.empty_contrast_threshold
        return EmptyRegionFilter(self._source, self._view.ranges, self._view.order, contrast)

    def _list_regions(self, predictions: Any) -> tuple[list[PlaneRegion], int]:
        """List the regions to predict in the order of the shards, and count the others."""
        empty_filter = self._empty_filter()
        regions, n_skipped, frames = [], 0, set(self._frames)
        for shard in iterate_shards(predictions):
            for t, _, z, rows, columns in iterate_blocks(predictions, shard, REGION_PX):
                part = clip_to_roi(self._roi, (rows, columns)) if t.start in frames else None
                if part is None or empty_filter.is_empty(t.start, z.start, *part):
                    n_skipped += 1
                else:
                    regions.append(PlaneRegion(t.start, z.start, (rows, columns), part))
        return regions, n_skipped

    def _predict_seams(self, path: Path, predictions: Any) -> None:
        """Predict windows on seams again, each as one tile centered on the seam, and keep them in the store."""
        region_px = largest_block_px(predictions, REGION_PX)
        rows, columns = self._tiles.find_seams((region_px, region_px), self._roi)
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
