"""Convert annotations to OME-Zarr labels that fit their images.

Reads image stores and annotations in any of the formats of `tessera.io.annotation_reader`.
Writes one label store per annotated image, (t, 1, z, y, x): int32 ids (instances) or uint8 classes (semantic). Pixels
that nobody annotated are UNKNOWN or IGNORE.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tessera.common.batch_outputs import find_stores, make_stores, read_skipped
from tessera.common.errors import InputError
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.io.ingest_annotation import LabelKind, ingest_annotation
from tessera.io.region_of_interest import Region
from tessera.settings.sections import IngestTruthSettings


def ingest_truth(
    rows: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, str],
    images: StrPath,
    output: StrPath,
    *,
    task: str,
    classes: Sequence[str],
    on_bad_image: str,
    settings: IngestTruthSettings,
    regions: Mapping[str, Region] | None = None,
) -> None:
    """Write the label stores of the annotated images of a batch.

    Args:
        rows: dicts with `image` (name), `truth_files` (paths), `axes` (of the image's file), and `files` (of the image,
            if its frame numbers must be compared).
        provenance: {image: provenance hash} of the annotated images.
        images: folder of the batch's image stores.
        output: folder for `{image}.ome.zarr`, `skipped.json` and `warnings.json`.
        task: "instances" or "semantic".
        classes: names of the classes, background first.
        on_bad_image: "fail" or "skip" invalid annotations.
        settings: section `ingest_truth`.
        regions: {image: its region}; pixels outside count as not annotated.

    Raises:
        InputError: a line for every invalid annotation, unless such images are skipped.
    """
    by_image = {row["image"]: row for row in rows}
    reasons = read_skipped([images])
    kind = LabelKind(task, tuple(classes), settings.colors, settings.outlines)

    def make(image: str, path: Path) -> None:
        if image in reasons:
            raise InputError(f"{image}: has no ground truth, since the image was skipped ({reasons[image]})")
        store = find_stores([images], [image])[image]
        ingest_annotation(by_image[image], store, path, kind, settings, (regions or {}).get(image, {}))

    make_stores(provenance, make, output=output, skip_bad_images=on_bad_image == "skip")


if __name__ == "__main__":
    with running(snakemake):
        ingest_truth(
            rows=snakemake.params.rows,
            provenance=snakemake.params.provenance,
            images=snakemake.input.images,
            output=snakemake.output.truth,
            task=snakemake.params.task,
            classes=snakemake.params.classes,
            # It does not change the labels, so it is not a parameter.
            on_bad_image=snakemake.config["ingest"]["on_bad_image"],
            settings=IngestTruthSettings.model_validate(snakemake.params.settings),
            regions=snakemake.params.regions,
        )
