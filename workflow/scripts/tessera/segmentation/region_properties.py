"""Properties of objects: sums over the pixels of each object in a block, which add up over blocks.

The sums of all blocks together are those of the whole plane. `tessera.segmentation.object_table` computes centroids,
axes, perimeters and mean intensities from them. Sums are taken over runs of equal pixels
(`tessera.common.run_length`), of which there are far fewer than pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessera.common.run_length import encode_runs, first_values
from tessera.segmentation.blocks import Block

Sums: TypeAlias = dict[str, NDArray[Any]]
"""Properties by name, an array (objects, ...) each; see `measure_block`."""

SUMS = ("pixels", "y", "x", "yy", "xx", "yx", "z", "straight", "diagonal", "mixed", "confidence")
_BOX = ("y0", "x0", "z0", "y1", "x1", "z1")
_STRAIGHT, _DIAGONAL, _MIXED = 1, 2, 3


def measure_block(
    window: NDArray[np.integer],
    inner: tuple[slice, slice],
    confidence: NDArray[np.integer],
    pixels: Sequence[NDArray[Any]] | NDArray[Any],
    block: Block,
) -> Sums:
    """Sum over the pixels of every object in a block.

    Args:
        window: ids (y, x) of the block and a margin of two pixels, 0 beyond the plane and for background.
        inner: (rows, columns) of the block in `window`.
        confidence: (y, x) of the block, 255 = 1.
        pixels: (channels, y, x) of the block; pixels that are not finite do not count.
        block: the block.

    Returns:
        `label`, in rising order; the bounding box y0, x0, z0 to y1, x1, z1, half-open, in pixels of the image; SUMS:
        the number of pixels, sums of their coordinates and of products of coordinates relative to the box's corner, the
        number of border pixels by the kind of line through them, and the sum of the confidence; `value` and `finite`
        (objects, channels): sums of intensities and the number of finite ones.
    """
    ids = np.ascontiguousarray(window[inner])
    runs = encode_runs(ids)
    inside = runs.values > 0
    labels, objects = np.unique(runs.values[inside], return_inverse=True)
    count, n = len(labels), runs.lengths[inside].astype(np.float64)
    y, x = np.divmod(runs.starts[inside], ids.shape[1])
    y0, y1 = first_values(objects, y, count), first_values(objects[::-1], y[::-1], count) + 1
    x0, x1 = np.full(count, ids.shape[1]), np.zeros(count, np.int64)
    np.minimum.at(x0, objects, x)
    np.maximum.at(x1, objects, x + runs.lengths[inside])
    y, x = (y - y0[objects]).astype(np.float64), (x - x0[objects]).astype(np.float64)
    along = n * x + n * (n - 1) / 2
    # Sum of the squares of x, x + 1, ..., x + n - 1.
    squares = n * x**2 + x * n * (n - 1) + n * (n - 1) * (2 * n - 1) / 6

    def add(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(objects, values, minlength=count)

    def add_pixels(values: NDArray[Any], dtype: type[np.number[Any]]) -> NDArray[Any]:
        return add(np.add.reduceat(np.ascontiguousarray(values).ravel(), runs.starts, dtype=dtype)[inside])

    top, left = block.rows.start, block.columns.start
    sums: Sums = {"label": labels.astype(np.int64)}
    box = (top + y0, left + x0, np.full(count, block.z), top + y1, left + x1, np.full(count, block.z + 1))
    sums |= dict(zip(_BOX, box, strict=True))
    sums |= {"pixels": add(n), "y": add(n * y), "x": add(along), "yy": add(n * y**2), "xx": add(squares)}
    sums |= {"yx": add(y * along), "z": np.zeros(count)}
    numbers = np.zeros(len(inside), np.int32)
    numbers[inside] = objects
    kinds = _border_kinds(window, inner)
    border = np.flatnonzero(kinds)
    objects_of_border = np.repeat(numbers, runs.lengths)[border]
    lines = (
        np.bincount(4 * objects_of_border + kinds.ravel()[border], minlength=4 * count)
        .reshape(count, 4)
        .astype(np.float64)
    )
    sums |= {"straight": lines[:, _STRAIGHT], "diagonal": lines[:, _DIAGONAL], "mixed": lines[:, _MIXED]}
    sums["confidence"] = add_pixels(confidence, np.int64)
    value, finite = np.zeros((count, len(pixels))), np.zeros((count, len(pixels)))
    for channel, values in enumerate(pixels):
        finite[:, channel] = sums["pixels"]
        if values.dtype.kind == "f":
            is_finite = np.isfinite(values)
            finite[:, channel] = add_pixels(is_finite, np.int64)
            values = np.where(is_finite, values, 0)
        is_small = values.dtype.kind != "f" and values.dtype.itemsize < 8  # sums of larger types may exceed 64 bits
        value[:, channel] = add_pixels(values, np.int64 if is_small else np.float64)
    return sums | {"value": value, "finite": finite}


def merge_sums(parts: Sequence[Sums]) -> Sums:
    """Add up the sums of the parts of each object.

    Args:
        parts: at least one result of `measure_block` or of this function.

    Returns:
        As `measure_block`.
    """
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    labels, objects = np.unique(whole["label"], return_inverse=True)
    count = len(labels)
    if count == len(objects):
        return {name: values[np.argsort(objects)] for name, values in whole.items()}
    merged: Sums = {"label": labels}
    for name in _BOX:
        low = name.endswith("0")
        merged[name] = np.full(count, np.iinfo(np.int64).max if low else 0)
        (np.minimum if low else np.maximum).at(merged[name], objects, whole[name])
    n, y, x = whole["pixels"], whole["y"], whole["x"]
    dy, dx, dz = ((whole[name] - merged[name][objects]).astype(np.float64) for name in _BOX[:3])
    shifted = {
        "y": y + n * dy,
        "x": x + n * dx,
        "z": whole["z"] + n * dz,
        "yy": whole["yy"] + 2 * dy * y + n * dy**2,
        "xx": whole["xx"] + 2 * dx * x + n * dx**2,
        "yx": whole["yx"] + dy * x + dx * y + n * dy * dx,
    }
    for name in SUMS:
        merged[name] = np.bincount(objects, shifted.get(name, whole[name]), minlength=count)
    for name in ("value", "finite"):
        columns = [np.bincount(objects, values, minlength=count) for values in whole[name].T]
        merged[name] = np.stack(columns, axis=1) if columns else np.zeros((count, 0))
    return merged


def iter_finished(
    measured: Iterable[tuple[Block, Sums]], stitched: bool, plane_shape: Sequence[int]
) -> Iterator[tuple[int, Sums]]:
    """Yield the sums of objects as soon as no later block can add to them.

    An object that does not touch the border of its block is complete. Objects are connected: one that is not in a row
    of blocks is in none below it, and one that is not in a plane of a stack is in none above it.

    Args:
        measured: pairs (block, sums of `measure_block`), in the order of `tessera.segmentation.blocks.split_planes`.
        stitched: whether objects extend through the planes of a stack.
        plane_shape: (y, x), size of the plane in pixels.

    Yields:
        (t, sums in the rising order of labels).
    """
    # Objects of different units share nothing: units are frames of stacks, or planes. A stage is a plane of a stack, or
    # a row of blocks.
    for (t, *_), unit in groupby(measured, lambda pair: pair[0][: 1 if stitched else 2]):
        open_sums: Sums | None = None
        for _, stage in groupby(unit, lambda pair: pair[0][: 2 if stitched else 3]):
            parts = []
            for block, sums in stage:
                continues = np.full(len(sums["label"]), True) if stitched else _may_continue(sums, block, plane_shape)
                yield t, select_sums(sums, ~continues)
                parts.append(select_sums(sums, continues))
            stage_sums = merge_sums(parts)
            if open_sums is not None:
                still_open = np.isin(open_sums["label"], stage_sums["label"])
                yield t, select_sums(open_sums, ~still_open)
                stage_sums = merge_sums([select_sums(open_sums, still_open), stage_sums])
            open_sums = stage_sums
        if open_sums is not None:
            yield t, open_sums


def _may_continue(sums: Sums, block: Block, plane_shape: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each object may continue in another block of its plane: (objects,)."""
    continues = np.zeros(len(sums["label"]), bool)
    for axis, span, size in zip("yx", (block.rows, block.columns), plane_shape, strict=True):
        continues |= (sums[f"{axis}0"] == span.start) & (span.start > 0)
        continues |= (sums[f"{axis}1"] == span.stop) & (span.stop < size)
    return continues


def select_sums(sums: Sums, chosen: NDArray[np.bool_]) -> Sums:
    """The sums of the chosen objects, `chosen` (objects,)."""
    return {name: values[chosen] for name, values in sums.items()}


def _border_kinds(window: NDArray[np.integer], inner: tuple[slice, slice]) -> NDArray[np.uint8]:
    """Classify the border pixels of objects by the line through them and their neighbors on the border.

    A border pixel has another id beside it. The kinds and their lengths are those of Benkrid and Crookes 2000 (Design
    and FPGA Implementation of a Perimeter Estimator).

    Returns:
        (y, x) of the block, 0 for pixels that are not on a border.
    """
    ids = np.ascontiguousarray(window)
    around = ids[1:-1, 1:-1]
    border = (around != ids[:-2, 1:-1]) | (around != ids[2:, 1:-1])
    border |= (around != ids[1:-1, :-2]) | (around != ids[1:-1, 2:])
    border &= around > 0
    height, width = around.shape[0] - 2, around.shape[1] - 2
    core = around[1:-1, 1:-1]
    code = np.ones(core.shape, np.uint8)
    for row, column in np.ndindex(3, 3):
        if (row, column) == (1, 1):
            continue
        shifted = np.s_[row : row + height, column : column + width]
        same = border[shifted] & (around[shifted] == core)
        code += same.view(np.uint8) * np.uint8(2 if 1 in (row, column) else 10)
    kinds = np.zeros(256, np.uint8)
    kinds[[5, 7, 15, 17, 25, 27]] = _STRAIGHT
    kinds[[21, 33]] = _DIAGONAL
    kinds[[13, 23]] = _MIXED
    border_kinds: NDArray[np.uint8] = kinds[code] * border[1:-1, 1:-1]
    return border_kinds
