"""Evaluation of small batches of stores, as rule evaluate does it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluate import evaluate
from tessera.evaluation.image_evaluation import BatchFolders, find_images
from tessera.evaluation.segmentation_metrics import choose_metrics

IOUS = [0.5, 0.75, 0.95]


def evaluate_batch(
    root: Path,
    folders: Sequence[Path],
    subsets: dict[str, str],
    *,
    task: str = "instances",
    classes: Sequence[str] = ("background", "cell"),
    ious: Sequence[float] = IOUS,
    annotated: Sequence[str] | None = None,
    predictions: Path | None = None,
    regions: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Path, Path]:
    """Write `root`/one.tsv and `root`/pictures of a batch.

    Args:
        root: the folder to write to.
        folders: folders of images, labels and ground truth, of `helpers.store_batches.write_batch`.
        subsets: {image: subset of the split}.
        task, classes, ious: see `tessera.evaluation.segmentation_metrics.choose_metrics`.
        annotated: names of the images with ground truth; None: all.
        predictions: folder of predictions, or None.
        regions: {image: its roi and frames}.
        options: further arguments of `evaluate.evaluate`.
    """
    images, labels, truth = map(Path, folders)
    stores = find_images(
        BatchFolders(images, labels, truth=truth, predictions=predictions),
        subsets=subsets,
        annotated=list(subsets) if annotated is None else annotated,
        provenance={image: f"provenance of {image}" for image in subsets},
        regions=regions or {},
    )
    outputs = {"table": Path(root, "one.tsv"), "pictures": Path(root, "pictures")}
    evaluate(stores, choose_metrics(task, classes, ious), **outputs, **options)
    return outputs["table"], outputs["pictures"]
