"""Converts one annotation to a label store that fits its image."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from tessera.common.errors import InputError
from tessera.common.types import Shape5D
from tessera.common.user_warnings import warn_user
from tessera.io.annotation import NOT_ANNOTATED, Annotation, LabelKind
from tessera.io.annotation_reader import open_annotation
from tessera.io.label_ids import as_instances, class_converter, copy_labels, split_disconnected_labels
from tessera.io.ome_zarr_store import chunk_layout, create_store, finish_labels, open_array, read_metadata
from tessera.io.region_of_interest import Region, check_roi, mask_outside_roi, select_frames
from tessera.settings.sections import IngestTruthSettings


def ingest_annotation(
    row: Mapping[str, Any], image: Path, path: Path, kind: LabelKind, settings: IngestTruthSettings, region: Region
) -> None:
    """Write the label store of one row of the table.

    Args:
        row: see `ingest_truth.ingest_truth`.
        image: store of the annotated image.
        path: the store to write.
        kind: what the labels mean.
        settings: section `ingest_truth`.
        region: part of the image to analyze; pixels outside count as not annotated.

    Raises:
        InputError: the annotation is unreadable or invalid, or does not fit the image.
    """
    name, truth = row["image"], ", ".join(row["truth_files"][:1])
    array, metadata = open_array(image), read_metadata(image)
    roi, frames, ignore_label = region.get("roi"), region.get("frames"), settings.ignore_label
    separate = settings.disconnected_labels == "split" and not kind.semantic
    shape = cast(Shape5D, array.shape)
    check_roi(name, roi, shape[-2:])
    selected = select_frames(name, frames, shape[0])
    with open_annotation(
        row["truth_files"],
        shape,
        row["axes"],
        ignore_label,
        frames=selected,
        image_files=row.get("files", ()),
        kind=kind,
    ) as annotation:
        if separate and annotation.lineage is not None:
            raise InputError(
                f"{truth}: has tracks, so its disconnected labels cannot be split; set "
                "ingest_truth.disconnected_labels to keep"
            )
        source = annotation.source
        if roi or frames:
            source = replace(source, read=mask_outside_roi(source.read, set(selected), roi, NOT_ANNOTATED))
        dtype = np.uint8 if kind.semantic else np.int32
        store = create_store(path, source.shape, dtype, **chunk_layout(array), by_rows=not source.tiled)
        to_ids = class_converter(kind.classes, annotation.one_object_per_mask) if kind.semantic else as_instances
        marks = {NOT_ANNOTATED: kind.unknown}
        certain = annotation.one_object_per_mask or annotation.drawn
        if ignore_label is not None and not certain:
            marks[ignore_label] = kind.unknown
        instances = not (kind.semantic or certain)
        ids = copy_labels(source, store, truth, to_ids=to_ids, marks=marks, instances=instances)
        warnings = list(source.warnings)
    objects = ids - {0, kind.unknown}
    if not objects and 0 not in ids:
        only = "regions to be ignored" if certain else f"{ignore_label}, which is ingest_truth.ignore_label"
        raise InputError(
            f"{truth}: has only {only}; annotate objects or background, or clear the column truth of {name}"
        )
    if not objects:
        what = "background" if kind.semantic else "background and no object"
        warnings.append(f"has only {what}, so the image counts as empty; if it shows cells, annotate them")
    elif separate:
        added = split_disconnected_labels(store, max(objects), truth)
        warnings += [f"has disconnected labels; {added} of their components got new ids"] if added else []
    elif not kind.semantic and len(objects) == 1 and not certain:
        warnings.append(
            "has a single id; if each connected component is an object, set ingest_truth.disconnected_labels to split"
        )
    finish_labels(
        path,
        name=name,
        pixel_size_um=metadata.pixel_size_um,
        frame_interval_s=metadata.frame_interval_s,
        classes=kind.classes if kind.semantic else None,
        unknown=kind.unknown if kind.unknown in ids else None,
        extra=_list_extra(annotation, selected if frames else None),
    )
    for text in warnings:
        warn_user(name, f"truth {text}")


def _list_extra(annotation: Annotation, selected: list[int] | None) -> dict[str, Any]:
    """Return metadata of an annotation: its annotated frames and its lineage, if they are known."""
    annotated = annotation.annotated_t
    if selected is not None:
        annotated = [t for t in selected if annotated is None or t in annotated]
    extra = {"annotated_t": annotated, "lineage": annotation.lineage}
    return {key: value for key, value in extra.items() if value is not None}
