"""Seams, where tiles meet, and windows across them that are predicted again as one tile.

Rule `evaluate` segments the windows and compares the objects with the labels (`tessera.evaluation`). The windows are in
the group `seams` of the image's prediction store: `probabilities` uint8 (n, outputs, y, x), 255 = 1, and `origins`
int64 (n, 4), the (t, z, y, x) of each window's first pixel.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from tessera.common.constants import SIZE_DIVISOR
from tessera.common.errors import InputError
from tessera.common.types import StrPath

GROUP = "seams"
WINDOWS_PER_SHARD = 64
CANDIDATES_PER_WINDOW = 4
MIN_FOREGROUND = 0.01  # fraction of foreground on a seam below which there are no objects to cut


def choose_seam_windows(
    probabilities: Any,
    rows: Sequence[int],
    columns: Sequence[int],
    *,
    count: int,
    side_px: int,
    frames: Iterable[int] | None = None,
    roi: Sequence[int] | None = None,
) -> list[tuple[int, int, int, int]]:
    """Choose windows across seams, spread over the planes. Windows with objects on the seam come first.

    The number of lines that are read is bounded, whatever the size of the image. The same arguments give the same
    windows. Windows start on multiples of SIZE_DIVISOR, as tiles do, unless they are as large as the predicted region.

    Args:
        probabilities: array uint8 (t, outputs, z, y, x), 255 = 1; output 0 is the background.
        rows: pixels along y that are the first beyond a seam.
        columns: pixels along x that are the first beyond a seam.
        count: largest number of windows.
        side_px: size of a window along y and x, less if the plane or the region of interest is smaller.
        frames: time points that were predicted; None: all.
        roi: (y0, y1, x0, x1) that was predicted; None: the whole plane.

    Returns:
        (t, z, y, x) of the first pixel of each window, sorted. Windows lie inside the predicted region and do not
        overlap; all have the size of `seam_window_shape`.
    """
    total, _, depth, *plane = probabilities.shape
    roi = roi or (0, plane[0], 0, plane[1])
    shape = seam_window_shape(plane, side_px, roi)
    seams = [np.asarray(places, dtype=np.int64) for places in (rows, columns)]
    origins = _origins(seams, shape, roi)
    planes = list(itertools.product(range(total) if frames is None else frames, range(depth)))
    if not count or not planes or not any(len(kind) for kind in origins):
        return []
    used = min(count, len(planes))
    n_candidates = -(-CANDIDATES_PER_WINDOW * count // used)
    ranked = []
    for t, z in (planes[(2 * place + 1) * len(planes) // (2 * used)] for place in range(used)):
        drawn = _draw(origins, n_candidates, np.random.default_rng([t, z]))
        is_bare = [_foreground(probabilities, t, z, origin, shape, seams) < MIN_FOREGROUND for origin in drawn]
        chosen: list[NDArray[np.int64]] = []
        for bare, origin in sorted(zip(is_bare, drawn, strict=True), key=lambda candidate: candidate[0]):
            if all(_are_apart(origin, other, shape) for other in chosen):
                ranked.append((bare, len(chosen), t, z, *map(int, origin)))
                chosen.append(origin)
    return sorted((t, z, y, x) for _, _, t, z, y, x in sorted(ranked)[:count])


def seam_window_shape(plane: Sequence[int], side_px: int, roi: Sequence[int] | None = None) -> tuple[int, int]:
    """Return the size (y, x) of the windows of a plane (y, x), see `choose_seam_windows`."""
    y0, y1, x0, x1 = roi or (0, plane[0], 0, plane[1])
    return min(side_px, y1 - y0), min(side_px, x1 - x0)


def write_seam_windows(
    store: StrPath, origins: Sequence[tuple[int, int, int, int]], windows: Sequence[NDArray[np.uint8]]
) -> None:
    """Add windows to a prediction store; nothing is written if there are none.

    Args:
        store: path of the store.
        origins: (t, z, y, x) of each window.
        windows: probabilities (outputs, y, x) of each window, 255 = 1, all of one shape.
    """
    if not len(origins):
        return
    stacked = np.stack(windows)
    group = zarr.open_group(store, mode="r+").create_group(GROUP, overwrite=True)
    chunks = (1, *stacked.shape[1:])
    array = group.create_array(
        "probabilities",
        shape=stacked.shape,
        dtype=np.uint8,
        chunks=chunks,
        shards=(min(len(stacked), WINDOWS_PER_SHARD), *stacked.shape[1:]),
        compressors=ZstdCodec(level=3),
    )
    array[...] = stacked
    group.create_array("origins", data=np.array(origins, dtype=np.int64))
    # Zarr reads a missing file as zeros, so lost windows are only noticed by their digests.
    group.attrs["digests"] = [_digest(*window) for window in zip(origins, stacked, strict=True)]


def read_seam_windows(store: StrPath) -> Iterator[tuple[tuple[int, int, int, int], NDArray[np.uint8]]]:
    """Yield ((t, z, y, x), probabilities (outputs, y, x)) of each window of a prediction store.

    Raises:
        InputError: the windows are damaged.
    """
    path = Path(store) / GROUP
    if not path.is_dir():
        return
    try:
        group: Any = zarr.open_group(path, mode="r")
        for origin, probabilities, digest in zip(
            group["origins"][:], group["probabilities"], group.attrs["digests"], strict=True
        ):
            if _digest(origin, probabilities) != digest:
                raise ValueError("a window differs from what was written")
            t, z, y, x = map(int, origin)
            yield (t, z, y, x), probabilities
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: the windows on seams cannot be read ({error}); remove the folder of the batch and run again"
        ) from error


def _origins(seams: Sequence[NDArray[np.int64]], shape: tuple[int, int], roi: Sequence[int]) -> list[NDArray[np.int64]]:
    """First pixels (n, 2) of windows centered on crossings of seams, and of windows centered on seams elsewhere."""
    spans = (roi[:2], roi[2:])
    between = [np.arange(low + side // 2, high, side) for side, (low, high) in zip(shape, spans, strict=True)]
    crossings = _grid(*seams)
    edges = np.concatenate([_grid(seams[0], between[1]), _grid(between[0], seams[1])])
    kinds = []
    for centers in (crossings, edges):
        origins = np.empty_like(centers)
        crossed = np.zeros(len(centers), dtype=bool)
        for axis, (side, (low, high)) in enumerate(zip(shape, spans, strict=True)):
            first, last = -(-low // SIZE_DIVISOR) * SIZE_DIVISOR, (high - side) // SIZE_DIVISOR * SIZE_DIVISOR
            # A region smaller than a window and a step of the lattice has one position for it.
            lowest, highest = (first, last) if first <= last else (low, low)
            starts = (centers[:, axis] - side // 2) // SIZE_DIVISOR * SIZE_DIVISOR
            origins[:, axis] = starts.clip(lowest, highest)
            beyond = np.searchsorted(seams[axis], origins[:, axis] + side)
            crossed |= beyond > np.searchsorted(seams[axis], origins[:, axis], side="right")
        kinds.append(np.unique(origins[crossed], axis=0))
    return kinds


def _grid(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """All pairs (row, column): (n, 2)."""
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def _seams_inside(seams: NDArray[np.int64], start: int, side: int) -> NDArray[np.int64]:
    """The seams that have pixels of the window on both sides."""
    return seams[(seams > start) & (seams < start + side)]


def _draw(origins: Sequence[NDArray[np.int64]], count: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw at most `count` origins, crossings and others in turn."""
    drawn = [rng.permutation(kind)[:count] for kind in origins]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*drawn))
    return list(itertools.islice((origin for origin in turns if origin is not None), count))


def _foreground(
    probabilities: Any,
    t: int,
    z: int,
    origin: NDArray[np.int64],
    shape: tuple[int, int],
    seams: Sequence[NDArray[np.int64]],
) -> float:
    """Fraction of foreground on the middle seam of each direction in the window."""
    (y, x), (height, width) = map(int, origin), shape
    rows, columns = (_seams_inside(*each) for each in zip(seams, origin, shape, strict=True))
    lines = []
    if len(rows):
        lines.append(probabilities[t, 0, z, int(rows[len(rows) // 2]), x : x + width])
    if len(columns):
        lines.append(probabilities[t, 0, z, y : y + height, int(columns[len(columns) // 2])])
    return float(np.mean(np.concatenate(lines) < 128))


def _are_apart(origin: NDArray[np.int64], other: NDArray[np.int64], shape: tuple[int, int]) -> bool:
    """Whether two windows do not overlap."""
    return bool(np.any(abs(origin - other) >= shape))


def _digest(origin: Sequence[int], probabilities: NDArray[np.uint8]) -> str:
    state = hashlib.blake2b(np.asarray(origin, dtype="<i8").tobytes(), digest_size=16)
    state.update(np.ascontiguousarray(probabilities).tobytes())
    return state.hexdigest()
