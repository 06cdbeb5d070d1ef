"""Take masks that were made elsewhere for the labels of a batch, and measure each object.

Reads masks in the forms of annotations, and `results/images/{batch}`, stores (t, c, z, y, x).
Writes `results/labels/{batch}/{image}.ome.zarr`, int32 (t, 1, z, y, x), with the ids that the masks have; and
`results/objects/{batch}.parquet`: a row per object and frame.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from tessera.common.batch_outputs import find_stores
from tessera.common.job import running
from tessera.common.user_warnings import warn_user
from tessera.io.annotation_reader import open_annotation
from tessera.io.label_ids import as_instances, copy_labels, split_disconnected_labels
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_block, read_metadata
from tessera.io.region_of_interest import check_roi, mask_outside_roi, select_frames
from tessera.segmentation.blocks import add_margin, choose_block_px, split_planes
from tessera.segmentation.blockwise_segmentation import PERIMETER_PX
from tessera.segmentation.object_table import MeasuredImage, make_labels, tabulate, write_tables
from tessera.segmentation.region_properties import measure_block, merge_sums

BLOCK_PX = 1024


def import_mask(
    row, image, path, table, *, class_, disconnected_labels="keep", ignore_label=None, roi=None, frames=None
):
    """Write the labels of one image to a new store at `path` and its objects to the Parquet file `table`.

    Args:
        row: dict with `image` (name), `masks_files` (paths), `axes` (of the image's file) and `files` (of the image,
            where its numbers are to be compared).
        image: path of its store.
        path, table: where these are made.
        class_: name of the objects' class.
        disconnected_labels: "split" gives each piece of an id one of its own, "keep" does not.
        ignore_label: the value of pixels that nobody annotated, which are background here; None: there are none.
        roi, frames: what to keep, see `tessera.io.region_of_interest`; all else is background.

    Raises:
        InputError: the masks cannot be read, are no ids, or do not fit the image.
    """
    name, masks = row["image"], ", ".join(row["masks_files"][:1])
    pixels, metadata = open_array(image), read_metadata(image)
    check_roi(name, roi, pixels.shape[-2:])
    kept = select_frames(name, frames, pixels.shape[0])
    told = {"axes": row["axes"], "ignore_label": ignore_label, "frames": kept, "image": row.get("files", ())}
    with open_annotation(row["masks_files"], pixels.shape, **told) as annotation:
        source = replace(annotation.source, read=mask_outside_roi(annotation.source.read, set(kept), roi))
        labels = create_store(path, source.shape, np.int32, **chunk_layout(pixels))
        marks = {} if annotation.objects or ignore_label is None else {ignore_label: 0}
        ids = copy_labels(source, labels, masks, to_ids=as_instances, marks=marks) - {0}
        warnings = list(source.warnings)
    if annotation.annotated_t is not None and (empty := set(kept) - set(annotation.annotated_t)):
        warnings.append(f"is of {len(kept) - len(empty)} of {len(kept)} frames; the others are empty")
    if not ids:
        warnings.append("holds no object")
    elif disconnected_labels == "split":
        apart = split_disconnected_labels(labels, max(ids), masks)
        warnings += [f"had {apart} pieces that got ids of their own"] if apart else []
    elif len(ids) == 1 and not annotation.objects:
        warnings.append(
            f"has the single id {min(ids)}; if each of its pieces is a cell, set ingest_truth.disconnected_labels to split"
        )
    for text in warnings:
        warn_user(name, f"the file of masks {text}")
    shape = pixels.shape[2:]
    measured = MeasuredImage(
        name=name,
        shape=shape,
        channels=metadata.channels,
        pixel_size_um=metadata.pixel_size_um,
        roi=roi,
        stitched=shape[0] > 1,
    )
    write_tables(table, measured.schema, _measure(labels, pixels, measured, kept, class_))
    finish_labels(path, name=name, pixel_size_um=metadata.pixel_size_um, frame_interval_s=metadata.frame_interval_s)


def _measure(labels, pixels, image, frames, class_):
    """Yield the table of objects of each of `frames`; an object of a stack is one through its planes."""
    shape, schema = image.shape, image.schema
    side = choose_block_px(**chunk_layout(labels), max_px=BLOCK_PX)
    for t in frames:
        sums = []
        for block in split_planes([t], shape[0], shape[1:], side):
            window, inner = add_margin(block, PERIMETER_PX, shape[1:])
            around = [
                (PERIMETER_PX - span.start, PERIMETER_PX - (whole.stop - whole.start - span.stop))
                for span, whole in zip(inner, window, strict=True)
            ]
            ids = np.pad(read_block(labels, (t, 0, block.z, *window)), around)
            own = np.s_[PERIMETER_PX:-PERIMETER_PX, PERIMETER_PX:-PERIMETER_PX]
            seen = read_block(pixels, (t, slice(None), block.z, block.rows, block.columns))
            sums.append(measure_block(ids, own, np.zeros_like(ids[own]), seen, block))
        sums = merge_sums(sums)
        # An id may be in several pieces, so that no object is whole before its frame is.
        found = tabulate(sums, image, t=t, classes=[class_] * len(sums["label"]))
        # Networks are more or less confident; masks do not say.
        place = schema.get_field_index("confidence")
        yield found.set_column(place, schema.field(place), pa.nulls(len(found), pa.float64()))


def import_masks(rows, images, provenance, output, objects, *, classes, on_bad_image="fail", regions=None, **settings):
    """Write the labels of a batch of images to the folder `output`, their objects to the file `objects`.

    Args:
        rows: see `import_mask`.
        images: folder of the batch of images.
        provenance: {image: digest of what its labels are made from}.
        output: folder of the batch of labels.
        objects: Parquet file.
        classes: names of the classes, background first.
        on_bad_image: "fail" or "skip" masks that make no sense.
        regions: {image: its roi and frames}, of images that are not looked at in whole.
        settings: disconnected_labels and ignore_label, see `import_mask`.

    Raises:
        InputError: a line for every image whose masks make no sense, unless they are set aside.
    """
    by_image = {row["image"]: row for row in rows}
    sources = find_stores([images], provenance)

    def make(image, path, table):
        region = (regions or {}).get(image, {})
        import_mask(by_image[image], sources[image], path, table, class_=classes[1], **region, **settings)

    provenance = {image: provenance[image] for image in sources}
    make_labels(provenance, make, output=output, objects=objects, skipped=on_bad_image == "skip")


if __name__ == "__main__":
    with running(snakemake):
        import_masks(
            rows=snakemake.params.rows,
            images=snakemake.input.images,
            provenance=snakemake.params.provenance,
            output=snakemake.output.labels,
            objects=snakemake.output.objects,
            classes=snakemake.params.classes,
            on_bad_image=snakemake.config["ingest"][
                "on_bad_image"
            ],  # no parameter, since it changes nothing that is made
            regions=snakemake.params.regions,
            **snakemake.params.settings,
        )
