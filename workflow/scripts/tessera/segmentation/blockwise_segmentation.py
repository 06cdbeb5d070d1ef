"""The objects of frames of any size, found by passes over blocks, of which only a few are in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from tessera.common.run_length import count_shared_pixels
from tessera.io.ome_zarr_store import read_block
from tessera.segmentation.blocks import Block, BlockInPlane, add_margin, map_blocks, split_planes
from tessera.segmentation.connected_components import BlockComponents, Components, join_blocks
from tessera.segmentation.fragment_merging import ObjectMap, assign_fragments, concatenate
from tessera.segmentation.seeded_growth import CellRules, find_cell_components
from tessera.segmentation.semantic_components import HALO_PX, find_class_components, relabel_classes
from tessera.segmentation.z_stitching import stitch_sections

PERIMETER_PX = 2  # margin of a block that the perimeters in it depend on
BLOCKS_PER_RELABELING = 64  # blocks of small planes that are numbered together, always whole planes


@dataclass(frozen=True)
class Method:
    """How objects are found in an image.

    Attributes:
        task: "instances" or "semantic".
        rules: thresholds and areas.
        stitch_threshold: see `tessera.segmentation.z_stitching.stitch_sections`; None leaves the planes of stacks
            apart.
        workers: number of threads.
        name: of the image, for the progress.
    """

    task: str
    rules: CellRules
    stitch_threshold: float | None = None
    workers: int = 1
    name: str = "image"

    @property
    def halo_px(self) -> int:
        """Margin that a block needs, in pixels."""
        return self.rules.halo_px if self.task == "instances" else HALO_PX

    def find_components(
        self, probabilities: NDArray[np.uint8], place: BlockInPlane
    ) -> tuple[NDArray[np.int32], BlockComponents]:
        """Ids (y, x) and components of a block, from probabilities (c, y, x) of the block and its margin."""
        if self.task == "instances":
            return find_cell_components(probabilities, place, self.rules)
        return find_class_components(probabilities, place)

    def make_objects(self, components: Components) -> ObjectMap:
        """Objects of whole planes."""
        if self.task == "instances":
            return assign_fragments(components, self.rules)
        return relabel_classes(components, self.rules.min_area_px)


def find_objects(
    probabilities: "zarr.Array[Any]", scratch: "zarr.Array[Any]", blocks: Sequence[Block], method: Method
) -> ObjectMap:
    """Find the objects of some frames.

    Args:
        probabilities: uint8 (t, c, z, y, x), 255 = 1.
        scratch: int32 (t, 1, z, y, x); it gets the component of each pixel, numbered within its block.
        blocks: all blocks of these frames; each consists of whole shards of `scratch`.
        method: how objects are found.
    """
    depth = probabilities.shape[2]
    components = map_blocks(
        partial(_split_block, probabilities, scratch, method), blocks, method.workers, f"{method.name}: separating"
    )
    blocks_per_plane = sum(block[:2] == blocks[0][:2] for block in blocks)
    step = blocks_per_plane * max(1, BLOCKS_PER_RELABELING // blocks_per_plane)
    groups = [blocks[start : start + step] for start in range(0, len(blocks), step)]
    objects = concatenate([method.make_objects(join_blocks(group, islice(components, step))) for group in groups])
    if depth > 1 and method.stitch_threshold:
        return stitch_planes(scratch, objects, blocks, method)
    return objects


def _split_block(
    probabilities: "zarr.Array[Any]", scratch: "zarr.Array[Any]", method: Method, block: Block
) -> BlockComponents:
    """Split a block into components, and write their ids to `scratch`."""
    _, _, depth, height, width = probabilities.shape
    place = BlockInPlane(block, (height, width), block.t * depth + block.z)
    window, _ = place.with_margin(method.halo_px)
    pixels = read_block(probabilities, (block.t, slice(None), block.z, *window))
    ids, components = method.find_components(pixels, place)
    scratch[block.region] = ids
    return components


def read_object_ids(scratch: "zarr.Array[Any]", objects: ObjectMap, block: Block, margin_px: int) -> NDArray[np.int32]:
    """Read the ids of the objects in a block and a margin around it.

    Args:
        scratch: as `find_objects` leaves it.
        objects: from `find_objects`.
        block: the block; the other blocks of its plane start at multiples of its size.
        margin_px: at most the size of a block.

    Returns:
        (y, x), 0 beyond the edges of the plane.
    """
    window, _ = add_margin(block, margin_px, scratch.shape[3:])
    components: NDArray[np.int32] = np.asarray(scratch[(block.t, 0, block.z, *window)])
    spans = (block.rows, block.columns)
    cuts = [sorted({outer.start, span.start, span.stop, outer.stop}) for outer, span in zip(window, spans, strict=True)]
    ids = np.zeros([span.stop - span.start + 2 * margin_px for span in spans], np.int32)
    for top, bottom in zip(cuts[0], cuts[0][1:], strict=False):
        for left, right in zip(cuts[1], cuts[1][1:], strict=False):
            row = block.row + (top >= block.rows.stop) - (top < block.rows.start)
            column = block.column + (left >= block.columns.stop) - (left < block.columns.start)
            part = components[
                top - window[0].start : bottom - window[0].start, left - window[1].start : right - window[1].start
            ]
            y, x = top - block.rows.start + margin_px, left - block.columns.start + margin_px
            ids[y : y + bottom - top, x : x + right - left] = objects.ids[block.t, block.z, row, column][part]
    return ids


def stitch_planes(scratch: "zarr.Array[Any]", objects: ObjectMap, blocks: Sequence[Block], method: Method) -> ObjectMap:
    """Join the objects of the planes of stacks through z.

    Args:
        scratch: as `find_objects` leaves it.
        objects: of each plane.
        blocks: see `find_objects`.
        method: its `stitch_threshold` is not None.

    Returns:
        The objects of the stacks.
    """
    lower = [block for block in blocks if block.z + 1 < scratch.shape[2]]
    counts = map_blocks(
        partial(_count_overlaps, scratch, objects), lower, method.workers, f"{method.name}: stitching planes"
    )
    overlaps = np.concatenate(list(counts), axis=1)
    same_kind = objects.kinds[overlaps[0]] == objects.kinds[overlaps[1]]
    stitched = stitch_sections(overlaps[:, same_kind], objects.areas, method.stitch_threshold or 0)
    areas = np.bincount(stitched, objects.areas).astype(np.int64)
    kinds = np.zeros(len(areas), objects.kinds.dtype)
    kinds[stitched] = objects.kinds
    return ObjectMap({position: stitched[ids] for position, ids in objects.ids.items()}, areas, kinds)


def _count_overlaps(scratch: "zarr.Array[Any]", objects: ObjectMap, block: Block) -> NDArray[np.int64]:
    """Count the pixels that the objects of a block share with those of the plane above it: (3, pairs)."""
    above = block._replace(z=block.z + 1)
    overlaps: NDArray[np.int64] = count_shared_pixels(
        read_object_ids(scratch, objects, block, 0), read_object_ids(scratch, objects, above, 0)
    )
    return overlaps


def choose_label_dtype(task: str, shape: Sequence[int], min_area_px: int) -> type[np.integer]:
    """Choose the type of labels.

    Args:
        task: "instances" or "semantic".
        shape: (t, c, z, y, x) of the labels.
        min_area_px: smallest area of an object.

    Returns:
        uint8 for classes; int32 for ids, or int64 if there may be more objects than 2**31 - 1.
    """
    if task == "semantic":
        return np.uint8
    return np.int32 if np.prod(shape, dtype=object) < 2**31 * max(1, min_area_px) else np.int64


def iter_frame_groups(shape: Sequence[int], block_px: int, n_blocks: int) -> Iterator[list[Block]]:
    """Yield the blocks of whole frames, of as many small frames at a time as have `n_blocks` blocks together.

    Args:
        shape: (t, 1, z, y, x) of the image.
        block_px: size of a block along y and x in pixels.
        n_blocks: number of blocks; a frame that has more comes alone.
    """
    frames, _, depth, *plane_shape = shape
    blocks_per_frame = len(split_planes([0], depth, plane_shape, block_px))
    step = max(1, n_blocks // blocks_per_frame)
    for first in range(0, frames, step):
        yield split_planes(range(first, min(first + step, frames)), depth, plane_shape, block_px)
