"""Predicts the tiles of one image with an ensemble. One thread at a time uses the network."""

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import SystemInputError
from tessera.inference.ensemble import Ensemble
from tessera.inference.network_view import NetworkView
from tessera.inference.tiling import Region, Tile, TilePlan, split_into_tiles
from tessera.io.ome_zarr_store import read_block

logger = logging.getLogger(__name__)


class TilePredictor:
    """Predicts regions of one image.

    Args:
        pixels: zarr array (t, c, z, y, x).
        ensemble: the networks.
        view: how the networks see the image.
        plan: size of the tiles. Cores become smaller when memory is exhausted.
    """

    def __init__(self, pixels: Any, ensemble: Ensemble, view: NetworkView, plan: TilePlan) -> None:
        self.plane = pixels.shape[-2:]
        self.plan = plan
        self._pixels, self._ensemble, self._view = pixels, ensemble, view
        self._lock = threading.Lock()
        self._known: tuple[Tile, NDArray[np.uint8]] | None = None

    @property
    def core_px(self) -> int:
        """Size of cores at present, in pixels of the network."""
        return self.plan.core_px

    @property
    def batch_px(self) -> int:
        """Largest number of pixels that the networks get at once, unless one tile has more."""
        return self._ensemble.batch_px

    def split(self, region: Region, core_px: int | None = None, halo_px: int = 0) -> list[Tile]:
        """Split a region into tiles.

        Args:
            region: slices (y, x).
            core_px: size of cores, if it is not the planned one.
            halo_px: smallest halo; the planned one if that is larger.
        """
        return split_into_tiles(
            region,
            self.plane,
            core_px=core_px or self.core_px,
            halo_px=max(self.plan.halo_px, halo_px),
            scale=self._view.scale,
        )

    def count(self, region: Region) -> tuple[int, int, float]:
        """Count the tiles of a region, the pixels that the network sees for it, and the pixels that are kept."""
        tiles = self.split(region)
        kept = math.prod((span.stop - span.start) * self._view.scale for span in region)
        return len(tiles), sum(math.prod(tile.shape) for tile in tiles), kept

    def shrink(self, error: MemoryError, core_px: int) -> None:
        """Halve the cores after memory was exhausted, unless another thread has already halved them.

        Args:
            error: the reason, for the message.
            core_px: size of the cores when memory was exhausted.

        Raises:
            SystemInputError: the cores cannot become smaller.
        """
        with self._lock:
            if self.core_px < core_px:
                return
            plan = replace(self.plan, core_px=core_px).halved()
            if plan is None:
                raise SystemInputError(
                    f"predict: not enough memory for the smallest tiles ({error}); give the job more memory, or train "
                    "a smaller network"
                )
            self.plan = plan
        logger.info("Not enough memory for a tile (%s); continuing with cores of %d px", error, self.core_px)

    def find_seams(self, steps: Sequence[int], roi: Sequence[int] | None = None) -> list[list[int]]:
        """Find the seams, where cores meet.

        Args:
            steps: (y, x), size of the regions that are split into tiles.
            roi: (y0, y1, x0, x1), the region of interest; None: the whole plane.

        Returns:
            The pixels along y, and along x, that are the first beyond a seam, sorted.
        """
        y0, y1, x0, x1 = roi or (0, self.plane[0], 0, self.plane[1])
        seams = []
        for axis, (low, high, step) in enumerate(zip((y0, x0), (y1, x1), steps, strict=True)):
            firsts: set[int] = set()
            for start in range(low // step * step, high, step):
                line = [slice(0, 1), slice(0, 1)]
                line[axis] = slice(max(start, low), min(start + step, high))
                firsts |= {tile.core[axis].start for tile in self.split((line[0], line[1]))}
            seams.append(sorted(firsts - {low}))
        return seams

    def read(self, t: int, z: int, tile: Tile) -> NDArray[Any]:
        """Read the image's pixels (y, x, c) that a tile needs, normalized."""
        return tile.read(lambda rows, columns: self._read_plane(t, z, rows, columns))

    def _read_plane(self, t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        pixels = read_block(self._pixels, (t, slice(None), z, rows, columns))
        return self._view.ranges.normalize(np.moveaxis(pixels, 0, -1)[..., self._view.order], t)

    def predict_tiles(self, tiles: Sequence[tuple[Tile, NDArray[Any]]]) -> list[NDArray[np.uint8]]:
        """Predict the cores of tiles.

        Args:
            tiles: pairs (tile, its pixels from `read`).

        Returns:
            Probabilities (outputs, y, x) of the core of each tile, 255 = 1.

        Raises:
            MemoryError: there is not enough memory for a single tile.
        """
        if self._known and [tile for tile, _ in tiles] == [self._known[0]]:
            return [self._known[1]]
        same_shape = defaultdict(list)
        for number, (tile, _) in enumerate(tiles):
            same_shape[tile.shape].append(number)
        cores: dict[int, NDArray[np.uint8]] = {}
        for shape, numbers in same_shape.items():
            # A region of large shards may have more tiles than fit in memory as input of the network.
            per_batch = max(1, self.batch_px // math.prod(shape))
            for first in range(0, len(numbers), per_batch):
                batch = numbers[first : first + per_batch]
                inputs = [self.prepare(*tiles[number]) for number in batch]
                with self._lock:
                    outputs = run_network(self._ensemble, inputs)
                for number, output in zip(batch, outputs, strict=True):
                    cores[number] = tiles[number][0].crop_core(output)
        return [cores[number] for number in range(len(tiles))]

    def prepare(self, tile: Tile, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the network's input (y, x, c) for a tile and its pixels from `read`."""
        return tile.to_network(pixels)

    @property
    def is_known(self) -> bool:
        """Whether `remember` was called."""
        return self._known is not None

    def remember(self, tile: Tile, output: NDArray[np.uint8]) -> None:
        """Keep the network's output (outputs, y, x) for the only tile of an image, for `predict_tiles`."""
        self._known = tile, tile.crop_core(output)


def run_network(ensemble: Ensemble, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Return the probabilities (n, outputs, y, x) of inputs (y, x, c) of one shape, 255 = 1."""
    batch = inputs[0][None] if len(inputs) == 1 else np.stack(inputs)
    return ensemble.predict(np.ascontiguousarray(batch))
