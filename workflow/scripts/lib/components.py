"""Components: connected pieces of planes, found block by block and joined across the blocks' borders.

Pieces are connected along pixels' sides. What is said of them does not depend on how planes are cut: after joining,
they are numbered by their first pixels.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .runs import find_runs, first_of

cv2.setNumThreads(1)  # blocks are worked on side by side


class Part(NamedTuple):
    """The pieces of one block, by their numbers in it from 1 on.

    Attributes:
        kinds: uint8 (pieces,), what each piece is of.
        areas: int64 (pieces,), pixels in the block.
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
    starts, values, lengths = find_runs(ids)
    areas = np.bincount(values, lengths, minlength=count + 1).astype(np.int64)
    first = first_of(values, starts, count + 1)[1:]
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
        blocks: [Block, ...].
        parts: the Part of each.

    Returns:
        Pieces.
    """
    offsets = np.cumsum([0, *(len(part.kinds) for part in parts)])
    total = int(offsets[-1]) + 1
    at = {block[:4]: place for place, block in enumerate(blocks)}
    links, touches = [], [np.zeros((3, 0), np.int32)]
    for place, (block, part) in enumerate(zip(blocks, parts, strict=True)):
        touches.append(part.touches + np.array([[offsets[place]], [offsets[place]], [0]], np.int32))
        for side, (row, column) in enumerate(((1, 0), (0, 1))):
            beside = at.get((block.t, block.z, block.row + row, block.column + column))
            if beside is None:
                continue
            here, across = part.sides[2 * side + 1], parts[beside].sides[2 * side]
            both = (here > 0) & (across > 0)
            pair = np.stack([here + offsets[place], across + offsets[beside]]).astype(np.int32)
            links.append(np.unique(pair[:, both & part.onward[side]], axis=1))
            apart, shared = np.unique(pair[:, both & ~part.onward[side]], axis=1, return_counts=True)
            touches += [np.vstack([pair, shared.astype(np.int32)]) for pair in (apart, apart[::-1])]
    one, other = np.concatenate(links, axis=1) if links else np.zeros((2, 0), np.int32)
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(total, total))
    _, piece = connected_components(graph, directed=False)
    return _whole(blocks, parts, offsets, piece, np.concatenate(touches, axis=1))


def _whole(blocks, parts, offsets, piece, touches):
    """The Pieces, numbered by their first pixels, of parts whose pieces 1, 2, ... are each of one connected `piece`."""

    def gather(name):
        return np.concatenate([np.zeros(1, np.int64), *(getattr(part, name) for part in parts)])

    count = int(piece.max()) + 1
    firsts = np.full(count, np.iinfo(np.int64).max)
    own = gather("firsts")
    own[0] = -1  # nobody comes first
    np.minimum.at(firsts, piece, own)
    number = np.empty(count, np.int32)
    number[np.argsort(firsts)] = np.arange(count, dtype=np.int32)
    del firsts, own
    number = number[piece]
    kinds, edges = np.zeros(count, np.uint8), np.zeros(count, bool)
    kinds[number] = gather("kinds")
    edges[number[gather("edges") > 0]] = True
    areas = np.bincount(number, gather("areas"), minlength=count).astype(np.int64)
    numbers = {}
    for place, block in enumerate(blocks):
        numbers[block[:4]] = number[offsets[place] : offsets[place + 1] + 1].copy()
        numbers[block[:4]][0] = 0
    touches = np.stack([number[touches[0]], number[touches[1]], touches[2]])
    return Pieces(numbers, kinds, areas, edges, touches)


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
