"""Precisions below float32: used only where a check on validation patches finds that they change next to nothing."""

import numpy as np

from tessera.common.constants import DIVISOR


def check_precision(reference, candidate, patches, tolerance):
    """Compare an engine in a reduced precision with the same model in float32.

    Args:
        reference, candidate: `predict` of the engines of `tessera.inference.backends`.
        patches: pixels (n, y, x, c), normalized, and targets (n, y, x).
        tolerance: largest change of the IoU of any output.

    Returns:
        {"iou_change": largest change of an IoU, "mean_difference": of probabilities, "argmax_equal": share of pixels
        whose most probable output is the same, "patches": their number, "tolerance", "passed"}.
    """
    images, targets = patches
    sides = [size // DIVISOR * DIVISOR for size in images.shape[1:3]]
    images, targets = images[:, : sides[0], : sides[1]], targets[:, : sides[0], : sides[1]]
    answers = []
    for predict in (reference, candidate):
        answers.append(np.concatenate([predict(np.ascontiguousarray(image[None])).copy() for image in images]))
    before, after = (answer.argmax(1) for answer in answers)
    outputs = answers[0].shape[1]
    change = np.nanmax(np.abs(_ious(before, targets, outputs) - _ious(after, targets, outputs)), initial=0)
    return {
        "iou_change": float(change),
        "mean_difference": float(np.abs(answers[0].astype(np.int16) - answers[1]).mean() / 255),
        "argmax_equal": float((before == after).mean()),
        "patches": len(images),
        "tolerance": tolerance,
        "passed": bool(change <= tolerance),
    }


def _ious(found, targets, outputs):
    """IoU of each output over all pixels that are known, NaN where it is neither true nor found."""
    known = targets < outputs  # others are IGNORE
    counts = np.bincount(targets[known].astype(int) * outputs + found[known], minlength=outputs**2)
    confusion = counts.reshape(outputs, outputs)
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return np.divide(right, union, out=np.full(outputs, np.nan), where=union > 0)
