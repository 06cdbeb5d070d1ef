"""Components: connected pieces of planes, found block by block and joined across the blocks' borders.

Pieces are connected along pixels' sides. What is said of them does not depend on how planes are cut: after joining,
they are numbered by their first pixels.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tessera.common.run_length import encode_runs, first_values

cv2.setNumThreads(1)  # blocks are worked on side by side


class Part(NamedTuple):
    """The pieces of one block, by their numbers in it from 1 on.

    Attributes:
        kinds: uint8 (pieces,), what each piece is of.
        areas: int32 (pieces,), pixels in the block.
        firsts: int64 (pieces,), where the first of these lies, counted through all planes.
        edges: bool (pieces,), whether one of these is at the plane's edge.
        sides: numbers, 0 for none, of the pixels of the first row, last row, first column, last column.
        onward: bool, for the last row and the last column: the pixel and the one across the border are of one piece.
        touches: int32 (3, pairs): a piece, another, and the pixel sides they share within the block.
    """

    kinds: np.ndarray
    areas: np.ndarray
    firsts: np.ndarray
    edges: np.ndarray
    sides: tuple
    onward: tuple
    touches: np.ndarray


class Pieces(NamedTuple):
    """Pieces of whole planes, by their numbers from 1 on; entry 0 of each array is nobody's.

    Attributes:
        numbers: {(t, z, row, column) of a block: int32, the number of each of its pieces, 0 for 0}.
        kinds, areas, edges: as of `Part`, of whole pieces.
        touches: as of `Part`, the pairs that blocks named and all across borders; a pair may be there more than once.
    """

    numbers: dict
    kinds: np.ndarray
    areas: np.ndarray
    edges: np.ndarray
    touches: np.ndarray


def label_pieces(mask):
    """Number the connected pieces of a mask (y, x): int32 (y, x), 0 outside, and how many there are."""
    count, ids = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return ids, count - 1


def describe(ids, kinds, window, inner, block, plane, number, named=None):
    """The Part of a block.

    Args:
        ids: integers (y, x), the piece of each pixel of the block, 0 for none.
        kinds: uint8 (pieces,).
        window: integers (y, x) around the block, one pixel or more where the plane goes on; neighbours on both sides
            of the block's border are of one piece if they are equal here and not 0.
        inner: where the block lies in the window.
        block: the Block.
        plane: (y, x) pixels of the plane.
        number: of the plane among all.
        named: named(areas) tells of which pieces `touches` names the neighbours, as bool (pieces + 1,); None: of none.

    Returns:
        Part.
    """
    count, width = len(kinds), ids.shape[1]
    starts, values, lengths = encode_runs(ids)
    areas = np.bincount(values, lengths, minlength=count + 1).astype(np.int32)
    first = first_values(values, starts, count + 1)[1:]
    rows, columns = np.divmod(first, width)
    firsts = (number * plane[0] + block.rows.start + rows) * plane[1] + block.columns.start + columns
    sides = (ids[0].copy(), ids[-1].copy(), ids[:, 0].copy(), ids[:, -1].copy())
    (top, bottom), (left, right) = ((span.start, span.stop) for span in (block.rows, block.columns))
    edges = np.zeros(count + 1, bool)
    for side, is_edge in zip(sides, (top == 0, bottom == plane[0], left == 0, right == plane[1]), strict=True):
        if is_edge:
            edges[side] = True
    onward = (
        _onward(window[inner[0].stop - 1 : inner[0].stop + 1, inner[1]]),
        _onward(window[inner[0], inner[1].stop - 1 : inner[1].stop + 1].T),
    )
    touches = _touches(ids, named(areas), count) if named else np.zeros((3, 0), np.int32)
    return Part(kinds, areas[1:], firsts.astype(np.int64), edges[1:], sides, onward, touches)


def forget(ids, part, forgotten):
    """Make nobody's what pieces no one else has to know of.

    Args:
        ids: of the block, changed.
        part: its Part.
        forgotten: bool (pieces + 1,), pieces that are at no side of the block and among no one's neighbours.

    Returns:
        Part.
    """
    numbers = np.cumsum(~forgotten, dtype=np.int32) - 1
    numbers[forgotten] = 0
    np.take(numbers, ids, out=ids)
    one, other, shared = part.touches
    touches = np.stack([numbers[one], numbers[other], shared])[:, ~forgotten[one]]
    of = {name: getattr(part, name)[~forgotten[1:]] for name in ("kinds", "areas", "firsts", "edges")}
    return part._replace(sides=tuple(numbers[side] for side in part.sides), touches=touches, **of)


def join(blocks, parts):
    """Join what lies across the borders of blocks.

    Args:
        blocks: [Block, ...] of whole planes, in the order of `tessera.segmentation.blocks.cut_planes`.
        parts: the Part of each, as they come; the lines of a block are kept until those beside and below it came.

    Returns:
        Pieces.
    """
    offsets, kept, below, beside = [0], [], {}, None
    links, touches = [np.zeros((2, 0), np.int32)], [np.zeros((3, 0), np.int32)]
    for block, part in zip(blocks, parts, strict=True):
        first_row, last_row, first_column, last_column = (np.where(side, side + offsets[-1], 0) for side in part.sides)
        borders = [(*below[block.column], first_row)] if block.row else []
        borders += [(*beside, first_column)] if block.column else []
        for here, onward, across in borders:
            pairs = np.stack([here, across]).astype(np.int32)
            both = (here > 0) & (across > 0)
            links.append(np.unique(pairs[:, both & onward], axis=1))
            apart, shared = np.unique(pairs[:, both & ~onward], axis=1, return_counts=True)
            touches += [np.vstack([each, shared.astype(np.int32)]) for each in (apart, apart[::-1])]
        below[block.column], beside = (last_row, part.onward[0]), (last_column, part.onward[1])
        touches.append(part.touches + np.array([[offsets[-1]], [offsets[-1]], [0]], np.int32))
        kept.append(part._replace(sides=(), onward=(), touches=None))
        offsets.append(offsets[-1] + len(part.kinds))
    number = _number(blocks, kept, offsets, np.concatenate(links, axis=1))
    numbers, count = {}, int(number.max()) + 1
    kinds, areas, edges = np.zeros(count, np.uint8), np.zeros(count, np.int64), np.zeros(count, bool)
    for block, part, first, last in zip(blocks, kept, offsets, offsets[1:], strict=False):
        own = number[first + 1 : last + 1]
        numbers[block[:4]] = np.concatenate([np.zeros(1, np.int32), own])
        kinds[own] = part.kinds
        edges[own[part.edges]] = True
        np.add.at(areas, own, part.areas)
    one, other, shared = np.concatenate(touches, axis=1)
    return Pieces(numbers, kinds, areas, edges, np.stack([number[one], number[other], shared]))


def connect(count, one, other):
    """Of each number 0 .. count - 1 the least of those that the pairs connect it with: int32 (count,)."""
    least = np.arange(count, dtype=np.int32)
    numbers, at = np.unique(np.concatenate([one, other]), return_inverse=True)
    graph = coo_array((np.ones(len(one), bool), tuple(at.reshape(2, -1))), shape=(len(numbers), len(numbers)))
    _, first, group = np.unique(connected_components(graph, directed=False)[1], return_index=True, return_inverse=True)
    least[numbers] = numbers[first[group]]
    return least


def _number(blocks, parts, offsets, links):
    """Number the pieces that linked ones make up by their first pixels: int32, by the number of a piece among all."""
    firsts = np.concatenate([np.full(1, -1), *(part.firsts for part in parts)])
    whole = connect(len(firsts), *links)
    linked = np.unique(links)
    linked = linked[np.lexsort((firsts[linked], whole[linked]))]
    _, leading, of = np.unique(whole[linked], return_index=True, return_inverse=True)
    whole[linked] = linked[leading][of]  # its part with the first pixel
    number, count = np.zeros(len(firsts), np.int32), 1
    rows = [place for place, block in enumerate(blocks) if block.column == 0]
    for first, last in zip(rows, [*rows[1:], len(blocks)], strict=True):
        span = np.arange(offsets[first] + 1, offsets[last] + 1)
        leaders = span[whole[span] == span]
        number[leaders[np.argsort(firsts[leaders])]] = np.arange(count, count + len(leaders))
        count += len(leaders)
    return number[whole]


def _onward(lines):
    """Where a line and the next, the rows of `lines`, are equal and not 0; nowhere if there is no next."""
    return (lines[0] == lines[-1]) & (lines[0] != 0) & (len(lines) == 2)


def _touches(ids, named, count):
    """Neighbours of the pieces that are `named`, with the sides they share: int32 (3, pairs)."""
    total = coo_array((count + 1, count + 1), dtype=np.int32).tocsr()
    for here, across in ((ids[:-1], ids[1:]), (ids[:, :-1], ids[:, 1:])):
        differ = np.flatnonzero(here != across)
        rows, columns = np.divmod(differ, here.shape[1])
        one, other = here[rows, columns], across[rows, columns]
        for piece, beside in ((one, other), (other, one)):
            wanted = named[piece] & (beside > 0)
            ones = np.ones(np.count_nonzero(wanted), np.int32)
            total += coo_array((ones, (piece[wanted], beside[wanted])), shape=total.shape).tocsr()
    pairs = total.tocoo()
    return np.stack([pairs.row, pairs.col, pairs.data]).astype(np.int32)
