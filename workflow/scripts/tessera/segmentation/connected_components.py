"""Connected components of planes: found block by block and joined across the borders of blocks.

Pixels are connected along their sides (4-connectivity). The result does not depend on how planes are split into
blocks: after joining, components are numbered by their first pixels.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csgraph

from tessera.common.run_length import encode_runs, first_values
from tessera.segmentation.blocks import Block, BlockInPlane

cv2.setNumThreads(1)  # several threads already work on blocks


class BlockComponents(NamedTuple):
    """The components of one block, numbered in it from 1.

    Attributes:
        kinds: (components,), what each component consists of: a class, or a kind of `fragment_merging`.
        areas: (components,), number of pixels in the block.
        first_pixels: (components,), position of the first pixel, counted through all planes.
        at_plane_edge: (components,), whether a pixel lies on the edge of the plane.
        border_ids: components, 0 for none, of the pixels of the first row, last row, first column and last column.
        continues: for the last row and the last column, whether each pixel and the one across the border belong to one
            component.
        contacts: (3, pairs): a component, another one, and the number of pixel sides that they share in the block.
    """

    kinds: NDArray[np.uint8]
    areas: NDArray[np.int32]
    first_pixels: NDArray[np.int64]
    at_plane_edge: NDArray[np.bool_]
    border_ids: tuple[NDArray[np.int32], ...]
    continues: tuple[NDArray[np.bool_], ...]
    contacts: NDArray[np.int32]


class Components(NamedTuple):
    """The components of whole planes, numbered from 1; entry 0 of each array is the background.

    Attributes:
        ids: {`Block.position`: the number of each component of the block, 0 for 0}.
        kinds: (components + 1,), see `BlockComponents`.
        areas: (components + 1,), number of pixels.
        at_plane_edge: (components + 1,), whether a pixel lies on the edge of the plane.
        contacts: (3, pairs), see `BlockComponents`, and all contacts across borders. A pair may occur more than once.
    """

    ids: dict[tuple[int, int, int, int], NDArray[np.int32]]
    kinds: NDArray[np.uint8]
    areas: NDArray[np.int64]
    at_plane_edge: NDArray[np.bool_]
    contacts: NDArray[np.int32]


def label_mask(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the connected components of a mask (y, x).

    Returns:
        Ids (y, x), 0 outside of the mask; the number of components.
    """
    count, ids = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return ids, count - 1


def describe_components(
    ids: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    window: NDArray[np.integer],
    inner: tuple[slice, slice],
    place: BlockInPlane,
    max_contact_area: NDArray[np.floating] | None = None,
) -> BlockComponents:
    """Describe the components of a block.

    Args:
        ids: (y, x), the component of each pixel of the block, 0 for none.
        kinds: (components,).
        window: integers (y, x) of the block and a margin of at least one pixel inside the plane. Two pixels on either
            side of the block's border belong to one component if they are equal here and not 0.
        inner: (rows, columns) of the block in `window`.
        place: the block.
        max_contact_area: by kind; contacts are counted for components of at most this area in pixels. None: for no
            component.
    """
    count, width = len(kinds), ids.shape[1]
    starts, values, lengths = encode_runs(ids)
    areas = np.bincount(values, lengths, minlength=count + 1).astype(np.int32)
    first = first_values(values, starts, count + 1)[1:]
    rows, columns = np.divmod(first, width)
    block, (height_of_plane, width_of_plane) = place.block, place.plane_shape
    first_pixels = (place.plane_index * height_of_plane + block.rows.start + rows) * width_of_plane
    first_pixels = first_pixels + block.columns.start + columns
    border_ids = (ids[0].copy(), ids[-1].copy(), ids[:, 0].copy(), ids[:, -1].copy())
    is_plane_edge = (
        block.rows.start == 0,
        block.rows.stop == height_of_plane,
        block.columns.start == 0,
        block.columns.stop == width_of_plane,
    )
    at_plane_edge = np.zeros(count + 1, bool)
    for line, is_edge in zip(border_ids, is_plane_edge, strict=True):
        if is_edge:
            at_plane_edge[line] = True
    continues = (
        _continues(window[inner[0].stop - 1 : inner[0].stop + 1, inner[1]]),
        _continues(window[inner[0], inner[1].stop - 1 : inner[1].stop + 1].T),
    )
    contacts = np.zeros((3, 0), np.int32)
    if max_contact_area is not None:
        is_listed = np.concatenate([[False], areas[1:] <= max_contact_area[kinds]])
        contacts = _count_contacts(ids, is_listed, count)
    return BlockComponents(
        kinds, areas[1:], first_pixels.astype(np.int64), at_plane_edge[1:], border_ids, continues, contacts
    )


def drop_components(ids: NDArray[np.int32], components: BlockComponents, dropped: NDArray[np.bool_]) -> BlockComponents:
    """Make background of components that matter to no other block or component.

    Args:
        ids: (y, x) of the block; changed in place.
        components: of the block.
        dropped: (components + 1,), components that lie at no border of the block and that no listed contact names as
            the other component.

    Returns:
        The remaining components, numbered densely.
    """
    new_ids = np.cumsum(~dropped, dtype=np.int32) - 1
    new_ids[dropped] = 0
    np.take(new_ids, ids, out=ids)
    component, other, sides = components.contacts
    kept = ~dropped[1:]
    return BlockComponents(
        kinds=components.kinds[kept],
        areas=components.areas[kept],
        first_pixels=components.first_pixels[kept],
        at_plane_edge=components.at_plane_edge[kept],
        border_ids=tuple(new_ids[line] for line in components.border_ids),
        continues=components.continues,
        contacts=np.stack([new_ids[component], new_ids[other], sides])[:, ~dropped[component]],
    )


def join_blocks(blocks: Sequence[Block], components: Iterable[BlockComponents]) -> Components:
    """Join the components across the borders of blocks.

    Args:
        blocks: blocks of whole planes, in the order of `tessera.segmentation.blocks.split_planes`.
        components: of each block, in the same order. Border lines of a block are only kept in memory until the blocks
            beside it and below it have arrived.
    """
    offsets, kept = [0], []
    below: dict[int, tuple[NDArray[np.int32], NDArray[np.bool_]]] = {}
    beside: tuple[NDArray[np.int32], NDArray[np.bool_]] | None = None
    links, contacts = [np.zeros((2, 0), np.int32)], [np.zeros((3, 0), np.int32)]
    for block, part in zip(blocks, components, strict=True):
        first_row, last_row, first_column, last_column = (
            np.where(line, line + offsets[-1], 0) for line in part.border_ids
        )
        borders = [(*below[block.column], first_row)] if block.row else []
        if block.column and beside is not None:
            borders.append((*beside, first_column))
        for line, continues, line_across in borders:
            pairs = np.stack([line, line_across]).astype(np.int32)
            both = (line > 0) & (line_across > 0)
            links.append(np.unique(pairs[:, both & continues], axis=1))
            touching, sides = np.unique(pairs[:, both & ~continues], axis=1, return_counts=True)
            contacts += [np.vstack([each, sides.astype(np.int32)]) for each in (touching, touching[::-1])]
        below[block.column], beside = (last_row, part.continues[0]), (last_column, part.continues[1])
        contacts.append(part.contacts + np.array([[offsets[-1]], [offsets[-1]], [0]], np.int32))
        kept.append(part._replace(border_ids=(), continues=(), contacts=np.zeros((3, 0), np.int32)))
        offsets.append(offsets[-1] + len(part.kinds))
    new_ids = _number_components(blocks, kept, offsets, np.concatenate(links, axis=1))
    count = int(new_ids.max()) + 1
    ids = {}
    kinds, areas, at_plane_edge = np.zeros(count, np.uint8), np.zeros(count, np.int64), np.zeros(count, bool)
    for block, part, first, last in zip(blocks, kept, offsets, offsets[1:], strict=False):
        of_block = new_ids[first + 1 : last + 1]
        ids[block.position] = np.concatenate([np.zeros(1, np.int32), of_block])
        kinds[of_block] = part.kinds
        at_plane_edge[of_block[part.at_plane_edge]] = True
        np.add.at(areas, of_block, part.areas)
    component, other, sides = np.concatenate(contacts, axis=1)
    return Components(ids, kinds, areas, at_plane_edge, np.stack([new_ids[component], new_ids[other], sides]))


def lowest_connected(count: int, first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.int32]:
    """For each number 0 .. count - 1, return the lowest number that the pairs (first, second) connect it with."""
    lowest = np.arange(count, dtype=np.int32)
    numbers, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    shape = (len(numbers), len(numbers))
    graph = coo_array((np.ones(len(first), bool), tuple(places.reshape(2, -1))), shape=shape)
    _, first_place, groups = np.unique(
        csgraph.connected_components(graph, directed=False)[1], return_index=True, return_inverse=True
    )
    lowest[numbers] = numbers[first_place[groups]]
    return lowest


def _number_components(
    blocks: Sequence[Block], components: list[BlockComponents], offsets: list[int], links: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Number whole components by their first pixels: the new number of each component of each block."""
    first_pixels = np.concatenate([np.full(1, -1), *(part.first_pixels for part in components)])
    leaders = lowest_connected(len(first_pixels), *links)
    linked = np.unique(links)
    linked = linked[np.lexsort((first_pixels[linked], leaders[linked]))]
    _, first, groups = np.unique(leaders[linked], return_index=True, return_inverse=True)
    leaders[linked] = linked[first][groups]  # the part that has the first pixel
    new_ids, count = np.zeros(len(first_pixels), np.int32), 1
    row_starts = [place for place, block in enumerate(blocks) if block.column == 0]
    for start, stop in zip(row_starts, [*row_starts[1:], len(blocks)], strict=True):
        of_row = np.arange(offsets[start] + 1, offsets[stop] + 1)
        leading = of_row[leaders[of_row] == of_row]
        new_ids[leading[np.argsort(first_pixels[leading])]] = np.arange(count, count + len(leading))
        count += len(leading)
    numbered: NDArray[np.int32] = new_ids[leaders]
    return numbered


def _continues(lines: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where the two rows of `lines` are equal and not 0; nowhere if there is only one row."""
    continues: NDArray[np.bool_] = (lines[0] == lines[-1]) & (lines[0] != 0) & (len(lines) == 2)
    return continues


def _count_contacts(ids: NDArray[np.int32], is_listed: NDArray[np.bool_], count: int) -> NDArray[np.int32]:
    """Count the pixel sides that each listed component shares with others: (3, pairs)."""
    total: Any = coo_array((count + 1, count + 1), dtype=np.int32).tocsr()
    for here, across in ((ids[:-1], ids[1:]), (ids[:, :-1], ids[:, 1:])):
        differ = np.flatnonzero(here != across)
        rows, columns = np.divmod(differ, here.shape[1])
        first, second = here[rows, columns], across[rows, columns]
        for component, neighbor in ((first, second), (second, first)):
            counted = is_listed[component] & (neighbor > 0)
            ones = np.ones(np.count_nonzero(counted), np.int32)
            total += coo_array((ones, (component[counted], neighbor[counted])), shape=total.shape).tocsr()
    pairs = total.tocoo()
    return np.stack([pairs.row, pairs.col, pairs.data]).astype(np.int32)
