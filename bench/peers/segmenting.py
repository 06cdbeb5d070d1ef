"""This pipeline's rule segment, and its parts alone: labelling, and measuring."""

import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from cells import BLOCK_PX, CLASSES
from tasks import answer

from segment import segment
from tessera.io.ome_zarr_store import create_store, open_array
from tessera.segmentation.blocks import add_margin, map_blocks, split_planes
from tessera.segmentation.blockwise_segmentation import PERIMETER_PX, Method, find_objects, read_object_ids
from tessera.segmentation.object_table import MeasuredImage, tabulate, write_tables
from tessera.segmentation.region_properties import iter_finished, measure_block
from tessera.segmentation.seeded_growth import make_rules, segment_plane
from tessera.segmentation.segment_image import SegmentationPlan
from tessera.settings.sections import SegmentSettings

CONFIGURATION = Path(__file__).resolve().parents[2] / "config" / "config.yaml"
SETTINGS = SegmentSettings.model_validate(yaml.safe_load(CONFIGURATION.read_text())["segment"])


def label(folder, workers):
    """Connected pieces of the class "cell", from a store of probabilities to a store of ids."""
    shutil.rmtree(folder / "pieces", ignore_errors=True)
    started = time.monotonic()
    probabilities = open_array(folder / "classes" / "cells.ome.zarr")
    shape = (1, 1, 1, *probabilities.shape[3:])
    scratch, ids = (
        create_store(folder / "pieces" / name, shape, np.int32, shard_px=2048) for name in ("scratch", "ids")
    )
    blocks = split_planes([0], 1, shape[3:], max(ids.shards[-2:]))
    rules = make_rules("cells", (None, None, None), SETTINGS.model_copy(update={"min_area_px": 0}))
    objects = find_objects(probabilities, scratch, blocks, Method("semantic", rules, workers=workers, name="cells"))

    def write(block):
        ids[block.region] = read_object_ids(scratch, objects, block, 0)

    for _ in map_blocks(write, blocks, workers, "writing"):
        pass
    return {"seconds": time.monotonic() - started, "objects": objects.n_objects}


def segment_whole(folder, workers):
    """The rule: cells parted, labels with pyramid, table of objects."""
    output, table = folder / "labels", folder / "objects.parquet"
    shutil.rmtree(output, ignore_errors=True)
    started = time.monotonic()
    segment(
        folder / "predictions", folder / "images", {"cells": "bench"}, output, table,
        plan=SegmentationPlan("instances", CLASSES, SETTINGS, workers),
    )  # fmt: skip
    return {"seconds": time.monotonic() - started, "objects": pq.read_metadata(table).num_rows}


def measure(folder, workers):
    """Ten properties and more of each object of a store of labels, to a table."""
    labels = open_array(folder / "labels" / "cells.ome.zarr")
    probabilities, pixels = (open_array(folder / kind / "cells.ome.zarr") for kind in ("predictions", "images"))
    plane = labels.shape[3:]
    started = time.monotonic()

    def work(block):
        window, _ = add_margin(block, PERIMETER_PX, plane)
        missing = [(PERIMETER_PX - span.start + part.start, PERIMETER_PX + span.stop - part.stop)
                   for part, span in zip(window, (block.rows, block.columns), strict=True)]  # fmt: skip
        ids = np.pad(labels[(0, 0, 0, *window)], missing)
        inner = np.s_[PERIMETER_PX:-PERIMETER_PX, PERIMETER_PX:-PERIMETER_PX]
        confidence = probabilities[(0, 1, 0, *block.region[3:])]
        return block, measure_block(ids, inner, confidence, pixels[(0, slice(None), 0, *block.region[3:])], block)

    measured = map_blocks(work, split_planes([0], 1, plane, BLOCK_PX), workers, "measuring")
    image = MeasuredImage("cells", (1, *plane), ["dna"], (None, 0.5, 0.5))
    path = folder / "measured.parquet"
    write_tables(path, image.schema, (
        tabulate(sums, image, t=t, classes=["cell"] * len(sums["label"]))
        for t, sums in iter_finished(measured, False, plane)
    ))  # fmt: skip
    return {"seconds": time.monotonic() - started, "objects": pq.read_metadata(path).num_rows}


def compare(folder, workers):
    """Whether the labels are those of the whole plane at once."""
    whole = segment_plane(open_array(folder / "predictions" / "cells.ome.zarr")[0, :, 0], SETTINGS)
    return {"same": bool(np.array_equal(whole, open_array(folder / "labels" / "cells.ome.zarr")[0, 0, 0]))}


def run(folder, part, workers=1):
    parts = {"label": label, "segment": segment_whole, "measure": measure, "compare": compare}
    return parts[part](Path(folder), workers)


if __name__ == "__main__":
    answer(run)
