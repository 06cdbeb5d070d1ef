"""Measures the objects of imported masks, block by block."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from tessera.io.ome_zarr_store import read_block
from tessera.io.shards import ZarrArray, largest_block_px
from tessera.segmentation.blocks import add_margin, split_planes
from tessera.segmentation.blockwise_segmentation import PERIMETER_PX
from tessera.segmentation.object_table import MeasuredImage, tabulate
from tessera.segmentation.region_properties import measure_block, merge_sums

BLOCK_PX = 1024


def measure_masks(
    labels: ZarrArray, pixels: ZarrArray, image: MeasuredImage, frames: Sequence[int], class_: str
) -> Iterator[pa.Table]:
    """Yield the table of objects of each frame; an object of a stack is one object in all its planes.

    Args:
        labels: ids (t, 1, z, y, x).
        pixels: the image (t, c, z, y, x).
        image: the image's metadata.
        frames: frames to measure.
        class_: class name of the objects.
    """
    depth, *plane = image.shape
    side = largest_block_px(labels, BLOCK_PX)
    own = np.s_[PERIMETER_PX:-PERIMETER_PX, PERIMETER_PX:-PERIMETER_PX]
    for t in frames:
        sums = []
        for block in split_planes([t], depth, plane, side):
            window, inner = add_margin(block, PERIMETER_PX, plane)
            padding = [
                (PERIMETER_PX - span.start, PERIMETER_PX - (whole.stop - whole.start - span.stop))
                for span, whole in zip(inner, window, strict=True)
            ]
            ids = np.pad(read_block(labels, (t, 0, block.z, *window)), padding)
            intensities = read_block(pixels, (t, slice(None), block.z, block.rows, block.columns))
            sums.append(measure_block(ids, own, np.zeros_like(ids[own]), intensities, block))
        # An id may be disconnected, so objects are complete only after the whole frame.
        frame_sums = merge_sums(sums)
        table = tabulate(frame_sums, image, t=t, classes=[class_] * len(frame_sums["label"]))
        # Masks have no confidence, unlike the output of a network.
        column = image.schema.get_field_index("confidence")
        yield table.set_column(column, image.schema.field(column), pa.nulls(len(table), pa.float64()))
