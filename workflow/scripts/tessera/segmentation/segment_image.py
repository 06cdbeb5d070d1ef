"""Labels and objects of one image, written block by block."""

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray
from zarr.storage import ZipStore

from tessera.common.errors import InputError
from tessera.common.types import StrPath
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_block, read_metadata
from tessera.io.shards import ShardWriter, ZarrArray, largest_block_px
from tessera.segmentation.blocks import Block, group_blocks, map_blocks
from tessera.segmentation.blockwise_segmentation import (
    PERIMETER_PX,
    Method,
    choose_label_dtype,
    find_objects,
    iter_frame_groups,
    read_object_ids,
)
from tessera.segmentation.fragment_merging import ObjectMap
from tessera.segmentation.object_table import MeasuredImage, tabulate, write_tables
from tessera.segmentation.region_properties import Sums, iter_finished, measure_block, merge_sums
from tessera.segmentation.seeded_growth import BACKGROUND, make_rules
from tessera.segmentation.semantic_components import argmax_classes
from tessera.segmentation.thresholds import read_thresholds
from tessera.settings.sections import SegmentSettings

BLOCK_PX = 1024  # largest size of a block along y and x
BLOCKS_PER_GROUP = 128  # blocks of small frames whose objects are numbered together
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentationPlan:
    """How the images of a batch are segmented.

    Attributes:
        task: "instances" or "semantic".
        classes: names of the classes, background first.
        settings: section `segment`.
        workers: number of threads.
        block_px: largest size of a block along y and x in pixels. It changes no label and no object.
    """

    task: str
    classes: Sequence[str]
    settings: SegmentSettings
    workers: int = 1
    block_px: int = BLOCK_PX


class ImageSegmenter:
    """Segments one image.

    Args:
        source: store of the image.
        probabilities: store of its probabilities.
        name: of the image.
        plan: how the image is segmented.
        roi: (y0, y1, x0, x1), the region of interest; None: the whole image.

    Raises:
        InputError: the two stores differ in size, or do not fit the classes, or the pixel size is needed and unknown.
    """

    def __init__(
        self,
        source: StrPath,
        probabilities: StrPath,
        name: str,
        plan: SegmentationPlan,
        roi: Sequence[int] | None = None,
    ) -> None:
        self._pixels, self._probabilities = open_array(source), open_array(probabilities)
        self._metadata, self._name, self._plan = read_metadata(source), name, plan
        self._check(probabilities)
        rules = make_rules(name, self._metadata.pixel_size_um, plan.settings, read_thresholds(probabilities))
        if plan.task == "instances":
            logger.info(
                "%s: foreground above %g, seeds above %g, at least %d px",
                name, rules.foreground_threshold, rules.seed_threshold, rules.min_area_px,
            )  # fmt: skip
        stitch_threshold = plan.settings.stitch_threshold
        self._method = Method(plan.task, rules, stitch_threshold, plan.workers, name)
        frames, _, depth, *plane_shape = self._probabilities.shape
        self._shape = (frames, 1, depth, *plane_shape)
        self._image = MeasuredImage(
            name=name,
            shape=self._shape[2:],
            channels=self._metadata.channels,
            pixel_size_um=self._metadata.pixel_size_um,
            roi=roi,
            stitched=bool(depth > 1 and stitch_threshold),
        )

    def _check(self, probabilities: StrPath) -> None:
        image_shape, shape = self._pixels.shape, self._probabilities.shape
        if (shape[0], *shape[2:]) != (image_shape[0], *image_shape[2:]):
            raise InputError(f"{probabilities}: {shape} is not the size of the image, {image_shape}; remove the store")
        expected = 3 if self._plan.task == "instances" else len(self._plan.classes)
        if shape[1] != expected:
            raise InputError(
                f"{probabilities}: has {shape[1]} outputs, but task {self._plan.task} needs {expected}; train and "
                "predict again"
            )

    def write(self, path: Path, table: StrPath) -> None:
        """Write the labels to a new store at `path`, and the objects to the Parquet file `table`.

        Raises:
            InputError: a store is damaged.
        """
        dtype = choose_label_dtype(self._plan.task, self._shape, self._method.rules.min_area_px)
        labels = create_store(path, self._shape, dtype, **chunk_layout(self._pixels))
        block_px = largest_block_px(labels, self._plan.block_px)
        with TemporaryDirectory(dir=path.parent, prefix=".") as folder, _scratch_store(Path(folder)) as store:
            scratch = zarr.create_array(store, shape=self._shape, dtype=np.int32, chunks=labels.chunks)
            write_tables(table, self._image.schema, self._iter_tables(labels, scratch, block_px))
        finish_labels(
            path,
            name=self._name,
            classes=self._plan.classes if self._plan.task == "semantic" else None,
            pixel_size_um=self._metadata.pixel_size_um,
            frame_interval_s=self._metadata.frame_interval_s,
        )

    def _iter_tables(self, labels: "zarr.Array[Any]", scratch: "zarr.Array[Any]", block_px: int) -> Iterator[pa.Table]:
        """Find, write and measure the objects of some frames at a time; yield the rows of finished objects."""
        first_label = 0
        with ShardWriter(labels) as writer:
            for blocks in iter_frame_groups(self._shape, block_px, BLOCKS_PER_GROUP):
                objects = find_objects(self._probabilities, scratch, blocks, self._method)
                found = _FoundObjects(scratch, objects, first_label, labels.dtype)
                measured = self._write_shards(writer, found, group_blocks(blocks, _blocks_per_shard(labels, block_px)))
                for t, sums in iter_finished(measured, self._image.stitched, self._shape[3:]):
                    classes = [self._plan.classes[kind] for kind in objects.kinds[sums["label"]]]
                    yield tabulate(sums, self._image, t=t, classes=classes, first_label=first_label)
                first_label += objects.n_objects
        logger.info("%s: %d objects", self._name, first_label)

    def _write_shards(
        self, writer: ShardWriter, found: "_FoundObjects", shards: Sequence[tuple[Block, list[Block]]]
    ) -> Iterator[tuple[Block, Sums]]:
        """Write the labels of some planes; yield (part of a plane in one shard, sums over the pixels of its objects).

        Several threads work on the blocks of a shard, so that only one shard is in memory.
        """
        blocks = [block for _, group in shards for block in group]
        label = f"{self._name}: writing {found.objects.n_objects} objects"
        results = map_blocks(partial(self._measure, found), blocks, self._plan.workers, label)
        for shard, group in shards:
            sums = []
            for block, (labels, sums_of_block) in zip(group, results, strict=False):
                writer.write(block.slices, labels[None, None, None])
                sums.append(sums_of_block)
            yield shard, merge_sums(sums)

    def _measure(self, found: "_FoundObjects", block: Block) -> tuple[NDArray[np.integer], Sums]:
        """Labels (y, x) of a block, and sums over the pixels of its objects."""
        window = read_object_ids(found.scratch, found.objects, block, PERIMETER_PX)
        inner = np.s_[PERIMETER_PX:-PERIMETER_PX, PERIMETER_PX:-PERIMETER_PX]
        channels = (block.t, slice(None), *block.region[2:])
        probabilities = read_block(self._probabilities, channels)
        sums = measure_block(
            window, inner, self._confidence_of(probabilities), read_block(self._pixels, channels), block
        )
        return self._labels_of(window[inner], probabilities, found), sums

    def _labels_of(
        self, ids: NDArray[np.int32], probabilities: NDArray[np.uint8], found: "_FoundObjects"
    ) -> NDArray[np.integer]:
        """Labels (y, x) of a block: ids that are unique in the image, or classes."""
        if self._plan.task == "semantic":
            return argmax_classes(probabilities)
        return np.where(ids, ids + found.dtype.type(found.first_label), 0)

    def _confidence_of(self, probabilities: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Probability (y, x), 255 = 1, of the foreground or of the most probable class."""
        highest: NDArray[np.uint8] = probabilities.max(0)
        return 255 - probabilities[BACKGROUND] if self._plan.task == "instances" else highest


@dataclass(frozen=True)
class _FoundObjects:
    """The objects of some frames.

    Attributes:
        scratch: array (t, 1, z, y, x) as `find_objects` leaves it.
        objects: its result.
        first_label: number of objects in earlier frames.
        dtype: of the labels.
    """

    scratch: ZarrArray
    objects: ObjectMap
    first_label: int
    dtype: np.dtype[Any]


@contextlib.contextmanager
def _scratch_store(folder: Path) -> Iterator[ZipStore]:
    """A store in one file for an array of which each chunk is written once, by any thread."""
    store = ZipStore(folder / "scratch.zip", mode="w")
    try:
        yield store
    finally:
        store.close()


def _blocks_per_shard(array: ZarrArray, block_px: int) -> tuple[int, int]:
    """Number of blocks of a shard along y and x."""
    high, wide = (math.ceil(side / block_px) for side in (array.shards or array.chunks)[-2:])
    return high, wide
