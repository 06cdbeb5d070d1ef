"""How far probabilities that were made tile by tile are from those of the whole plane at once."""

import itertools
from pathlib import Path

import numpy as np
import yaml
from lib.audits import audit_seams
from lib.disagreements import compare_objects
from lib.instances import separate
from lib.stores import create_store, finish_labels, open_array
from tasks import answer

CONFIGURATION = Path(__file__).resolve().parents[2] / "config" / "config.yaml"
STRIP_PX = 1024


def run(tiled, whole, exact, labels):
    """Compare stores of probabilities of one plane of instances, (1, 3, 1, y, x).

    Args:
        tiled: made tile by tile, with windows on its seams.
        whole: made at once, in the same precision.
        exact: made at once in float32.
        labels: store to write, for the audit.

    Returns:
        {"mean_difference", "argmax_equal": share of pixels, "exact_mean_difference", "exact_argmax_equal", "object_f1":
        of all objects, whole and tiled, "seam_windows", "seam_objects", "seam_f1": of the audit}.
    """
    figures = dict(zip(("mean_difference", "argmax_equal"), _differ(tiled, whole), strict=True))
    figures |= dict(zip(("exact_mean_difference", "exact_argmax_equal"), _differ(tiled, exact), strict=True))
    segment = yaml.safe_load(CONFIGURATION.read_text())["segment"]
    found, reference = (separate(open_array(path)[0, :, 0], **segment) for path in (tiled, whole))
    counts, _ = compare_objects(reference, found, np.zeros(found.shape, bool))
    figures["object_f1"] = _f1(counts)
    store = create_store(labels, (1, 1, 1, *found.shape), np.int32)
    store[0, 0, 0] = found
    finish_labels(labels, name="tiled")
    audit, _ = audit_seams(tiled, labels, task="instances", segment=segment)
    objects = audit["seam_tp"] + audit["seam_fn"]
    return figures | {"seam_windows": audit["seam_windows"], "seam_f1": audit["seam_f1"], "seam_objects": objects}


def _differ(one, other):
    """(mean absolute difference of probabilities, share of pixels of the same argmax) of two stores."""
    arrays = open_array(one), open_array(other)
    size, difference, equal = arrays[0].size, 0, 0
    for first in itertools.count(0, STRIP_PX):
        if first >= arrays[0].shape[3]:
            return difference / size / 255, equal * arrays[0].shape[1] / size
        strips = [array[0, :, 0, first : first + STRIP_PX] for array in arrays]
        difference += int(np.abs(strips[0].astype(np.int16) - strips[1]).sum())
        equal += int((strips[0].argmax(0) == strips[1].argmax(0)).sum())


def _f1(counts):
    return 2 * counts["seam_tp"] / max(1, 2 * counts["seam_tp"] + counts["seam_fp"] + counts["seam_fn"])


if __name__ == "__main__":
    answer(run)
