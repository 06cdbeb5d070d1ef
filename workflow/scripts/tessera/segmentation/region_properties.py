"""Measurements: sums over the pixels of each object, block by block, that add up to what the whole plane gives."""

from itertools import groupby

import numpy as np

from tessera.common.run_length import encode_runs, first_values

SUMS = ("pixels", "y", "x", "yy", "xx", "yx", "z", "straight", "diagonal", "mixed", "certainty")
_BOX = ("y0", "x0", "z0", "y1", "x1", "z1")
_STRAIGHT, _DIAGONAL, _MIXED = 1, 2, 3


def measure_block(window, inner, certainty, pixels, block):
    """Sums over the pixels of every object in a block.

    Args:
        window: integers (y, x), ids of the block's pixels and of two around it, 0 beyond the plane; 0 is background.
        inner: (rows, columns) of the block in it.
        certainty: integers (y, x) of the block.
        pixels: (channels, y, x) of the block; those that are not finite do not count.
        block: the Block.

    Returns:
        {name: array (objects, ...)} with `label`, rising; the box y0, x0, z0 to y1, x1, z1, half-open, in pixels of the
        image; SUMS: of pixels, of their places and products of places from the box's corner on, of border pixels by
        kind of the line through them, of certainty; and `value` and `finite` (objects, channels), sums of the pixels'
        values and how many of them are finite.
    """
    ids = np.ascontiguousarray(window[inner])
    runs = encode_runs(ids)
    inside = runs.values > 0
    labels, of = np.unique(runs.values[inside], return_inverse=True)
    count, n = len(labels), runs.lengths[inside].astype(np.float64)
    y, x = np.divmod(runs.starts[inside], ids.shape[1])
    y0, y1 = first_values(of, y, count), first_values(of[::-1], y[::-1], count) + 1
    x0, x1 = np.full(count, ids.shape[1]), np.zeros(count, np.int64)
    np.minimum.at(x0, of, x)
    np.maximum.at(x1, of, x + runs.lengths[inside])
    y, x = (y - y0[of]).astype(np.float64), (x - x0[of]).astype(np.float64)
    along = n * x + n * (n - 1) / 2
    # Of the squares of x, x + 1, ..., x + n - 1.
    squares = n * x**2 + x * n * (n - 1) + n * (n - 1) * (2 * n - 1) / 6

    def add(values):
        return np.bincount(of, values, minlength=count)

    def add_pixels(values, dtype):
        return add(np.add.reduceat(np.ascontiguousarray(values).ravel(), runs.starts, dtype=dtype)[inside])

    top, left = block.rows.start, block.columns.start
    sums = {"label": labels.astype(np.int64)}
    box = (top + y0, left + x0, np.full(count, block.z), top + y1, left + x1, np.full(count, block.z + 1))
    sums |= dict(zip(_BOX, box, strict=True))
    sums |= {"pixels": add(n), "y": add(n * y), "x": add(along), "yy": add(n * y**2), "xx": add(squares)}
    sums |= {"yx": add(y * along), "z": np.zeros(count)}
    numbers = np.zeros(len(inside), np.int32)
    numbers[inside] = of
    kinds = _border_kinds(window, inner)
    at = np.flatnonzero(kinds)
    of_pixel = np.repeat(numbers, runs.lengths)[at]
    lines = np.bincount(4 * of_pixel + kinds.ravel()[at], minlength=4 * count).reshape(count, 4).astype(np.float64)
    sums |= {"straight": lines[:, _STRAIGHT], "diagonal": lines[:, _DIAGONAL], "mixed": lines[:, _MIXED]}
    sums["certainty"] = add_pixels(certainty, np.int64)
    value, finite = np.zeros((count, len(pixels))), np.zeros((count, len(pixels)))
    for channel, values in enumerate(pixels):
        finite[:, channel] = sums["pixels"]
        if values.dtype.kind == "f":
            known = np.isfinite(values)
            finite[:, channel] = add_pixels(known, np.int64)
            values = np.where(known, values, 0)
        is_small = values.dtype.kind != "f" and values.dtype.itemsize < 8  # sums of others go beyond 64 bits
        value[:, channel] = add_pixels(values, np.int64 if is_small else np.float64)
    return sums | {"value": value, "finite": finite}


def merge(parts):
    """Add up sums of `measure_block`: those of the same label become one.

    Args:
        parts: of `measure_block` or of this function; one at least.

    Returns:
        As `measure_block`.
    """
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    labels, of = np.unique(whole["label"], return_inverse=True)
    count = len(labels)
    if count == len(of):
        return {name: values[np.argsort(of)] for name, values in whole.items()}
    merged = {"label": labels}
    for name in _BOX:
        low = name.endswith("0")
        merged[name] = np.full(count, np.iinfo(np.int64).max if low else 0)
        (np.minimum if low else np.maximum).at(merged[name], of, whole[name])
    n, y, x = whole["pixels"], whole["y"], whole["x"]
    down, right, deep = ((whole[name] - merged[name][of]).astype(np.float64) for name in _BOX[:3])
    moved = {
        "y": y + n * down,
        "x": x + n * right,
        "z": whole["z"] + n * deep,
        "yy": whole["yy"] + 2 * down * y + n * down**2,
        "xx": whole["xx"] + 2 * right * x + n * right**2,
        "yx": whole["yx"] + down * x + right * y + n * down * right,
    }
    for name in SUMS:
        merged[name] = np.bincount(of, moved.get(name, whole[name]), minlength=count)
    for name in ("value", "finite"):
        columns = [np.bincount(of, values, minlength=count) for values in whole[name].T]
        merged[name] = np.stack(columns, axis=1) if columns else np.zeros((count, 0))
    return merged


def finish(measured, joined, plane):
    """Yield the sums of objects as soon as no later block can add to them.

    One that does not touch the border of its block is whole. Objects are connected. So one that is not in a row of
    blocks is in none below it; one of a stack that is not in a plane is in none above it.

    Args:
        measured: pairs (block, sums of `measure_block`), in the order of `tessera.segmentation.blocks.cut_planes`.
        joined: whether objects go through the planes of a stack.
        plane: (y, x) pixels of the plane.

    Yields:
        (t, sums by rising label).
    """
    for (t, *_), of_unit in groupby(measured, lambda pair: pair[0][: 1 if joined else 2]):
        waiting = None
        for _, of_stage in groupby(of_unit, lambda pair: pair[0][: 2 if joined else 3]):
            new = []
            for block, sums in of_stage:
                goes_on = np.full(len(sums["label"]), True) if joined else _goes_on(sums, block, plane)
                yield t, choose(sums, ~goes_on)
                new.append(choose(sums, goes_on))
            new = merge(new)
            if waiting is not None:
                alive = np.isin(waiting["label"], new["label"])
                yield t, choose(waiting, ~alive)
                new = merge([choose(waiting, alive), new])
            waiting = new
        yield t, waiting


def _goes_on(sums, block, plane):
    """Whether each object may go on in another block: bool (objects,)."""
    goes_on = np.zeros(len(sums["label"]), bool)
    for axis, span, size in zip("yx", (block.rows, block.columns), plane, strict=True):
        goes_on |= (sums[f"{axis}0"] == span.start) & (span.start > 0)
        goes_on |= (sums[f"{axis}1"] == span.stop) & (span.stop < size)
    return goes_on


def choose(sums, chosen):
    """The sums of the objects that are `chosen`, bool (objects,)."""
    return {name: values[chosen] for name, values in sums.items()}


def _border_kinds(window, inner):
    """Of each pixel of a block the kind of the line through it and its neighbours on the border of its object, or 0.

    Border pixels are those with another id beside them. Kinds and their lengths are of Benkrid and Crookes 2000 (Design
    and FPGA Implementation of a Perimeter Estimator): uint8 (y, x).
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
        there = np.s_[row : row + height, column : column + width]
        alike = border[there] & (around[there] == core)
        code += alike.view(np.uint8) * np.uint8(2 if 1 in (row, column) else 10)
    kinds = np.zeros(256, np.uint8)
    kinds[[5, 7, 15, 17, 25, 27]] = _STRAIGHT
    kinds[[21, 33]] = _DIAGONAL
    kinds[[13, 23]] = _MIXED
    return kinds[code] * border[1:-1, 1:-1]
