"""Folds of cross-validation: the groups that each fold validates on, a pure function of their names.

Used when Snakemake plans, so it needs the standard library only.
"""

import hashlib
from collections import Counter

ALL = "all"


def unit_hash(seed, name):
    """A number in [0, 1) that depends on the seed and the name alone."""
    digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def deal_folds(groups, folds, seed):
    """Deal groups into folds whose numbers of groups differ by one at most.

    Of all pairs of a group and a fold that has room, the one with the smallest hash of the seed and both names comes
    first, and so on. So the order of the groups does not matter, and another group moves hardly any of the others.

    Args:
        groups: names.
        folds: how many folds, at least 1.

    Returns:
        {group: number of its fold, from 1}.
    """
    even, larger = divmod(len(groups), folds)
    pairs = sorted(
        (unit_hash(seed, f"fold {fold}\n{group}"), group, fold) for group in groups for fold in range(1, folds + 1)
    )
    dealt, sizes = {}, Counter()
    for _, group, fold in pairs:
        if group in dealt or sizes[fold] > even or (sizes[fold] == even and not larger):
            continue
        larger -= sizes[fold] == even
        sizes[fold] += 1
        dealt[group] = fold
    return dealt


def subsets_in_fold(lines, fold):
    """{image: "train" | "val"} in one fold, of the images that a network learns from.

    Args:
        lines: of `tessera.data.split.assign_split`.
        fold: its number, from 1.
    """
    return {
        line["image"]: "val" if line["fold"] in (fold, ALL) else "train"
        for line in lines
        if line["split"] in ("train", "val")
    }


def fold_or_subset(line):
    """Where a line of `tessera.data.split.assign_split` puts its image: the fold that it was dealt into, else its side."""
    return f"fold{line['fold']}" if line["split"] == "train" and line["fold"] else line["split"]
