"""Turn the predictions of a batch into labels, and measure each object.

Reads `results/predictions/{batch}` (uint8 probabilities, 255 = 1) and `results/images/{batch}`, both (t, c, z, y, x).
Writes `results/labels/{batch}/{image}.ome.zarr`: ids of instances, unique over the image, or uint8 classes; and
`results/objects/{batch}.parquet`: a row per object. Images are worked on block by block, and never whole in memory.
"""

from functools import partial
from tempfile import TemporaryDirectory

import numpy as np

from tessera.common.batch_outputs import find_stores, read_skipped
from tessera.common.errors import InputError
from tessera.common.job import running
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_block, read_metadata
from tessera.segmentation.blocks import gather, part_shard, within, work_through
from tessera.segmentation.blockwise_segmentation import (
    PERIMETER_PX,
    choose_type,
    cut_into_waves,
    find_objects,
    read_ids,
)
from tessera.segmentation.object_table import make_labels, make_schema, number_alike, tabulate, write_tables
from tessera.segmentation.region_properties import finish, measure_block, merge
from tessera.segmentation.seeded_growth import BACKGROUND, make_rules
from tessera.segmentation.semantic_components import likeliest

BLOCK_PX = 1024
WAVE = 128  # blocks of small frames whose objects are named at once


def segment_image(source, probable, path, table, *, name, task, classes, workers, roi, stitch_threshold, **settings):
    """Write the labels of one image to a new store at `path` and its objects to the Parquet file `table`.

    Args:
        source: store of the image.
        probable: store of its probabilities.
        path: where the store of labels is made.
        table: where the table of objects is made.
        name: of the image.
        roi: (y0, y1, x0, x1) that was looked at, None: all.
        task, classes, workers, stitch_threshold, settings: as of `segment`.

    Raises:
        InputError: the stores do not fit each other or the classes.
    """
    pixels, probabilities, metadata = open_array(source), open_array(probable), read_metadata(source)
    frames, outputs, depth, *plane = probabilities.shape
    if (frames, depth, *plane) != (pixels.shape[0], *pixels.shape[2:]):
        raise InputError(f"{probable}: {probabilities.shape} is not the size of the image, {pixels.shape}; remove it")
    expected = 3 if task == "instances" else len(classes)
    if outputs != expected:
        raise InputError(f"{probable}: has {outputs} outputs where {task} needs {expected}; train and predict again")
    rules = make_rules(name, metadata.pixel_size_um, **settings)
    shape = (frames, 1, depth, *plane)
    labels = create_store(path, shape, choose_type(task, shape, rules.min_area_px), **chunk_layout(pixels))
    side = part_shard(**chunk_layout(labels), most=BLOCK_PX)
    many = chunk_layout(labels)["shard_px"] // side
    joined = bool(depth > 1 and stitch_threshold)
    schema = make_schema(number_alike(metadata.channels))
    about = {"image": name, "pixel_size_um": metadata.pixel_size_um, "shape": shape[2:], "roi": roi, "joined": joined}

    def write_block(block, shard, found, scratch, named, count):
        window = read_ids(scratch, named, block, PERIMETER_PX)
        inner = np.s_[PERIMETER_PX:-PERIMETER_PX, PERIMETER_PX:-PERIMETER_PX]
        channels = (block.t, slice(None), *block.region[2:])
        chances = read_block(probabilities, channels)
        ids = window[inner]
        if task == "instances":
            found[within(block, shard)] = np.where(ids, ids + found.dtype.type(count), 0)
            certainty = 255 - chances[BACKGROUND]
        else:
            found[within(block, shard)] = likeliest(chances)
            certainty = chances.max(0)
        return measure_block(window, inner, certainty, read_block(pixels, channels), block)

    def write_shard(gathered, **told):
        shard, blocks = gathered
        found = np.empty([span.stop - span.start for span in (shard.rows, shard.columns)], labels.dtype)
        sums = merge([write_block(block, shard, found, **told) for block in blocks])
        labels[shard.region] = found
        return shard, sums

    def tabulated(scratch):
        count = 0
        for blocks in cut_into_waves(shape, side, WAVE):
            told = {
                "task": task,
                "rules": rules,
                "stitch_threshold": stitch_threshold,
                "workers": workers,
                "name": name,
            }
            named = find_objects(probabilities, scratch, blocks, **told)
            write = partial(write_shard, scratch=scratch, named=named, count=count)
            measured = work_through(write, gather(blocks, many), workers, f"{name}: {len(named.areas) - 1} objects")
            for t, sums in finish(measured, joined, plane):
                of_class = [classes[kind] for kind in named.kinds[sums["label"]]]
                yield tabulate(sums, schema, t=t, classes=of_class, first_label=count, **about)
            count += len(named.areas) - 1
        print(f"{name}: {count} objects", flush=True)

    with TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
        pieces = create_store(scratch, shape, np.int32, **chunk_layout(pixels) | {"shard_px": side})
        write_tables(table, schema, tabulated(pieces))
    sizes = {"pixel_size_um": metadata.pixel_size_um, "frame_interval_s": metadata.frame_interval_s}
    finish_labels(path, name=name, classes=classes if task == "semantic" else None, **sizes)


def segment(predictions, images, provenance, output, objects, *, task, classes, regions=None, **settings):
    """Write the labels of a batch of images to the folder `output`, their objects to the file `objects`.

    Args:
        predictions: folder of the batch of probabilities.
        images: folder of the batch of images.
        provenance: {image: digest of what its labels are made from}.
        output: folder of the batch of labels.
        objects: Parquet file.
        task: instances or semantic.
        classes: names of the classes, background first.
        regions: {image: its roi and frames}, of images that were not looked at in whole.
        settings: workers, threads of this job; stitch_threshold, see `tessera.segmentation.blockwise_segmentation.find_objects`; and those of
            `tessera.segmentation.seeded_growth.make_rules`.

    Raises:
        InputError: stores that are missing, damaged or do not fit.
    """
    sources = find_stores([images], provenance)
    probable = find_stores([predictions], sources)

    def make(image, path, table):
        told = {"name": image, "task": task, "classes": classes, "roi": (regions or {}).get(image, {}).get("roi")}
        segment_image(sources[image], probable[image], path, table, **told, **settings)

    provenance = {image: provenance[image] for image in probable}
    make_labels(provenance, make, output=output, objects=objects, before=read_skipped([predictions]))


if __name__ == "__main__":
    with running(snakemake):
        segment(
            predictions=snakemake.input.predictions,
            images=snakemake.input.images,
            provenance=snakemake.params.provenance,
            output=snakemake.output.labels,
            objects=snakemake.output.objects,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            regions=snakemake.params.regions,
            workers=snakemake.threads,
            **snakemake.params.settings,
        )
