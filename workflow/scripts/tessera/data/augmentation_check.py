"""Damages: what transforms do to objects that they should only move and bend."""

from collections import defaultdict

import numpy as np
from skimage.measure import label

from tessera.common.constants import IGNORE
from tessera.data.annotated_images import grid_positions
from tessera.data.augmentation import moves_pixels, transform_patch, window_px, without_mirrored_border
from tessera.data.patch_reader import read_window

LOOKED_AT = 16  # windows
LEAST_PX = 16  # smaller objects may well vanish
SPECK_PX = 4  # smaller pieces are specks
LIMIT = 0.05  # share of the objects lost, cut or with specks above which it is told of
TOGETHER = "augment.transforms"
_DONE = {"lost": "loses", "cut": "cuts into pieces", "specks": "leaves specks of"}
_AFTER = {"lost": "were lost", "cut": "cut into pieces", "specks": "left specks"}
_LOWER = {
    "Affine": "narrow scale, shear and translate_percent",
    "ElasticTransform": "lower alpha, or raise sigma",
    "GridDistortion": "lower distort_limit",
    "OpticalDistortion": "lower distort_limit",
    "Perspective": "lower scale",
    "ThinPlateSpline": "lower scale_range",
}


def measure_label_damage(sources, transforms, patch_size_px, seed):
    """Try transforms on windows, each alone and all together, and count what becomes of the objects in the middle.

    Objects are those of the truth, or connected pieces of its classes, that lie wholly in the patch, the middle of the
    window, before; after, they are looked for in the whole window, so that one that was moved is not lost.

    Args:
        sources: of `tessera.data.annotated_images`.
        transforms: as in the configuration.
        patch_size_px: side of a patch.
        seed: int.

    Returns:
        {"limit", "objects": how many were tried, "transforms": [{"setting", "lost", "cut", "specks"}, ...],
        "warnings": sentences where a share is above the limit}. Of `count_damage`, as shares of the objects. Each
        transform that moves pixels has an entry, as if its `p` were 1; the last, TOGETHER, is all of them as they are.
    """
    wide = window_px(transforms, patch_size_px)
    margin = (wide - patch_size_px) // 2
    windows = []
    for place in grid_positions(sources, patch_size_px, LOOKED_AT):
        pixels, ids, inside = read_window(*place, wide, patch_size_px)
        if not place[0].holds_instances:
            ids = label(np.where(ids == IGNORE, 0, ids), background=0, connectivity=2)
        windows.append((pixels, ids.astype(np.int32), inside))
    moving = {
        f"augment.transforms, entry {number} ({one['name']})": without_mirrored_border(one)
        for number, one in enumerate(transforms, start=1)
        if moves_pixels(one)
    }
    tried = {setting: [one | {"p": 1.0}] for setting, one in moving.items()} | {TOGETHER: [*moving.values()]}
    rows, objects = [], 0
    for setting, some in tried.items():
        counts = np.zeros(4, int)
        for number, (pixels, ids, inside) in enumerate(windows):
            _, moved, kept, _ = transform_patch(pixels, ids, inside, some, wide, seed + number)
            counts += count_damage(np.where(inside, ids, 0), np.where(kept, moved, 0), margin)
        objects = int(counts[0])
        shares = (counts[1:] / max(objects, 1)).round(4).tolist()
        rows.append({"setting": setting} | dict(zip(_DONE, shares, strict=True)))
    return {"limit": LIMIT, "objects": objects, "transforms": rows, "warnings": _warn(rows, objects)}


def describe_label_damage(check):
    """What `measure_label_damage` found, for the log: a sentence and its warnings."""
    together = check["transforms"][-1]
    told = ", ".join(f"{together[kind]:.1%} {word}" for kind, word in _AFTER.items())
    return "\n".join(
        [
            f"Transforms were tried on {check['objects']} objects: {told}",
            *(f"Beware: {warning}" for warning in check["warnings"]),
        ]
    )


def count_damage(before, after, margin):
    """What became of the objects that lie wholly in the middle of a window.

    Args:
        before, after: ids (y, x), 0 is none.
        margin: pixels around the middle.

    Returns:
        How many objects of LEAST_PX or more there were; of these, how many have no pixel left, how many are in more
        pieces than before, and how many have more pieces below SPECK_PX than before.
    """
    middle = np.zeros(before.shape, bool)
    middle[margin : before.shape[0] - margin, margin : before.shape[1] - margin] = True
    ids, areas = np.unique(before, return_counts=True)
    whole = (ids != 0) & (areas >= LEAST_PX) & ~np.isin(ids, before[~middle])
    was, now = _pieces(before), _pieces(after)
    found = np.zeros(4, int)
    for id_ in ids[whole].tolist():
        (large, small), (large_now, small_now) = was[id_], now.get(id_, (0, 0))
        found += [1, not large_now + small_now, large_now > large, small_now > small]
    return found


def _pieces(ids):
    """{id: [pieces of SPECK_PX or more, smaller pieces]}."""
    pieces = label(ids, background=0, connectivity=2)
    owners = np.zeros(pieces.max() + 1, ids.dtype)
    owners[pieces.ravel()] = ids.ravel()
    counted = defaultdict(lambda: [0, 0])
    for owner, area in zip(owners[1:].tolist(), np.bincount(pieces.ravel())[1:].tolist(), strict=True):
        counted[owner][area < SPECK_PX] += 1
    return counted


def _warn(rows, objects):
    warnings = []
    for row in rows:
        told = " and ".join(f"{_DONE[kind]} {row[kind]:.0%}" for kind in _DONE if row[kind] > LIMIT)
        if told and not (row["setting"] == TOGETHER and warnings):
            name = row["setting"].rpartition("(")[2].rstrip(")")
            warnings.append(f"{row['setting']}: {told} of {objects} objects; {_LOWER.get(name, 'make it weaker')}")
    return warnings
