"""Import masks that were made elsewhere as the labels of a batch, and measure each object.

Reads masks in the formats of annotations, and `results/images/{batch}`, stores (t, c, z, y, x).
Writes `results/labels/{batch}/{image}.ome.zarr`, int32 (t, 1, z, y, x), with the ids of the masks; and
`results/objects/{batch}.parquet`: a row per object and frame.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tessera.common.batch_outputs import find_stores
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.common.user_warnings import warn_user
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.annotation_reader import open_annotation
from tessera.io.label_ids import as_instances, copy_labels, split_disconnected_labels
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_metadata
from tessera.io.region_of_interest import Region, check_roi, mask_outside_roi, select_frames
from tessera.segmentation.mask_measurement import measure_masks
from tessera.segmentation.object_table import MeasuredImage, make_labels, write_tables
from tessera.settings.sections import IngestTruthSettings


def import_mask(
    row: Mapping[str, Any],
    image: Path,
    path: Path,
    table: Path,
    *,
    class_: str,
    settings: IngestTruthSettings,
    region: Region,
) -> None:
    """Write the labels of one image to a new store at `path` and its objects to the Parquet file `table`.

    Args:
        row: dict with `image` (name), `masks_files` (paths), `axes` (of the image's file), and `files` (of the image,
            if its frame numbers must be compared).
        image: store of the image.
        path, table: outputs.
        class_: class name of the objects.
        settings: section `ingest_truth`; pixels with its `ignore_label` are background here.
        region: part of the image to import; all other pixels are background.

    Raises:
        InputError: the masks cannot be read, are not ids, or do not fit the image.
    """
    name, masks = row["image"], ", ".join(row["masks_files"][:1])
    pixels, metadata = open_array(image), read_metadata(image)
    roi, ignore_label = region.get("roi"), settings.ignore_label
    kind = LabelKind("instances", ("background", class_), settings.colors, settings.outlines)
    files = row.get("files", ())
    check_roi(name, roi, pixels.shape[-2:])
    frames = select_frames(name, region.get("frames"), pixels.shape[0])
    with open_annotation(
        row["masks_files"], pixels.shape, row["axes"], ignore_label, frames=frames, image_files=files, kind=kind
    ) as annotation:
        source = replace(annotation.source, read=mask_outside_roi(annotation.source.read, set(frames), roi))
        labels = create_store(path, source.shape, np.int32, **chunk_layout(pixels), by_rows=not source.tiled)
        certain = annotation.one_object_per_mask or annotation.drawn
        marks = dict.fromkeys([NOT_ANNOTATED] if certain or ignore_label is None else [NOT_ANNOTATED, ignore_label], 0)
        ids = copy_labels(source, labels, masks, to_ids=as_instances, marks=marks, instances=not certain) - {0}
        warnings = list(source.warnings)
    if annotation.annotated_t is not None and (empty := set(frames) - set(annotation.annotated_t)):
        warnings.append(f"contain {len(frames) - len(empty)} of {len(frames)} frames; the others are empty")
    if not ids:
        warnings.append("contain no object")
    elif settings.disconnected_labels == "split":
        added = split_disconnected_labels(labels, max(ids), masks)
        warnings += [f"have disconnected labels; {added} of their components got new ids"] if added else []
    elif len(ids) == 1 and not certain:
        warnings.append(
            f"have the single id {min(ids)}; if each connected component is a cell, set "
            "ingest_truth.disconnected_labels to split"
        )
    for text in warnings:
        warn_user(name, f"masks {text}")
    measured = MeasuredImage(
        name=name,
        shape=pixels.shape[2:],
        channels=metadata.channels,
        pixel_size_um=metadata.pixel_size_um,
        roi=roi,
        stitched=pixels.shape[2] > 1,
    )
    write_tables(table, measured.schema, measure_masks(labels, pixels, measured, frames, class_))
    finish_labels(path, name=name, pixel_size_um=metadata.pixel_size_um, frame_interval_s=metadata.frame_interval_s)


def import_masks(
    rows: Sequence[Mapping[str, Any]],
    images: StrPath,
    provenance: Mapping[str, str],
    output: StrPath,
    objects: StrPath,
    *,
    classes: Sequence[str],
    settings: IngestTruthSettings,
    on_bad_image: str = "fail",
    regions: Mapping[str, Region] | None = None,
) -> None:
    """Write the labels of a batch of images to the folder `output` and their objects to the Parquet file `objects`.

    Args:
        rows: see `import_mask`.
        images: folder of the batch's image stores.
        provenance: {image: provenance hash of its labels}.
        output: folder of the batch of labels.
        objects: Parquet file.
        classes: names of the classes, background first.
        settings: section `ingest_truth`.
        on_bad_image: "fail" or "skip" invalid masks.
        regions: {image: its region}, of images of which only a part is analyzed.

    Raises:
        InputError: a line for every image with invalid masks, unless such images are skipped.
    """
    by_image = {row["image"]: row for row in rows}
    sources = find_stores([images], provenance)

    def make(image: str, path: Path, table: Path) -> None:
        region = (regions or {}).get(image, {})
        import_mask(by_image[image], sources[image], path, table, class_=classes[1], settings=settings, region=region)

    provenance = {image: provenance[image] for image in sources}
    make_labels(provenance, make, output=output, objects=objects, skip_bad_images=on_bad_image == "skip")


if __name__ == "__main__":
    with running(snakemake):
        import_masks(
            rows=snakemake.params.rows,
            images=snakemake.input.images,
            provenance=snakemake.params.provenance,
            output=snakemake.output.labels,
            objects=snakemake.output.objects,
            classes=snakemake.params.classes,
            settings=IngestTruthSettings.model_validate(snakemake.params.settings),
            # It does not change the labels, so it is not a parameter.
            on_bad_image=snakemake.config["ingest"]["on_bad_image"],
            regions=snakemake.params.regions,
        )
