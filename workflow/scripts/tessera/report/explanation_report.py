"""The explanation of the selected model in the report: calibration and class activation maps."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tessera.evaluation.calibration import MIN_PIXELS, describe_curve
from tessera.report.image_files import SHEET_PX, embed_image

MAX_CURVES = 8  # outputs


class CalibrationCurve(NamedTuple):
    """A calibration curve.

    Attributes:
        name: name of the output, or "most probable class".
        curve: a curve of `tessera.evaluation.calibration.Calibration.summarize`.
        sentence: the curve in words.
    """

    name: str
    curve: dict[str, Any]
    sentence: str


class ExplainedPatch(NamedTuple):
    """A patch with its class activation maps.

    Attributes:
        kind: "best" or "worst".
        rank: its place among them, from 1.
        patch: its number among the validation patches.
        iou: its mean IoU.
        missed: classes that it shows and that were predicted nowhere.
        figure: the patch and its class activation maps, a data URI.
        layers: feature maps of layers, a data URI.
    """

    kind: str
    rank: int
    patch: int
    iou: float
    missed: list[str]
    figure: str
    layers: str


@dataclass(frozen=True)
class ExplanationSection:
    """The explanation of a model.

    Attributes:
        model: name of the model.
        reason_skipped: why there is no explanation, or None.
        n_patches: number of validation patches used.
        n_available: number of validation patches of the model.
        curves: calibration of the most probable class, and of at most MAX_CURVES outputs.
        more_curves: whether the model has more outputs.
        patches: the best and the worst patches.
        min_pixels: bins of a curve with fewer pixels are drawn pale.
    """

    model: str
    reason_skipped: str | None
    n_patches: int = 0
    n_available: int = 0
    curves: list[CalibrationCurve] = field(default_factory=list)
    more_curves: bool = False
    patches: list[ExplainedPatch] = field(default_factory=list)
    min_pixels: int = MIN_PIXELS


def read_explanation(folder: Path) -> ExplanationSection:
    """The explanation in the output folder of rule explain."""
    folder = Path(folder)
    content = json.loads((folder / "explanation.json").read_text())
    if content["reason_skipped"]:
        return ExplanationSection(content["model"], content["reason_skipped"])
    calibration = content["calibration"]
    curves = [("most probable class", calibration["top"]), *list(calibration["outputs"].items())[:MAX_CURVES]]
    return ExplanationSection(
        model=content["model"],
        reason_skipped=None,
        n_patches=content["n_patches"],
        n_available=content["n_available"],
        curves=[CalibrationCurve(name, curve, describe_curve(curve)) for name, curve in curves],
        more_curves=len(calibration["outputs"]) > MAX_CURVES,
        patches=[
            ExplainedPatch(
                kind=patch["kind"],
                rank=patch["rank"],
                patch=patch["patch"],
                iou=patch["iou"],
                missed=patch["missed"],
                figure=embed_image(folder / patch["figure"], SHEET_PX),
                layers=embed_image(folder / patch["layers"], SHEET_PX),
            )
            for patch in content["images"]
        ],
    )
