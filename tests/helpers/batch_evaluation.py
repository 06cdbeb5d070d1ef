"""Evaluates small batches of stores, as rule evaluate does."""

from pathlib import Path

from evaluate import evaluate
from tessera.evaluation.image_evaluation import BatchFolders, find_images
from tessera.evaluation.segmentation_metrics import choose_metrics

IOUS = [0.5, 0.75, 0.95]


def evaluate_batch(
    root, folders, subsets, *, task="instances", classes=("background", "cell"), ious=IOUS, annotated=None,
    predictions=None, regions=None, **options,
):  # fmt: skip
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
    found = find_images(
        BatchFolders(images, labels, truth=truth, predictions=predictions),
        subsets=subsets,
        annotated=list(subsets) if annotated is None else annotated,
        provenance={image: f"provenance of {image}" for image in subsets},
        regions=regions or {},
    )
    outputs = {"table": Path(root, "one.tsv"), "pictures": Path(root, "pictures")}
    evaluate(found, choose_metrics(task, classes, ious), **outputs, **options)
    return outputs["table"], outputs["pictures"]
