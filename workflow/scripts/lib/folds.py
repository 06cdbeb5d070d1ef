"""Folds of cross-validation: which groups each leaves out of its training, a pure function of names.

Used when Snakemake plans, so it needs the standard library only.
"""

import hashlib
from collections import defaultdict

ALL = "all"


def spot(seed, name):
    """A number in [0, 1) that depends on the seed and the name alone."""
    digest = hashlib.blake2b(f"{seed}\n{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def deal_folds(groups, folds, seed):
    """Deal groups into folds whose numbers of groups differ by one at most.

    Each group has a fold by a hash of the seed and its name; as long as a fold has two groups more than another, it
    gives it one, by a hash of both. So another group moves few of those that are there, and their order none.

    Args:
        groups: names.
        folds: how many folds, at least 1.

    Returns:
        {group: number of its fold, from 1}.
    """
    members = defaultdict(set)
    for group in groups:
        members[1 + int(folds * spot(seed, f"fold\n{group}"))].add(group)
    numbers = range(1, folds + 1)
    while True:
        most = max(numbers, key=lambda fold: (len(members[fold]), -fold))
        least = min(numbers, key=lambda fold: (len(members[fold]), fold))
        if len(members[most]) - len(members[least]) <= 1:
            return {group: fold for fold in numbers for group in members[fold]}
        moved = min(members[most], key=lambda group: (spot(seed, f"fold {least}\n{group}"), group))
        members[most].remove(moved)
        members[least].add(moved)


def sides_in_fold(lines, fold):
    """{image: "train" | "val"} in one fold, of the images that a network learns from.

    Args:
        lines: of `lib.splits.explain_sides`.
        fold: its number, from 1.
    """
    return {
        line["image"]: "val" if line["fold"] in (fold, ALL) else "train"
        for line in lines
        if line["split"] in ("train", "val")
    }


def place_of(line):
    """Where a line of `lib.splits.explain_sides` puts its image: the fold that it was dealt into, else its side."""
    return f"fold{line['fold']}" if line["split"] == "train" and line["fold"] else line["split"]
