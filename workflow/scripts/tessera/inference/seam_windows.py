"""Seams: where parts of a plane meet that were computed apart, and windows on them that are predicted once more as one.

The windows lie in the group `seams` of the image's prediction store: `probabilities` uint8 (n, outputs, y, x), 255 = 1,
and `origins` int64 (n, 4), the (t, z, y, x) of each window's first pixel.
"""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from tessera.common.constants import DIVISOR
from tessera.common.errors import InputError

GROUP = "seams"
LOOKS = 4  # places that are looked at for each window that is wanted
LITTLE = 0.01  # share of foreground on a seam below which there is nothing to part


def choose_seam_windows(probabilities, rows, columns, *, count, side_px, frames=None, roi=None):
    """Choose windows that have a seam in them, spread over the planes; those with objects on the seam come first.

    Only a bounded number of lines is read, however large the image is. The same arguments give the same windows. They
    begin on multiples of DIVISOR, as tiles do, where they are not as large as what was predicted.

    Args:
        probabilities: array uint8 (t, outputs, z, y, x), 255 = 1, output 0 is the background.
        rows, columns: pixels along y and x that are the first beyond a seam.
        count: at most so many windows.
        side_px: side of a window, less where the plane or the region of interest is smaller.
        frames: time points that were predicted; None: all.
        roi: (y0, y1, x0, x1) that was predicted; None: the whole plane.

    Returns:
        [(t, z, y, x), ...], sorted: the first pixel of each window. Windows lie within what was predicted and do not
        overlap; all are of the size that `seam_window_shape` gives.
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
    looks = -(-LOOKS * count // used)
    ranked = []
    for t, z in (planes[(2 * place + 1) * len(planes) // (2 * used)] for place in range(used)):
        drawn = _draw(origins, looks, np.random.default_rng([t, z]))
        bare = [_foreground(probabilities, t, z, origin, shape, seams) < LITTLE for origin in drawn]
        apart = []
        for empty, origin in sorted(zip(bare, drawn, strict=True), key=lambda candidate: candidate[0]):
            if all(_apart(origin, other, shape) for other in apart):
                ranked.append((empty, len(apart), t, z, *map(int, origin)))
                apart.append(origin)
    return sorted(tuple(place) for _, _, *place in sorted(ranked)[:count])


def seam_window_shape(plane, side_px, roi=None):
    """(y, x) of the windows of a plane (y, x), see `choose_seam_windows`."""
    y0, y1, x0, x1 = roi or (0, plane[0], 0, plane[1])
    return min(side_px, y1 - y0), min(side_px, x1 - x0)


def write_seam_windows(store, origins, answers):
    """Keep windows in a prediction store, which stays what it was besides; nothing is written where there is none.

    Args:
        store: path of the store.
        origins: [(t, z, y, x), ...].
        answers: for each, uint8 (outputs, y, x), 255 = 1, all of one shape.
    """
    if not len(origins):
        return
    answers = np.stack(answers)
    group = zarr.open_group(store, mode="r+").create_group(GROUP, overwrite=True)
    chunks = (1, *answers.shape[1:])
    array = group.create_array(
        "probabilities", shape=answers.shape, dtype=np.uint8, chunks=chunks, compressors=ZstdCodec(level=3)
    )
    array[...] = answers
    group.create_array("origins", data=np.array(origins, dtype=np.int64))
    # Zarr reads a file that was lost as zeros.
    group.attrs["digests"] = [_digest(*window) for window in zip(origins, answers, strict=True)]


def read_seam_windows(store):
    """Yield ((t, z, y, x), probabilities uint8 (outputs, y, x)) of each window of the store; none where none was kept.

    Raises:
        InputError: the windows are damaged.
    """
    path = Path(store) / GROUP
    if not path.is_dir():
        return
    try:
        group = zarr.open_group(path, mode="r")
        for origin, probabilities, digest in zip(
            group["origins"][:], group["probabilities"], group.attrs["digests"], strict=True
        ):
            if _digest(origin, probabilities) != digest:
                raise ValueError("a window is not what was written")
            yield tuple(map(int, origin)), probabilities
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: the windows on seams cannot be read ({error}); remove its batch's folder to have it made again"
        ) from error


def _origins(seams, shape, roi):
    """First pixels (n, 2) of windows centred on crossings of seams, and of windows centred on seams elsewhere."""
    spans = (roi[:2], roi[2:])
    between = [np.arange(low + side // 2, high, side) for side, (low, high) in zip(shape, spans, strict=True)]
    crossings = _grid(*seams)
    edges = np.concatenate([_grid(seams[0], between[1]), _grid(between[0], seams[1])])
    found = []
    for centres in (crossings, edges):
        origins = np.empty_like(centres)
        crossed = np.zeros(len(centres), dtype=bool)
        for axis, (side, (low, high)) in enumerate(zip(shape, spans, strict=True)):
            first, last = -(-low // DIVISOR) * DIVISOR, (high - side) // DIVISOR * DIVISOR
            # What is smaller than a window and a step has one place for it.
            lowest, highest = (first, last) if first <= last else (low, low)
            starts = (centres[:, axis] - side // 2) // DIVISOR * DIVISOR
            origins[:, axis] = starts.clip(lowest, highest)
            beyond = np.searchsorted(seams[axis], origins[:, axis] + side)
            crossed |= beyond > np.searchsorted(seams[axis], origins[:, axis], side="right")
        found.append(np.unique(origins[crossed], axis=0))
    return found


def _grid(rows, columns):
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def _within(places, start, side):
    """Those seams that have pixels of the window on both sides."""
    return places[(places > start) & (places < start + side)]


def _draw(origins, looks, rng):
    """Some of the origins, crossings and others in turn."""
    drawn = [rng.permutation(kind)[:looks] for kind in origins]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*drawn))
    return list(itertools.islice((origin for origin in turns if origin is not None), looks))


def _foreground(probabilities, t, z, origin, shape, seams):
    """Share of foreground on a seam of each direction within the window."""
    (y, x), (height, width) = map(int, origin), shape
    rows, columns = (_within(*each) for each in zip(seams, origin, shape, strict=True))
    lines = []
    if len(rows):
        lines.append(probabilities[t, 0, z, int(rows[len(rows) // 2]), x : x + width])
    if len(columns):
        lines.append(probabilities[t, 0, z, y : y + height, int(columns[len(columns) // 2])])
    return float(np.mean(np.concatenate(lines) < 128))


def _apart(one, other, shape):
    return any(abs(one - other) >= shape)


def _digest(origin, probabilities):
    state = hashlib.blake2b(np.asarray(origin, dtype="<i8").tobytes(), digest_size=16)
    state.update(np.ascontiguousarray(probabilities).tobytes())
    return state.hexdigest()
