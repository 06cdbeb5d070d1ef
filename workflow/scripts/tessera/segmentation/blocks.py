"""Blocks: rectangles of a plane that fit in memory, and threads that work on them in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from tessera.common.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")


class Block(NamedTuple):
    """A rectangle of one plane.

    Attributes:
        t: time point.
        z: plane of the stack.
        row: number of the block along y.
        column: number of the block along x.
        rows: pixels along y.
        columns: pixels along x.
    """

    t: int
    z: int
    row: int
    column: int
    rows: slice
    columns: slice

    @property
    def region(self) -> tuple[int, int, int, slice, slice]:
        """Index of the block's pixels in an array (t, 1, z, y, x)."""
        return (self.t, 0, self.z, self.rows, self.columns)

    @property
    def slices(self) -> tuple[slice, ...]:
        """As `region`, but all axes are slices."""
        return (slice(self.t, self.t + 1), slice(0, 1), slice(self.z, self.z + 1), self.rows, self.columns)

    @property
    def position(self) -> tuple[int, int, int, int]:
        """(t, z, row, column): the key of the block in `Components.ids` and `ObjectMap.ids`."""
        return (self.t, self.z, self.row, self.column)

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) in pixels."""
        return (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)


@dataclass(frozen=True)
class BlockInPlane:
    """A block, and the place of its plane among all planes of the image.

    Attributes:
        block: the block.
        plane_shape: (y, x), size of the plane in pixels.
        plane_index: number of the plane, counted over frames and stacks.
    """

    block: Block
    plane_shape: tuple[int, int]
    plane_index: int = 0

    def with_margin(self, margin_px: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """See `add_margin`."""
        return add_margin(self.block, margin_px, self.plane_shape)


def split_planes(frames: Iterable[int], depth: int, plane_shape: Sequence[int], block_px: int) -> list[Block]:
    """Split planes into blocks of `block_px` x `block_px` pixels; the last ones of a row or column may be smaller.

    Args:
        frames: time points of the planes.
        depth: number of planes of each frame.
        plane_shape: (y, x), size of a plane in pixels.
        block_px: size of a block along y and x in pixels.

    Returns:
        The blocks in the order t, z, y, x.
    """
    rows, columns = (
        [slice(start, min(start + block_px, size)) for start in range(0, size, block_px)] for size in plane_shape
    )
    return [
        Block(t, z, row, column, rows[row], columns[column])
        for t in frames
        for z in range(depth)
        for row, column in np.ndindex(len(rows), len(columns))
    ]


def group_blocks(blocks: Iterable[Block], counts: tuple[int, int]) -> list[tuple[Block, list[Block]]]:
    """Group neighboring blocks of a plane, such as the blocks of a shard.

    Args:
        blocks: from `split_planes`.
        counts: number of blocks of a group along y and x.

    Returns:
        A list of (block that covers the group, blocks of the group) in the order t, z, y, x.
    """
    high, wide = counts
    groups: dict[tuple[int, int, int, int], list[Block]] = {}
    for block in blocks:
        groups.setdefault((block.t, block.z, block.row // high, block.column // wide), []).append(block)
    return [
        (
            Block(
                *position,
                slice(group[0].rows.start, group[-1].rows.stop),
                slice(group[0].columns.start, group[-1].columns.stop),
            ),
            group,
        )
        for position, group in groups.items()
    ]


def add_margin(
    block: Block, margin_px: int, plane_shape: Sequence[int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Extend a block by a margin on each side, up to the edges of its plane.

    Args:
        block: the block.
        margin_px: width of the margin in pixels.
        plane_shape: (y, x), size of the plane in pixels.

    Returns:
        (rows, columns) of the extended block in the plane; (rows, columns) of the block in the extended one.
    """
    outer, inner = [], []
    for span, size in zip((block.rows, block.columns), plane_shape, strict=True):
        start = max(span.start - margin_px, 0)
        outer.append(slice(start, min(span.stop + margin_px, size)))
        inner.append(slice(span.start - start, span.stop - start))
    return (outer[0], outer[1]), (inner[0], inner[1])


def map_blocks(function: Callable[[Item], Result], items: Sequence[Item], workers: int, label: str) -> Iterator[Result]:
    """Yield function(item) for each item in order, computed by `workers` threads.

    No more results are in memory than there are threads.

    Args:
        function: the work on one item.
        items: blocks, or groups of blocks.
        workers: number of threads.
        label: start of the lines that report the progress, such as "movie1: measuring".
    """
    progress = Progress(len(items), "blocks", label)
    for result in _map_in_order(function, items, workers):
        progress.advance()
        yield result


def _map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    if workers <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
