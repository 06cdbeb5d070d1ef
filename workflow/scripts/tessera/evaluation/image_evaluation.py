"""Evaluation of one image: its scores, its seam check and its domain shift, as a row of results/metrics/{batch}.tsv.

Domain shift: `augment` stores a fingerprint of the training patches in patches.json, and `train` copies it to
model.json: percentiles of the normalized intensities, and texture features of up to 64 patches with the distance that
95 % of them have to their nearest neighbor. `tessera.data.domain_shift` takes up to twelve windows of an image, at the
scale at which the network sees it, and reports a domain shift when their median distance is larger. `predict` prints
the warnings; `evaluate` also compares the diameter of the objects, their contrast and their ratio of signal to noise,
and keeps all warnings in the column `domain_shift`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tessera.common.batch_outputs import find_stores
from tessera.data.channels import match_channels
from tessera.data.domain_shift import check_object_diameter, find_domain_shift
from tessera.data.normalization import choose_intensity_ranges
from tessera.data.object_signal import check_signal, measure_found_objects
from tessera.data.split import PREDICT
from tessera.evaluation.seam_check import LocatedDifference, check_seams
from tessera.evaluation.segmentation_metrics import Metrics, score_image, worst_frame
from tessera.evaluation.tracking_metrics import score_movie
from tessera.io.ome_zarr_store import open_array, read_metadata
from tessera.settings.sections import SegmentSettings


@dataclass(frozen=True)
class BatchFolders:
    """Folders of a batch.

    Attributes:
        images: folder of the image stores.
        labels: folder of the label stores.
        truth: folder of the ground truth, or None.
        predictions: folder of the predictions, or None if labels were imported.
        tracks: folder of the tracks, or None for the semantic task.
    """

    images: Path
    labels: Path
    truth: Path | None = None
    predictions: Path | None = None
    tracks: Path | None = None


@dataclass(frozen=True)
class BatchImage:
    """An image of a batch, and the stores that belong to it.

    Attributes:
        name: name of the image.
        image: its store (t, c, z, y, x).
        labels: store of its labels, int32 instances or uint8 classes.
        subset: train, val, test or predict.
        provenance: its provenance hash.
        truth: store of its ground truth, or None.
        predictions: store of its predictions, or None.
        tracks: folder of its tracks, which may be missing; or None.
        roi: region of interest (y0, y1, x0, x1), or None for the whole plane.
        frames: frames that were predicted, see `tessera.io.region_of_interest.select_frames`; None for all.
    """

    name: str
    image: Path
    labels: Path
    subset: str
    provenance: str
    truth: Path | None = None
    predictions: Path | None = None
    tracks: Path | None = None
    roi: tuple[int, int, int, int] | None = None
    frames: str | None = None


@dataclass(frozen=True)
class ImageEvaluation:
    """Result of the evaluation of an image.

    Attributes:
        row: its row in the table of metrics.
        t: its worst frame, or the middle frame without ground truth.
        score: score of that frame, or None.
        domain_shift: warnings about differences from the training images.
        differences: from the seam check, the most severe first.
    """

    row: dict[str, Any]
    t: int
    score: float | None
    domain_shift: list[str] = field(default_factory=list)
    differences: list[LocatedDifference] = field(default_factory=list)


def find_images(
    folders: BatchFolders,
    *,
    subsets: Mapping[str, str],
    annotated: Collection[str],
    provenance: Mapping[str, str],
    regions: Mapping[str, Mapping[str, Any]],
) -> list[BatchImage]:
    """The images of a batch, without those that were skipped.

    Args:
        folders: folders of the batch.
        subsets: {image: its subset of the split}.
        annotated: the images that have ground truth.
        provenance: {image: provenance hash}.
        regions: {image: its roi and frames}; images that were predicted as a whole are not in it.

    Raises:
        InputError: a store is missing.
    """
    images = find_stores([folders.images], provenance)
    labels = find_stores([folders.labels], images)
    with_truth = [image for image in labels if image in annotated and subsets[image] != PREDICT]
    truth = find_stores([folders.truth] if folders.truth else [], with_truth)
    predictions = find_stores([folders.predictions], labels) if folders.predictions else {}
    return [
        BatchImage(
            name=name,
            image=images[name],
            labels=path,
            subset=subsets[name],
            provenance=provenance[name],
            truth=truth.get(name),
            predictions=predictions.get(name),
            tracks=folders.tracks / name if folders.tracks else None,
            **regions.get(name, {}),
        )
        for name, path in labels.items()
    ]


def evaluate_image(
    image: BatchImage,
    metrics: Metrics,
    *,
    batch: str,
    model: Mapping[str, Any] | None,
    segment: SegmentSettings | None,
) -> ImageEvaluation:
    """Score an image, check its seams, and compare it with the training images.

    Args:
        image: the image and its stores.
        metrics: metrics of the task.
        batch: name of the batch.
        model: content of the model's model.json, or None if labels were imported.
        segment: the settings that the labels were made with, or None.

    Raises:
        InputError: stores of the image are damaged or do not match.
    """
    scores = score_image(image.labels, image.truth, metrics, roi=image.roi, frames=image.frames)
    prediction = read_metadata(image.predictions).extra.get("prediction", {}) if image.predictions else {}
    domain_shift = describe_domain_shift(image, prediction, model, scores.row.get("area_px_median")) if model else []
    t, score = worst_frame(scores.by_frame)
    seams = check_seams(image.predictions, image.labels, task=metrics.task, segment=segment)
    tracks = score_movie(image.tracks, image.truth, roi=image.roi) if image.tracks else {}
    row = {"image": image.name, "batch": batch, "split": image.subset} | scores.row | tracks | seams.row
    row |= describe_prediction(prediction)
    row |= {"domain_shift": "; ".join(domain_shift), "provenance": image.provenance}
    return ImageEvaluation(row, t, score, domain_shift, seams.differences)


def describe_prediction(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the table of metrics that describe how an image was predicted.

    Args:
        prediction: metadata in the prediction store; {} if labels were imported.
    """
    engines: Sequence[Mapping[str, Any]] = prediction.get("engines", [])
    checks = [engine["check"] for engine in engines if engine["check"]]
    names = {f"{engine['engine']}, {engine['device']}, {engine['precision']}" for engine in engines}
    return {
        "engine": " + ".join(sorted(names)) or None,
        "precision_iou_change": max((check["iou_change"] for check in checks), default=None),
        "halo_px": prediction.get("halo_px"),
        "overlap_cost": prediction.get("overlap_cost"),
        "scale": prediction.get("scale"),
    }


def describe_domain_shift(
    image: BatchImage, prediction: Mapping[str, Any], model: Mapping[str, Any], area_px: float | None
) -> list[str]:
    """Warnings about differences of an image, and of its objects, from the training images.

    Args:
        image: the image and its stores.
        prediction: metadata in the prediction store.
        model: content of model.json.
        area_px: median area of the objects, or None.
    """
    options = {key: prediction[key] for key in ("rescale", "object_diameter_px") if key in prediction}
    # Objects of a z-stack have volumes, but the diameters of the training are those in planes.
    flat = open_array(image.image).shape[2] == 1
    scale = prediction.get("scale", 1.0)
    other_px = prediction.get("other_diameter_px")
    ambiguous = []
    if other_px:
        ambiguous = [
            f"{image.name}: objects of {other_px:.3g} px are almost as likely as those of "
            f"{prediction['object_diameter_px']:.3g} px, at which it was predicted; if they are wrong, set "
            "predict.object_diameter_px"
        ]
    return [
        *find_domain_shift(image.image, model, roi=image.roi, frames=image.frames, **options),
        *check_object_diameter(image.name, area_px if flat else None, model, scale),
        *(describe_weak_signal(image, model, scale) if model.get("signal") else []),
        *ambiguous,
    ]


def describe_weak_signal(image: BatchImage, model: Mapping[str, Any], scale: float) -> list[str]:
    """Warnings if the objects found in an image have much less contrast, or more noise, than those of the training.

    Args:
        image: the image and its stores.
        model: content of model.json.
        scale: pixels of the network per pixel of the image.
    """
    metadata = read_metadata(image.image)
    order = match_channels(image.name, metadata.channels, model["channels"])
    objects = measure_found_objects(
        image.image,
        image.labels,
        order=order,
        ranges=choose_intensity_ranges(metadata, order, model),
        scale=scale,
        roi=image.roi,
        frames=image.frames,
    )
    return check_signal(image.name, objects, model)
