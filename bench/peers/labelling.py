"""Connected components of a mask, from Zarr to Zarr, with scipy, cc3d and dask-image."""

import shutil
import time
from pathlib import Path

import cc3d
import dask.array
import numpy as np
import zarr
from dask_image import ndmeasure
from scipy import ndimage
from tasks import CORES, answer

CHUNK_PX = 2048


def by_scipy(mask):
    return ndimage.label(mask[:])[0]


def by_cc3d(mask):
    return cc3d.connected_components(mask[:], connectivity=4)


def run(folder, library):
    """Label the foreground of `classes` below `folder`.

    Returns:
        {"seconds", "objects", "same": whether the partition is that of this pipeline's store `pieces/ids`}.
    """
    folder = Path(folder)
    made = folder / f"{library}.zarr"
    shutil.rmtree(made, ignore_errors=True)
    foreground = zarr.open_array(folder / "classes" / "cells.ome.zarr" / "0", mode="r")
    mask = _Mask(foreground)
    started = time.monotonic()
    if library == "dask-image":
        cells = dask.array.from_array(mask, chunks=(CHUNK_PX, CHUNK_PX))
        labels, count = ndmeasure.label(cells)
        labels = labels.astype(np.int32)
        with dask.config.set(scheduler="threads", num_workers=CORES):
            ids = zarr.create_array(made, shape=mask.shape, dtype="int32", chunks=(CHUNK_PX, CHUNK_PX))
            *_, count = dask.compute(dask.array.store(labels, ids, lock=False, compute=False), count)
    else:
        labels = {"scipy": by_scipy, "cc3d": by_cc3d}[library](mask)
        ids = zarr.create_array(made, shape=mask.shape, dtype="int32", chunks=(CHUNK_PX, CHUNK_PX))
        ids[:] = labels
        count = labels.max()
        del labels
    seconds = time.monotonic() - started
    return {"seconds": seconds, "objects": int(count), "same": _same(ids, folder)}


class _Mask:
    """The foreground as a lazy bool array (y, x)."""

    ndim, dtype = 2, np.dtype(bool)

    def __init__(self, probabilities):
        self._probabilities = probabilities
        self.shape = probabilities.shape[-2:]

    def __getitem__(self, region):
        region = region if isinstance(region, tuple) else (slice(None), slice(None))
        background, cell = self._probabilities[(0, slice(None), 0, *region)]
        return cell > background


def _same(ids, folder):
    """Whether two stores hold the same components under whatever ids."""
    ours = zarr.open_array(folder / "pieces" / "ids" / "0", mode="r")
    theirs = {}
    for row, column in np.ndindex(*(-(-size // CHUNK_PX) for size in ids.shape)):
        region = tuple(slice(start * CHUNK_PX, (start + 1) * CHUNK_PX) for start in (row, column))
        pairs = np.stack([ours[(0, 0, 0, *region)].ravel(), ids[region].ravel()])
        pairs = pairs[:, np.flatnonzero(np.any(np.diff(pairs, prepend=-1), axis=0))]
        for one, other in np.unique(pairs, axis=1).T.tolist():
            if theirs.setdefault(one, other) != other:
                return False
    return len(set(theirs.values())) == len(theirs)


if __name__ == "__main__":
    answer(run)
