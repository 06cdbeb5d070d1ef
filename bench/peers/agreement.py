"""Difference between probabilities predicted in tiles and those predicted for whole planes."""

from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from tasks import answer

from tessera.evaluation.seam_check import check_seams, compare_objects, seam_f1
from tessera.io.ome_zarr_store import create_store, finish_labels, open_array
from tessera.segmentation.seeded_growth import segment_plane
from tessera.settings.sections import SegmentSettings

CONFIGURATION = Path(__file__).resolve().parents[2] / "config" / "config.yaml"
STRIP_PX = 1024


def run(tiled, whole, exact, labels, names):
    """Compare stores of probabilities of planes of instances, (1, 3, 1, y, x), in three folders.

    Args:
        tiled: predicted in tiles, with seam windows.
        whole: predicted in one piece, in the same precision.
        exact: predicted in one piece, in float32.
        labels: store to write, for the seam check.
        names: names of the stores.

    Returns:
        {"whole", "exact": (mean absolute difference of probabilities, share of pixels of the same argmax) between tiled
        and these, "object_f1": of all objects, tiled against whole, and of the seam check "seam_f1", "seam_windows",
        "seam_objects"}.
    """
    segment = SegmentSettings.model_validate(yaml.safe_load(CONFIGURATION.read_text())["segment"])
    objects, seams = Counter(), Counter()
    for name in names:
        found, reference = (
            segment_plane(open_array(f"{folder}/{name}")[0, :, 0], segment) for folder in (tiled, whole)
        )
        objects.update(compare_objects(reference, found, np.zeros(found.shape, bool))[0])
        store = create_store(labels, (1, 1, 1, *found.shape), np.int32)
        store[0, 0, 0] = found
        finish_labels(labels, name="tiled")
        checked = check_seams(Path(tiled, name), labels, task="instances", segment=segment)
        seams.update({key: count for key, count in checked.row.items() if key != "seam_f1" and count})
    figures = {Path(other).name: _differ(tiled, other, names) for other in (whole, exact)}
    figures |= {"object_f1": _f1(objects), "seam_f1": _f1(seams), "seam_windows": seams["seam_windows"]}
    return figures | {"seam_objects": seams["seam_tp"] + seams["seam_fn"]}


def _differ(tiled, other, names):
    """See "whole" and "exact" in `run`."""
    values = pixels = difference = equal = 0
    for name in names:
        arrays = [open_array(f"{folder}/{name}") for folder in (tiled, other)]
        values, pixels = values + arrays[0].size, pixels + arrays[0].size // arrays[0].shape[1]
        for first in range(0, arrays[0].shape[3], STRIP_PX):
            strips = [array[0, :, 0, first : first + STRIP_PX] for array in arrays]
            difference += int(np.abs(strips[0].astype(np.int16) - strips[1]).sum())
            equal += int((strips[0].argmax(0) == strips[1].argmax(0)).sum())
    return difference / values / 255, equal / pixels


def _f1(counts):
    return seam_f1(counts["seam_tp"], counts["seam_fp"], counts["seam_fn"])


if __name__ == "__main__":
    answer(run)
