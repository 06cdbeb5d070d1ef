"""Check of the augmentation: whether transforms damage objects that they should only move and bend."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from tessera.common.constants import IGNORE
from tessera.data.annotated_images import AnnotatedImage, grid_positions
from tessera.data.augmentation import moves_pixels, transform_patch, window_px, without_mirrored_border
from tessera.data.patch_reader import read_window

CHECKED_WINDOWS = 16
MIN_OBJECT_PX = 16  # smaller objects may disappear
SPECK_PX = 4  # connected components with fewer pixels are specks
MAX_DAMAGED = 0.05  # fraction of the objects lost, cut or with specks, above which a warning is given
ALL_TRANSFORMS = "augment.transforms"
_VERBS = {"lost": "loses", "cut": "cuts into pieces", "specks": "leaves specks of"}
_PAST = {"lost": "were lost", "cut": "cut into pieces", "specks": "left specks"}
_ADVICE = {
    "Affine": "narrow scale, shear and translate_percent",
    "ElasticTransform": "lower alpha, or raise sigma",
    "GridDistortion": "lower distort_limit",
    "OpticalDistortion": "lower distort_limit",
    "Perspective": "lower scale",
    "ThinPlateSpline": "lower scale_range",
}


def measure_label_damage(
    sources: Sequence[AnnotatedImage], transforms: Sequence[Mapping[str, Any]], patch_size_px: int, seed: int
) -> dict[str, Any]:
    """Apply transforms to windows, each alone and all together, and count the damaged objects.

    Objects are those of the ground truth, or connected components of its classes. Only objects that are wholly in the
    patch, the middle of the window, before the transform count. They are searched in the whole window after it, so that
    an object that was only moved is not lost.

    Args:
        sources: annotated images after `measure_class_statistics`.
        transforms: dicts as in the configuration.
        patch_size_px: side of a patch.
        seed: seed of the transforms.

    Returns:
        {"limit": MAX_DAMAGED, "objects": number of checked objects, "transforms": [{"setting", "lost", "cut",
        "specks"}, ...], "warnings": sentences about fractions above the limit}. The values are fractions of the
        objects, see `count_damage`. Each transform that moves pixels has an entry, as if its `p` were 1; the last
        entry, ALL_TRANSFORMS, is the whole list with its own `p`.
    """
    wide = window_px(transforms, patch_size_px)
    margin = (wide - patch_size_px) // 2
    windows = []
    for position in grid_positions(sources, patch_size_px, CHECKED_WINDOWS):
        pixels, ids, inside = read_window(*position, wide, patch_size_px)
        if not position[0].holds_instances:
            ids = label(np.where(ids == IGNORE, 0, ids), background=0, connectivity=2)
        windows.append((pixels, ids.astype(np.int32), inside))
    moving = {
        f"augment.transforms, entry {number} ({transform['name']})": without_mirrored_border(transform)
        for number, transform in enumerate(transforms, start=1)
        if moves_pixels(transform)
    }
    checks = {setting: [transform | {"p": 1.0}] for setting, transform in moving.items()}
    checks[ALL_TRANSFORMS] = [*moving.values()]
    rows, n_objects = [], 0
    for setting, checked in checks.items():
        counts = np.zeros(4, int)
        for number, (pixels, ids, inside) in enumerate(windows):
            _, ids_after, inside_after, _ = transform_patch(pixels, ids, inside, checked, wide, seed + number)
            counts += count_damage(np.where(inside, ids, 0), np.where(inside_after, ids_after, 0), margin)
        n_objects = int(counts[0])
        fractions = (counts[1:] / max(n_objects, 1)).round(4).tolist()
        rows.append({"setting": setting} | dict(zip(_VERBS, fractions, strict=True)))
    return {
        "limit": MAX_DAMAGED,
        "objects": n_objects,
        "transforms": rows,
        "warnings": _describe_warnings(rows, n_objects),
    }


def describe_label_damage(check: Mapping[str, Any]) -> str:
    """Return the result of `measure_label_damage` as text for the log: a sentence, and a line for each warning."""
    together = check["transforms"][-1]
    fractions = ", ".join(f"{together[kind]:.1%} {verb}" for kind, verb in _PAST.items())
    return "\n".join(
        [
            f"Transforms were tried on {check['objects']} objects: {fractions}",
            *(f"Warning: {warning}" for warning in check["warnings"]),
        ]
    )


def count_damage(before: NDArray[np.int32], after: NDArray[np.int32], margin: int) -> NDArray[np.int64]:
    """Count the damaged objects among those that are wholly in the middle of a window.

    Args:
        before: ids (y, x) before the transform; 0 is background.
        after: ids (y, x) after it.
        margin: pixels around the middle.

    Returns:
        The number of objects of at least MIN_OBJECT_PX; and of these, the numbers of objects without any pixel left,
        with more components than before, and with more components below SPECK_PX than before: (4,).
    """
    middle = np.zeros(before.shape, bool)
    middle[margin : before.shape[0] - margin, margin : before.shape[1] - margin] = True
    ids, areas = np.unique(before, return_counts=True)
    checked = (ids != 0) & (areas >= MIN_OBJECT_PX) & ~np.isin(ids, before[~middle])
    pieces_before, pieces_after = _count_pieces(before), _count_pieces(after)
    counts = np.zeros(4, int)
    for id_ in ids[checked].tolist():
        (large, small), (large_after, small_after) = pieces_before[id_], pieces_after.get(id_, [0, 0])
        counts += [1, not large_after + small_after, large_after > large, small_after > small]
    return counts


def _count_pieces(ids: NDArray[np.int32]) -> dict[int, list[int]]:
    """Return {id: [components of at least SPECK_PX, smaller components]}."""
    pieces = label(ids, background=0, connectivity=2)
    owners = np.zeros(pieces.max() + 1, ids.dtype)
    owners[pieces.ravel()] = ids.ravel()
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for owner, area in zip(owners[1:].tolist(), np.bincount(pieces.ravel())[1:].tolist(), strict=True):
        counts[owner][area < SPECK_PX] += 1
    return counts


def _describe_warnings(rows: Sequence[Mapping[str, Any]], n_objects: int) -> list[str]:
    warnings: list[str] = []
    for row in rows:
        damage = " and ".join(f"{verb} {row[kind]:.0%}" for kind, verb in _VERBS.items() if row[kind] > MAX_DAMAGED)
        if damage and not (row["setting"] == ALL_TRANSFORMS and warnings):
            name = row["setting"].rpartition("(")[2].rstrip(")")
            advice = _ADVICE.get(name, "make it weaker")
            warnings.append(f"{row['setting']}: {damage} of {n_objects} objects; {advice}")
    return warnings
