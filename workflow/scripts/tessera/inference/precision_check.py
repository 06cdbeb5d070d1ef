"""Check of a precision below float32, which is only used if validation patches show that it changes next to nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import SIZE_DIVISOR


def check_precision(
    reference: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
    candidate: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
    patches: tuple[NDArray[np.float32], NDArray[np.uint8]],
    tolerance: float,
) -> dict[str, Any]:
    """Compare an engine in a reduced precision with the same model in float32.

    Args:
        reference: `predict` of the engine in float32.
        candidate: `predict` of the engine in the reduced precision.
        patches: normalized pixels (n, y, x, c) and targets (n, y, x).
        tolerance: largest change of the IoU of any output that passes.

    Returns:
        {"iou_change": largest change of an IoU, "mean_difference": mean absolute difference of probabilities,
        "argmax_equal": fraction of pixels with the same most probable output, "patches": number of patches,
        "tolerance", "passed"}.
    """
    images, targets = patches
    sides = [size // SIZE_DIVISOR * SIZE_DIVISOR for size in images.shape[1:3]]
    images, targets = images[:, : sides[0], : sides[1]], targets[:, : sides[0], : sides[1]]
    probabilities = [
        np.concatenate([predict(np.ascontiguousarray(image[None])).copy() for image in images])
        for predict in (reference, candidate)
    ]
    before, after = (each.argmax(1) for each in probabilities)
    outputs = probabilities[0].shape[1]
    change = np.nanmax(np.abs(_ious(before, targets, outputs) - _ious(after, targets, outputs)), initial=0)
    return {
        "iou_change": float(change),
        "mean_difference": float(np.abs(probabilities[0].astype(np.int16) - probabilities[1]).mean() / 255),
        "argmax_equal": float((before == after).mean()),
        "patches": len(images),
        "tolerance": tolerance,
        "passed": bool(change <= tolerance),
    }


def _ious(predicted: NDArray[np.int64], targets: NDArray[np.uint8], outputs: int) -> NDArray[np.float64]:
    """IoU of each output over all annotated pixels, NaN if it is neither in the targets nor predicted."""
    annotated = targets < outputs  # other pixels are IGNORE
    counts = np.bincount(targets[annotated].astype(int) * outputs + predicted[annotated], minlength=outputs**2)
    confusion = counts.reshape(outputs, outputs)
    correct = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - correct
    return np.divide(correct, union, out=np.full(outputs, np.nan), where=union > 0)
