"""Score the labels of a batch against ground truth, check their seams, and draw them over the images.

Reads results/images/{batch}, results/labels/{batch} and results/truth/{batch}: stores (t, c, z, y, x), labels as int32
instances or uint8 classes; and the windows on seams in results/predictions/{batch}. Writes results/metrics/{batch}.tsv,
a row for each image, and results/pictures/{batch}/{image}/ (see `tessera.report.overlay_images` and
`tessera.report.seam_report`).
"""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tessera.common.job import running
from tessera.evaluation.image_evaluation import (
    BatchFolders,
    BatchImage,
    ImageEvaluation,
    evaluate_image,
    find_images,
)
from tessera.evaluation.seam_check import require_seam_f1
from tessera.evaluation.segmentation_metrics import ClassMetrics, Metrics, choose_metrics
from tessera.networks.model_folder import read_model_card
from tessera.report.overlay_images import draw_overlays
from tessera.report.seam_report import draw_seam_differences
from tessera.settings.sections import EvaluateSettings, SegmentSettings

logger = logging.getLogger(__name__)


def evaluate(
    images: Sequence[BatchImage],
    metrics: Metrics,
    *,
    table: Path,
    pictures: Path,
    model: Mapping[str, Any] | None = None,
    segment: SegmentSettings | None = None,
    min_seam_f1: float | None = None,
) -> None:
    """Evaluate and draw every image of a batch.

    Args:
        images: the images, from `tessera.evaluation.image_evaluation.find_images`.
        metrics: metrics of the task.
        table: the table of metrics to write; its name is that of the batch.
        pictures: the folder to write, with a folder for each image.
        model: content of the model's model.json, to which the images are compared; None if labels were imported.
        segment: the settings that the labels were made with; None if labels were imported.
        min_seam_f1: see `tessera.evaluation.seam_check.require_seam_f1`.

    Raises:
        InputError: stores of an image do not match, or seams have changed the labels too much.
    """
    # A job that was killed may have left pictures behind.
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    rows, differences = [], {}
    for number, image in enumerate(images, start=1):
        result = evaluate_image(image, metrics, batch=table.stem, model=model, segment=segment)
        draw_evaluation(pictures / image.name, image, result, metrics)
        rows.append(result.row)
        differences[image.name] = [each.difference for each in result.differences]
        for warning in result.domain_shift:
            logger.warning(warning)
        score = "" if result.score is None else f": {result.score:.3f}"
        logger.info(f"[{number}/{len(images)}] {image.name}{score}")
    require_seam_f1(rows, differences, min_seam_f1)
    write_rows(table, rows)


def draw_evaluation(folder: Path, image: BatchImage, result: ImageEvaluation, metrics: Metrics) -> None:
    """Draw the worst frame of an image with its labels and ground truth, and the differences at its seams."""
    classes = metrics.classes if isinstance(metrics, ClassMetrics) else ()
    draw_overlays(
        folder,
        image=image.image,
        labels=image.labels,
        truth=image.truth,
        t=result.t,
        score=result.score,
        classes=classes,
    )
    draw_seam_differences(folder, result.differences, image=image.image, classes=classes)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table of metrics, with the columns of all rows: not every image is a movie."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = pd.DataFrame(rows, columns=columns or ["image", "batch", "split", "domain_shift", "provenance"])
    table.convert_dtypes().to_csv(path, sep="\t", index=False, float_format="%.8g")


def read_selected_model(selected: Path, models: Iterable[Path]) -> dict[str, Any]:
    """Content of model.json of the selected model.

    Args:
        selected: the file that names it, of rule select_model.
        models: folders of models.
    """
    name = json.loads(Path(selected).read_text())["model"]
    return read_model_card(next(folder for folder in models if Path(folder).name == name))


if __name__ == "__main__":
    with running(snakemake):
        batch, params = snakemake.input, snakemake.params
        settings = EvaluateSettings.model_validate(params.settings)
        folders = {"truth": next(iter(batch.truth), None), "predictions": batch.predictions, "tracks": batch.tracks}
        evaluate(
            find_images(
                BatchFolders(
                    Path(batch.images),
                    Path(batch.labels),
                    **{name: Path(folder) if folder else None for name, folder in folders.items()},
                ),
                subsets=params.subsets,
                annotated=set(params.annotated),
                provenance=params.provenance,
                regions=params.regions,
            ),
            choose_metrics(
                snakemake.params.task, snakemake.params.classes, snakemake.params.settings["iou_thresholds"]
            ),
            table=Path(snakemake.output.metrics),
            pictures=Path(snakemake.output.pictures),
            model=read_selected_model(batch.selected, batch.models) if batch.selected else None,
            segment=SegmentSettings.model_validate(params.segment) if params.segment else None,
            min_seam_f1=settings.min_seam_f1,
        )
