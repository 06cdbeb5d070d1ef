"""Blocks: a plane cut into pieces that fit in memory, and work on them by threads, in order."""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

SECONDS_BETWEEN_REPORTS = 10


class Block(NamedTuple):
    """A region of one plane: its place in a grid of blocks, and its pixels."""

    t: int
    z: int
    row: int
    column: int
    rows: slice
    columns: slice

    @property
    def region(self):
        """Index of its pixels in an array (t, 1, z, y, x)."""
        return (self.t, 0, self.z, self.rows, self.columns)


def cut_planes(frames, depth, plane, side):
    """Blocks of `side` x `side` pixels, less at the ends, in the order t, z, y, x.

    Args:
        frames: the t of the planes.
        depth: planes of each frame.
        plane: (y, x) pixels of a plane.
        side: pixels of a block along y and x.

    Returns:
        [Block, ...].
    """
    rows, columns = ([slice(start, min(start + side, size)) for start in range(0, size, side)] for size in plane)
    return [
        Block(t, z, row, column, rows[row], columns[column])
        for t in frames
        for z in range(depth)
        for row, column in np.ndindex(len(rows), len(columns))
    ]


def part_shard(chunk_px, shard_px, most):
    """Side of the blocks that a shard is worked on in: whole chunks that part it evenly, within `most` pixels."""
    sides = range(chunk_px, shard_px + 1, chunk_px)
    return max(side for side in sides if shard_px % side == 0 and side <= max(most, chunk_px))


def gather(blocks, many):
    """Put `many` x `many` neighbouring blocks of a plane together.

    Args:
        blocks: of `cut_planes`.

    Returns:
        [(Block, the blocks in it), ...] in the order t, z, y, x.
    """
    parts = {}
    for block in blocks:
        parts.setdefault((block.t, block.z, block.row // many, block.column // many), []).append(block)
    return [
        (Block(*at, _span(part[0].rows, part[-1].rows), _span(part[0].columns, part[-1].columns)), part)
        for at, part in parts.items()
    ]


def _span(first, last):
    return slice(first.start, last.stop)


def within(block, whole):
    """Index (rows, columns) of the block in an array of what `whole`, a larger one, covers."""
    return tuple(
        slice(part.start - of.start, part.stop - of.start)
        for part, of in ((block.rows, whole.rows), (block.columns, whole.columns))
    )


def widen(block, by, plane):
    """The block with `by` more pixels on each side, as far as the plane (y, x) goes.

    Returns:
        (rows, columns) of the window; (rows, columns) of the block in it.
    """
    window, inner = [], []
    for span, size in zip((block.rows, block.columns), plane, strict=True):
        start = max(span.start - by, 0)
        window.append(slice(start, min(span.stop + by, size)))
        inner.append(slice(span.start - start, span.stop - start))
    return tuple(window), tuple(inner)


def work_through(work, items, workers, doing):
    """Yield work(item) of each item in their order; `workers` threads work, and no more than they have is in memory.

    What is being `doing`, such as "movie1: measuring", is said now and then with how far it is.
    """
    started = reported = time.monotonic()
    for done, result in enumerate(_results(work, items, workers), start=1):
        now = time.monotonic()
        if now - reported >= SECONDS_BETWEEN_REPORTS:
            reported, left = now, (now - started) * (len(items) - done) / done
            print(f"{doing}, {done}/{len(items)} blocks, {left:.0f} s left", flush=True)
        yield result


def _results(work, items, workers):
    if workers <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
