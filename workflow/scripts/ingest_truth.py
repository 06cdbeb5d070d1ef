"""Turn annotations into OME-Zarr labels that fit their images.

Reads image stores and instance images, class images, one mask per object, frames, or Cell Tracking Challenge folders.
Writes one label store per annotated image, (t, 1, z, y, x): int32 ids (instances) or uint8 classes (semantic), in which
pixels that nobody annotated are UNKNOWN or IGNORE.
"""

from dataclasses import replace

import numpy as np

from tessera.common.batch_outputs import find_stores, make_stores, read_skipped
from tessera.common.constants import IGNORE, UNKNOWN
from tessera.common.errors import InputError
from tessera.common.job import running
from tessera.common.user_warnings import warn_user
from tessera.io.annotation_reader import open_annotation
from tessera.io.label_ids import as_instances, class_converter, copy_labels, split_disconnected_labels
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_metadata
from tessera.io.region_of_interest import check_roi, mask_outside_roi, select_frames

OUTSIDE = -(2**40)  # what no file holds as an id: pixels that the table does not look at


def ingest_truth(
    rows,
    provenance,
    images,
    output,
    *,
    task,
    classes,
    on_bad_image,
    disconnected_labels,
    ignore_label=None,
    regions=None,
):
    """Make the truth stores of a batch.

    Args:
        rows: dicts with `image` (name), `truth_files` (paths), `axes` (of the image's file) and `files` (of the image,
            where its numbers are to be compared), of annotated images.
        provenance: {image: provenance digest} of the annotated images.
        images: folder of the batch's image stores.
        output: folder for `{image}.ome.zarr`, `skipped.json` and `warnings.json`.
        task: "instances" or "semantic".
        classes: names of the classes, background first.
        on_bad_image: "fail" or "skip" annotations that make no sense.
        disconnected_labels: "keep" ids that lie in several pieces, or "split" them into one id per piece.
        ignore_label: the value of pixels that nobody annotated, where one mask does not show one object; None: all are.
        regions: {image: its roi and frames}, see `tessera.io.region_of_interest`; what lies outside counts as not annotated.

    Raises:
        InputError: a line for every annotation that makes no sense, unless they are set aside.
    """
    by_image = {row["image"]: row for row in rows}
    reasons = read_skipped([images])

    def make(image, path):
        if image in reasons:
            raise InputError(f"{image}: has no truth, since the image was set aside ({reasons[image]})")
        stored = find_stores([images], [image])[image]
        told = {
            "task": task,
            "classes": classes,
            "disconnected_labels": disconnected_labels,
            "ignore_label": ignore_label,
        }
        annotate_image(by_image[image], stored, path, **told, **(regions or {}).get(image, {}))

    make_stores(provenance, make, output=output, skipped=on_bad_image == "skip")


def annotate_image(row, image, path, *, task, classes, disconnected_labels, ignore_label, roi=None, frames=None):
    """Make the truth store of one row of the table at `path`, to fit the image store at `image`."""
    name, truth = row["image"], ", ".join(row["truth_files"][:1])
    array, metadata = open_array(image), read_metadata(image)
    semantic = task == "semantic"
    mark = IGNORE if semantic else UNKNOWN
    check_roi(name, roi, array.shape[-2:])
    kept = select_frames(name, frames, array.shape[0])
    told = {"axes": row["axes"], "ignore_label": ignore_label, "frames": kept, "image": row.get("files", ())}
    with open_annotation(row["truth_files"], array.shape, **told) as annotation:
        if not semantic and disconnected_labels == "split" and annotation.lineage is not None:
            raise InputError(
                f"{truth}: has tracks, whose pieces cannot be separated; set ingest_truth.disconnected_labels to keep"
            )
        source = annotation.source
        if roi or frames:
            source = replace(source, read=mask_outside_roi(source.read, set(kept), roi, OUTSIDE))
        store = create_store(path, source.shape, np.uint8 if semantic else np.int32, **chunk_layout(array))
        to_ids = class_converter(classes, annotation.objects) if semantic else as_instances
        marks = {OUTSIDE: mark} | ({} if annotation.objects or ignore_label is None else {ignore_label: mark})
        ids = copy_labels(source, store, truth, to_ids=to_ids, marks=marks)
        warnings = list(source.warnings)
    unknown = mark in ids
    if not ids - {0, mark}:
        what = (
            "background only"
            if 0 in ids
            else f"only {ignore_label}, which ingest_truth.ignore_label says that nobody annotated"
        )
        raise InputError(f"{truth}: holds {what}; annotate it, or empty the column truth of {name}")
    ids -= {0, mark}
    if not semantic and disconnected_labels == "split":
        apart = split_disconnected_labels(store, max(ids), truth)
        warnings += [f"had {apart} pieces that got ids of their own"] if apart else []
    elif not semantic and len(ids) == 1 and not annotation.objects:
        warnings.append(
            "has a single id; if each of its pieces is an object, set ingest_truth.disconnected_labels to split"
        )
    annotated_t = annotation.annotated_t
    if frames:
        annotated_t = [t for t in kept if annotated_t is None or t in annotated_t]
    extra = {"annotated_t": annotated_t, "lineage": annotation.lineage}
    finish_labels(
        path,
        name=name,
        pixel_size_um=metadata.pixel_size_um,
        frame_interval_s=metadata.frame_interval_s,
        classes=classes if semantic else None,
        unknown=mark if unknown else None,
        extra={key: value for key, value in extra.items() if value is not None},
    )
    for text in warnings:
        warn_user(name, f"truth {text}")


if __name__ == "__main__":
    with running(snakemake):
        ingest_truth(
            rows=snakemake.params.rows,
            provenance=snakemake.params.provenance,
            images=snakemake.input.images,
            output=snakemake.output.truth,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            regions=snakemake.params.regions,
            on_bad_image=snakemake.config["ingest"][
                "on_bad_image"
            ],  # no parameter, since it changes nothing that is made
            **snakemake.params.settings,
        )
