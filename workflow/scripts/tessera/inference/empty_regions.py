"""Regions of an image without contrast, which prediction skips."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tessera.data.normalization import IntensityRanges, expand
from tessera.io.ome_zarr_store import open_array, read_block


class EmptyRegionFilter:
    """A fast test for empty regions, on the coarsest pyramid level whose pixels are not larger than its cells.

    A region is empty if in no channel the brightest and the darkest pixel differ by more than `contrast`.

    Args:
        path: store of the image.
        ranges: intensities of the channels in `order` that become 0 and 1.
        order: channels to test.
        contrast: as a fraction of the range; 0: no region is empty.
    """

    MAX_STEP = 4  # largest size of a coarse pixel in pixels of the full resolution

    def __init__(self, path: Path, ranges: IntensityRanges, order: Sequence[int], contrast: float) -> None:
        self._ranges, self._order, self._contrast = ranges, order, contrast
        level = 0
        while 2 ** (level + 1) <= self.MAX_STEP and (path / str(level + 1)).is_dir():
            level += 1
        self._pixels, self._step = open_array(path, level), 2**level

    def is_empty(self, t: int, z: int, rows: slice, columns: slice) -> bool:
        """Return whether a region, slices (y, x) of frame t and plane z, is empty."""
        if not self._contrast:
            return False
        spans = [slice(span.start // self._step, -(-span.stop // self._step)) for span in (rows, columns)]
        pixels = np.moveaxis(read_block(self._pixels, (t, slice(None), z, *spans)), 0, -1)[..., self._order]
        normalized = self._ranges.normalize(pixels, t)
        if self._ranges.is_compressed:
            normalized = expand(normalized)
        return bool((np.ptp(normalized, axis=(0, 1)) <= self._contrast).all())
