"""Turn the predictions of a batch into labels, and measure each object.

Reads `results/predictions/{batch}` (uint8 probabilities, 255 = 1) and `results/images/{batch}`, both (t, c, z, y, x).
Writes `results/labels/{batch}/{image}.ome.zarr`: int32 ids of instances, unique over the image, or uint8 classes; and
`results/objects/{batch}.parquet`: a row per object. A z-stack is taken plane by plane, a cell has another id in each.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lib.batches import find_stores, make_stores
from lib.errors import InputError
from lib.instances import BACKGROUND, label_classes, separate
from lib.jobs import running
from lib.objects import join_tables, make_schema, make_table, measure, number_alike
from lib.stores import create_store, finish_labels, open_array, read_metadata

ROWS_PER_GROUP = 100_000
SECONDS_BETWEEN_REPORTS = 10


def segment_plane(probabilities, *, task, classes, min_area_px, **settings):
    """Labels and objects of one plane.

    Args:
        probabilities: uint8 (c, y, x), 255 = 1.
        task: instances or semantic.
        classes: names of the classes, background first.
        min_area_px: smaller objects are left out; of a class image they stay part, since it says what each pixel is.
        settings: the others of `lib.instances.separate`, which semantic labels do without.

    Returns:
        labels (y, x) int32 ids or uint8 classes; objects (y, x) int32 ids 1, 2, ...; the class name of each object;
        certainty (y, x) float32 from 0 to 1, that a pixel is foreground or of its class.
    """
    if task == "instances":
        ids = separate(probabilities, min_area_px=min_area_px, **settings)
        certainty = (255 - probabilities[BACKGROUND]).astype(np.float32) / 255
        return ids, ids, [classes[1]] * int(ids.max()), certainty
    labels = probabilities.argmax(0).astype(np.uint8)
    ids, of_class = label_classes(labels, min_area_px)
    return labels, ids, [classes[number] for number in of_class], probabilities.max(0).astype(np.float32) / 255


def segment_image(source, probable, path, table, *, name, task, classes, **settings):
    """Write the labels of one image to a new store at `path` and its objects to the Parquet file `table`.

    Args:
        source: store of the image.
        probable: store of its probabilities.
        path: where the store of labels is made.
        table: where the table of objects is made.
        name: of the image.
        task: instances or semantic.
        classes: names of the classes, background first.
        settings: the others of `segment`.

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
    sides = {"chunk_px": max(pixels.chunks[-2:]), "shard_px": max(pixels.shards[-2:])}
    labels = create_store(path, (frames, 1, depth, *plane), np.int32 if task == "instances" else np.uint8, **sides)
    channels = number_alike(metadata.channels)
    schema = make_schema(channels)
    count, waiting, reported = 0, [], time.monotonic()
    with pq.ParquetWriter(table, schema) as writer:
        for number, (t, z) in enumerate(np.ndindex(frames, depth), start=1):
            labelled, ids, of_class, certainty = segment_plane(
                probabilities[t, :, z], task=task, classes=classes, **settings
            )
            if task == "instances":
                labelled = np.where(ids, ids + count, 0)
            labels[t, 0, z] = labelled
            columns = measure(ids, certainty, dict(zip(channels, pixels[t, :, z], strict=True)))
            place = {"image": name, "t": t, "z": z, "classes": of_class, "first_label": count}
            waiting.append(make_table(columns, schema, pixel_um=metadata.pixel_um, **place))
            count += len(of_class)
            if sum(map(len, waiting)) >= ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting.clear()
            if time.monotonic() - reported >= SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                print(f"{name}: {number}/{frames * depth} planes, {count} objects", flush=True)
        writer.write_table(pa.concat_tables([schema.empty_table(), *waiting]))
    finish_labels(
        path,
        name=name,
        pixel_um=metadata.pixel_um,
        frame_s=metadata.frame_s,
        classes=classes if task == "semantic" else None,
    )
    print(f"{name}: {count} objects", flush=True)


def segment(predictions, images, recipes, output, objects, *, task, classes, **settings):
    """Write the labels of a batch of images to the folder `output`, their objects to the file `objects`.

    Args:
        predictions: folder of the batch of probabilities.
        images: folder of the batch of images.
        recipes: {image: digest of what its labels are made from}.
        output: folder of the batch of labels.
        objects: Parquet file.
        task: instances or semantic.
        classes: names of the classes, background first.
        settings: foreground, seed_interior, min_area_px and fill_holes, see `lib.instances.separate`.

    Raises:
        InputError: stores that are missing, damaged or do not fit.
    """
    sources = find_stores([images], recipes)
    probable = find_stores([predictions], sources)

    def make(image, path):
        # The table is kept beside the store, so that an interrupted job keeps both or neither.
        table = path.with_name(f"{image}.parquet")
        segment_image(sources[image], probable[image], path, table, name=image, task=task, classes=classes, **settings)

    make_stores({image: recipes[image] for image in probable}, make, output=output)
    tables = [Path(output) / f"{image}.parquet" for image in probable]
    join_tables(tables, objects)
    for table in Path(output).glob("*.parquet"):
        table.unlink()


if __name__ == "__main__":
    with running(snakemake):
        segment(
            predictions=snakemake.input.predictions,
            images=snakemake.input.images,
            recipes=snakemake.params.recipes,
            output=snakemake.output.labels,
            objects=snakemake.output.objects,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            **snakemake.params.settings,
        )
