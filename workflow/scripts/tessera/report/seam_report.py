"""Seams in the report: differences at seams, drawn for each image and summarized over all images."""

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tessera.evaluation.seam_check import SEAM_COUNTS, LocatedDifference, seam_f1
from tessera.report.overlay_images import draw_crop

DIFFERENCES = "seams.json"
MAX_LISTED = 200
MAX_PICTURES = 12
GOOD_F1 = 0.99


@dataclass(frozen=True)
class ListedDifference:
    """A difference at a seam.

    Attributes:
        image: name of the image.
        kind: what happened, see `tessera.evaluation.seam_check.SeamDifference`.
        position: its center (t, z, y, x).
        area_px: its area.
        iou: best IoU of the object; 0 for classes.
        severity: number of pixels that differ.
        folder: its picture, a folder of `draw_crop`; None for all but the most severe.
    """

    image: str
    kind: str
    position: tuple[int, ...]
    area_px: int
    iou: float
    severity: float
    folder: Path | None


@dataclass(frozen=True)
class SeamSection:
    """The seam check of all images.

    Attributes:
        n_images: number of images with windows on seams.
        n_windows: number of these windows.
        f1: F1 of objects, or of pixels for the semantic task; None if nothing was compared.
        n_objects: number of objects compared; None for the semantic task.
        mean_iou: mean IoU of the matched objects; None if there are none, and for the semantic task.
        pixel_agreement: fraction of pixels with the same class; None if nothing was compared, and for instances.
        differences: at most MAX_LISTED, the most severe first.
        more: whether there are more.
    """

    n_images: int
    n_windows: int
    f1: float | None
    n_objects: int | None
    mean_iou: float | None
    pixel_agreement: float | None
    differences: list[ListedDifference]
    more: bool


def summarize_seams(table: pd.DataFrame, task: str, folders: Mapping[str, Path]) -> SeamSection:
    """Pool the seam checks of all images.

    Args:
        table: table of metrics, a row for each image.
        task: "instances" or "semantic".
        folders: {image: its folder of pictures}.
    """
    rows = table.reindex(columns=["seam_windows", *SEAM_COUNTS[task]])
    rows = rows[rows["seam_windows"] > 0]
    counts = {name: rows[name].sum() for name in SEAM_COUNTS[task]}
    differences = list_differences(folders)
    instances, matched = task == "instances", counts["seam_tp"]
    n_pixels = counts.get("seam_pixels")
    return SeamSection(
        n_images=len(rows),
        n_windows=int(rows["seam_windows"].sum()),
        f1=seam_f1(**counts),
        n_objects=int(matched + counts["seam_fn"]) if instances else None,
        mean_iou=counts["seam_iou_sum"] / matched if instances and matched else None,
        pixel_agreement=counts["seam_pixels_right"] / n_pixels if n_pixels else None,
        differences=differences[:MAX_LISTED],
        more=len(differences) > MAX_LISTED,
    )


def list_differences(folders: Mapping[str, Path]) -> list[ListedDifference]:
    """Differences of all images, the most severe first; at most one more than MAX_LISTED.

    Args:
        folders: {image: its folder of pictures}.
    """
    recorded = (
        {"image": image, "folder": folder / "seams" / str(number)} | difference
        for image, folder in folders.items()
        if (folder / DIFFERENCES).exists()
        for number, difference in enumerate(json.loads((folder / DIFFERENCES).read_text()))
    )
    differences: list[ListedDifference] = []
    n_pictures = 0
    for difference in heapq.nsmallest(MAX_LISTED + 1, recorded, key=lambda each: -each["severity"]):
        pictured = n_pictures < MAX_PICTURES and difference["folder"].is_dir()
        n_pictures += pictured
        position = tuple(difference["position"])
        folder = difference["folder"] if pictured else None
        differences.append(ListedDifference(**difference | {"position": position, "folder": folder}))
    return differences


def draw_seam_differences(
    folder: Path, differences: Sequence[LocatedDifference], *, image: Path, classes: Sequence[str] = ()
) -> None:
    """Write the differences of one image as seams.json, and pictures of the most severe ones.

    Args:
        folder: folder of the image's pictures; those of seams are in its folders seams/0, seams/1, ...
        differences: differences from the seam check; nothing is written if there are none.
        image: store of the image.
        classes: see `tessera.report.overlay_images.draw_overlays`.
    """
    if not differences:
        return
    records: list[dict[str, Any]] = [
        asdict(each.difference) | {"severity": each.difference.severity} for each in differences
    ]
    (folder / DIFFERENCES).write_text(json.dumps(records))
    for number, each in enumerate(differences):
        if each.labels is not None and each.reference is not None:
            t, z = each.difference.position[:2]
            layers = {"labels": each.labels, "reference": each.reference}
            draw_crop(folder / "seams" / str(number), image, (t, z), each.corner, layers, classes=classes)


def seam_warnings(seams: SeamSection) -> list[tuple[str, str]]:
    """Warnings [(text, id of the section)] of the report about seams."""
    if seams.f1 is None or seams.f1 >= GOOD_F1:
        return []
    return [(f"Seams between tiles change the labels: F1 is {seams.f1:.4f} where tiles meet.", "seams")]
