"""Predictors: the tiles of one image, read, and answered by an ensemble of networks."""

import math
import threading
from collections import defaultdict

import numpy as np

from tessera.common.constants import DIVISOR
from tessera.common.errors import SystemInputError
from tessera.data.normalization import normalize
from tessera.inference.tiling import split_into_tiles
from tessera.io.ome_zarr_store import read_block

SMALLEST_CORE_PX = 128


class TilePredictor:
    """Answers regions of one image.

    Args:
        pixels: zarr.Array (t, c, z, y, x).
        ensemble: of `tessera.inference.ensemble`.
        order: which of the image's channels is each of the network's.
        windows: of these channels.
        scale: pixels of the network per pixel of the image.
        core_px, halo_px: see `tessera.inference.tiling.cut`.
    """

    def __init__(self, pixels, ensemble, *, order, windows, scale, core_px, halo_px):
        self.plane = pixels.shape[-2:]
        self._pixels, self._ensemble, self._order, self._windows = pixels, ensemble, order, windows
        self._scale, self.core_px, self._halo_px = scale, core_px, halo_px
        self._turn = threading.Lock()

    @property
    def batch_px(self):
        """Most pixels that the networks are given at once, where that is more than one tile."""
        return self._ensemble.batch_px

    def split(self, region, core_px=None, halo_px=0):
        """Tiles of a region, slices (y, x); `core_px` instead of the usual, and a halo of `halo_px` or more."""
        sides = {"core_px": core_px or self.core_px, "halo_px": max(self._halo_px, halo_px)}
        return split_into_tiles(region, self.plane, scale=self._scale, **sides)

    def count(self, region):
        """(tiles of a region, pixels that the network sees for it, pixels that it answers)."""
        tiles = self.split(region)
        answered = math.prod((span.stop - span.start) * self._scale for span in region)
        return len(tiles), sum(math.prod(tile.shape) for tile in tiles), answered

    def shrink(self, error, core_px):
        """Halve the cores, since memory did not suffice (`error`) for a tile of `core_px`, unless another thread has.

        Raises:
            SystemInputError: they cannot be smaller.
        """
        with self._turn:
            if self.core_px < core_px:
                return
            self.core_px = core_px // 2 // DIVISOR * DIVISOR
            if self.core_px < SMALLEST_CORE_PX:
                raise SystemInputError(
                    f"predict: memory does not suffice for the smallest of tiles ({error}); give the job more, or "
                    "train a smaller network"
                )
        print(f"Memory does not suffice for a tile ({error}); going on with cores of {self.core_px} px", flush=True)

    def find_seams(self, steps, roi=None):
        """Where cores meet: pixels along y, and along x, that are the first beyond a seam, sorted.

        Args:
            steps: (y, x), sides of the regions that are cut into tiles.
            roi: (y0, y1, x0, x1) that is looked at, or None.
        """
        roi = roi or (0, self.plane[0], 0, self.plane[1])
        found = []
        for axis, (low, high, step) in enumerate(zip(roi[::2], roi[1::2], steps, strict=True)):
            firsts = set()
            for start in range(low // step * step, high, step):
                region = [slice(0, 1), slice(0, 1)]
                region[axis] = slice(max(start, low), min(start + step, high))
                firsts |= {tile.core[axis].start for tile in self.split(tuple(region))}
            found.append(sorted(firsts - {low}))
        return found

    def read(self, t, z, tile):
        """The image's pixels (y, x, c) that a tile is made of, as they are stored."""

        def read(rows, columns):
            return np.moveaxis(read_block(self._pixels, (t, slice(None), z, rows, columns)), 0, -1)[..., self._order]

        return tile.read(read)

    def predict_tiles(self, pairs):
        """uint8 (outputs, y, x) of the core of each of `pairs` (tile, its pixels of `read`).

        Raises:
            MemoryError: it does not suffice for the smallest of tiles.
        """
        alike = defaultdict(list)
        for number, (tile, _) in enumerate(pairs):
            alike[tile.shape].append(number)
        answers = [None] * len(pairs)
        for shape, numbers in alike.items():
            # A region of large shards has more tiles than memory would hold as the network sees them.
            most = max(1, self.batch_px // math.prod(shape))
            for batch in (numbers[first : first + most] for first in range(0, len(numbers), most)):
                for number, answer in zip(batch, self._run_network([pairs[number] for number in batch]), strict=True):
                    answers[number] = pairs[number][0].crop_core(answer)
        return answers

    def _run_network(self, pairs):
        """What the networks answer to pairs of one shape: uint8 (n, outputs, y, x)."""
        seen = [tile.to_network(normalize(pixels, self._windows)) for tile, pixels in pairs]
        batch = seen[0][None] if len(seen) == 1 else np.stack(seen)
        with self._turn:
            return self._ensemble.predict(np.ascontiguousarray(batch))
