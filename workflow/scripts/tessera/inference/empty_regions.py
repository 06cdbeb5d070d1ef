"""Regions of an image without contrast, which prediction skips."""

import numpy as np

from tessera.data.normalization import normalize
from tessera.io.ome_zarr_store import open_array, read_block


class EmptyRegionFilter:
    """A cheap test of regions on the coarsest level of an image whose pixels are not larger than its cells.

    A region is empty when in no channel its brightest and its darkest pixel differ by more than `contrast`, a share of
    the channel's window.

    Args:
        path: store of the image.
        windows: of its channels, in the order of `order`.
        order: channels to look at.
        contrast: 0 finds nothing empty.
    """

    STEP = 4  # pixels of the full size along a side of a coarse one, at most

    def __init__(self, path, windows, order, contrast):
        self._windows, self._order, self._contrast = windows, order, contrast
        level = 0
        while 2 ** (level + 1) <= self.STEP and (path / str(level + 1)).is_dir():
            level += 1
        self._pixels, self._step = open_array(path, level), 2**level

    def __call__(self, t, z, rows, columns):
        """Whether the region, slices (y, x) of frame t and plane z, is empty."""
        if not self._contrast:
            return False
        spans = [slice(span.start // self._step, -(-span.stop // self._step)) for span in (rows, columns)]
        pixels = np.moveaxis(read_block(self._pixels, (t, slice(None), z, *spans)), 0, -1)[..., self._order]
        seen = normalize(pixels, self._windows)
        return bool((np.ptp(seen, axis=(0, 1)) <= self._contrast).all())
