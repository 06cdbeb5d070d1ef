"""Separations: the objects of frames of any size, found by passes over blocks, a few of which are in memory."""

from functools import partial
from itertools import islice

import numpy as np

from tessera.common.run_length import count_overlaps
from tessera.io.ome_zarr_store import read_block
from tessera.segmentation.blocks import cut_planes, widen, work_through
from tessera.segmentation.connected_components import join
from tessera.segmentation.fragment_merging import name_cells
from tessera.segmentation.relabeling import chain
from tessera.segmentation.seeded_growth import find_cells
from tessera.segmentation.semantic_components import HALO_PX, find_classes, name_classes
from tessera.segmentation.z_stitching import join_sections

PERIMETER_PX = 2  # pixels around a block that perimeters in it depend on
NAMED_AT_ONCE = 64  # blocks of small planes; pieces are known of whole planes, and of no more than it takes


def find_objects(probabilities, scratch, blocks, *, task, rules, stitch_threshold, workers, name):
    """The objects of some frames.

    Args:
        probabilities: zarr.Array uint8 (t, c, z, y, x).
        scratch: zarr.Array int32 (t, 1, z, y, x), which gets the number that each pixel's piece has in its block.
        blocks: all of these frames, of whole shards of `scratch`.
        task: instances or semantic.
        rules: `tessera.segmentation.seeded_growth.Rules`.
        stitch_threshold: see `join_planes`; None leaves the planes of stacks apart.
        workers: threads.
        name: of the image.

    Returns:
        tessera.segmentation.relabeling.Named.
    """
    _, _, depth, *plane = probabilities.shape
    if task == "instances":
        find, assign, halo_px = partial(find_cells, rules=rules), partial(name_cells, rules=rules), rules.halo_px
    else:
        find, assign, halo_px = find_classes, partial(name_classes, min_area_px=rules.min_area_px), HALO_PX

    def work(block):
        window, _ = widen(block, halo_px, plane)
        chances = read_block(probabilities, (block.t, slice(None), block.z, *window))
        ids, part = find(chances, block, plane, block.t * depth + block.z)
        scratch[block.region] = ids
        return part

    parts = work_through(work, blocks, workers, f"{name}: separating")
    of_plane = sum(block[:2] == blocks[0][:2] for block in blocks)
    step = of_plane * max(1, NAMED_AT_ONCE // of_plane)
    starts = range(0, len(blocks), step)
    named = chain([assign(join(some, islice(parts, step))) for some in (blocks[at : at + step] for at in starts)])
    if depth > 1 and stitch_threshold:
        return join_planes(scratch, named, blocks, share=stitch_threshold, workers=workers, name=name)
    return named


def read_ids(scratch, named, block, margin):
    """The ids of the objects in a block and `margin` pixels around it.

    Args:
        scratch, named: of `find_objects`.
        block: the Block; the others of its plane start at multiples of its side.
        margin: pixels, not more than a block has.

    Returns:
        int32 (y, x), 0 beyond the plane.
    """
    shape = scratch.shape[3:]
    window, _ = widen(block, margin, shape)
    pieces = scratch[(block.t, 0, block.z, *window)]
    cuts = [
        sorted({span.start, inner.start, inner.stop, span.stop})
        for span, inner in zip(window, (block.rows, block.columns), strict=True)
    ]
    ids = np.zeros([span.stop - span.start + 2 * margin for span in (block.rows, block.columns)], np.int32)
    for top, bottom in zip(cuts[0], cuts[0][1:], strict=False):
        for left, right in zip(cuts[1], cuts[1][1:], strict=False):
            row = block.row + (top >= block.rows.stop) - (top < block.rows.start)
            column = block.column + (left >= block.columns.stop) - (left < block.columns.start)
            names = named.ids[block.t, block.z, row, column]
            of = np.s_[
                top - window[0].start : bottom - window[0].start, left - window[1].start : right - window[1].start
            ]
            y, x = top - block.rows.start + margin, left - block.columns.start + margin
            ids[y : y + bottom - top, x : x + right - left] = names[pieces[of]]
    return ids


def join_planes(scratch, named, blocks, *, share, workers, name):
    """Join the objects of the planes of stacks through z.

    Args:
        scratch, blocks, workers, name: as of `find_objects`.
        named: `tessera.segmentation.relabeling.Named`, the objects of each plane.
        share: see `tessera.segmentation.z_stitching.join_sections`.

    Returns:
        Named, of the objects of the stacks.
    """
    lower = [block for block in blocks if block.z + 1 < scratch.shape[2]]

    def work(block):
        here = read_ids(scratch, named, block, 0)
        return count_overlaps(here, read_ids(scratch, named, block._replace(z=block.z + 1), 0))

    shared = np.concatenate(list(work_through(work, lower, workers, f"{name}: joining planes")), axis=1)
    alike = named.kinds[shared[0]] == named.kinds[shared[1]]
    objects = join_sections(shared[:, alike], named.areas, share)
    areas = np.bincount(objects, named.areas).astype(np.int64)
    kinds = np.zeros(len(areas), named.kinds.dtype)
    kinds[objects] = named.kinds
    return named._replace(ids={at: objects[ids] for at, ids in named.ids.items()}, areas=areas, kinds=kinds)


def choose_type(task, shape, min_area_px):
    """Type of labels (t, c, z, y, x): int32, or int64 where there may be more objects than that can number."""
    if task == "semantic":
        return np.uint8
    return np.int32 if np.prod(shape, dtype=object) < 2**31 * max(1, min_area_px) else np.int64


def cut_into_waves(shape, side, wave):
    """Blocks of whole frames, so many of these at a time that there are `wave` blocks if a frame has fewer.

    Args:
        shape: (t, 1, z, y, x).
        side: pixels of a block.
        wave: number of blocks.

    Yields:
        [Block, ...].
    """
    frames, _, depth, *plane = shape
    of_frame = len(cut_planes([0], depth, plane, side))
    step = max(1, wave // of_frame)
    for first in range(0, frames, step):
        yield cut_planes(range(first, min(first + step, frames)), depth, plane, side)
