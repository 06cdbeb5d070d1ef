"""Folds of cross-validation: the groups that each fold validates on, a pure function of their names.

Used when Snakemake plans, so it needs the standard library only.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

ALL = "all"  # the fold of images that validate in every fold


def unit_hash(seed: int, name: str) -> float:
    """Return a number in [0, 1) that depends only on the seed and the name."""
    digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def deal_folds(groups: Sequence[str], folds: int, seed: int) -> dict[str, int]:
    """Deal groups into folds whose numbers of groups differ by at most one.

    All pairs of a group and a fold are sorted by a hash of the seed and both names. Each pair in turn assigns its group
    to its fold, if the group has no fold yet and the fold has room. So the order of the groups does not matter, and an
    additional group moves few of the others.

    Args:
        groups: names of the groups.
        folds: number of folds, at least 1.
        seed: another seed gives other folds.

    Returns:
        {group: number of its fold, from 1}.
    """
    even, larger = divmod(len(groups), folds)
    pairs = sorted(
        (unit_hash(seed, f"fold {fold}\n{group}"), group, fold) for group in groups for fold in range(1, folds + 1)
    )
    dealt: dict[str, int] = {}
    sizes: Counter[int] = Counter()
    for _, group, fold in pairs:
        if group in dealt or sizes[fold] > even or (sizes[fold] == even and not larger):
            continue
        larger -= sizes[fold] == even
        sizes[fold] += 1
        dealt[group] = fold
    return dealt


def subsets_in_fold(lines: Sequence[Mapping[str, Any]], fold: int) -> dict[str, str]:
    """Return {image: "train" | "val"} for the images of a fold.

    Args:
        lines: result of `tessera.data.split.assign_split`.
        fold: number of the fold, from 1.
    """
    return {
        line["image"]: "val" if line["fold"] in (fold, ALL) else "train"
        for line in lines
        if line["split"] in ("train", "val")
    }


def fold_or_subset(line: Mapping[str, Any]) -> str:
    """Return the fold, such as "fold2", in which an image validates, or its subset if it validates in no single fold.

    Args:
        line: line of an image from `tessera.data.split.assign_split`.
    """
    return f"fold{line['fold']}" if line["split"] == "train" and line["fold"] else line["split"]
