"""Turn the predictions of a batch into labels, and measure each object.

Reads `results/predictions/{batch}` (uint8 probabilities, 255 = 1) and `results/images/{batch}`, both (t, c, z, y, x).
Writes `results/labels/{batch}/{image}.ome.zarr`: ids of instances, unique in the image, or uint8 classes; and
`results/objects/{batch}.parquet`: one row per object. Images are processed block by block and are never whole in
memory.
"""

from pathlib import Path

from tessera.common.batch_outputs import find_stores, read_skipped
from tessera.common.job import running
from tessera.common.types import StrPath
from tessera.segmentation.object_table import make_labels
from tessera.segmentation.segment_image import ImageSegmenter, SegmentationPlan
from tessera.settings.sections import SegmentSettings


def segment(
    predictions: StrPath,
    images: StrPath,
    provenance: dict[str, str],
    output: StrPath,
    objects: StrPath,
    *,
    plan: SegmentationPlan,
    regions: dict[str, dict] | None = None,
) -> None:
    """Write the labels of a batch of images to the folder `output`, and their objects to the file `objects`.

    Args:
        predictions: folder of the batch of probabilities.
        images: folder of the batch of images.
        provenance: {image: provenance hash of its labels}.
        output: folder of the batch of labels.
        objects: Parquet file.
        plan: how the images are segmented.
        regions: {image: {"roi": (y0, y1, x0, x1) or None, ...}} of images with a region of interest.

    Raises:
        InputError: stores are missing, damaged, or do not match.
    """
    sources = find_stores([images], provenance)
    probabilities = find_stores([predictions], sources)

    def make(image: str, path: Path, table: Path) -> None:
        roi = (regions or {}).get(image, {}).get("roi")
        ImageSegmenter(sources[image], probabilities[image], image, plan, roi).write(path, table)

    provenance = {image: provenance[image] for image in probabilities}
    make_labels(provenance, make, output=output, objects=objects, skipped_before=read_skipped([predictions]))


if __name__ == "__main__":
    with running(snakemake):
        segment(
            predictions=snakemake.input.predictions,
            images=snakemake.input.images,
            provenance=snakemake.params.provenance,
            output=snakemake.output.labels,
            objects=snakemake.output.objects,
            plan=SegmentationPlan(
                task=snakemake.params.task,
                classes=snakemake.params.classes,
                settings=SegmentSettings.model_validate(snakemake.params.settings),
                workers=snakemake.threads,
            ),
            regions=snakemake.params.regions,
        )
