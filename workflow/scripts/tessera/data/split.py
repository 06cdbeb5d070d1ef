"""Assignment of images to the subsets train, val and test: a pure function of the table.

Used when Snakemake plans, so it needs the standard library only.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tessera.common.errors import InputError
from tessera.data.cross_validation import ALL, deal_folds, unit_hash

SUBSETS = ("train", "val", "test")
SUBSET_NAMES = {"train": "training set", "val": "validation set", "test": "test set"}  # for messages
LEARNING_SUBSETS = ("train", "val")
PREDICT = "predict"
LEAKS_KEPT = 1000  # pairs in the table of leaks, so that it stays small even if all images look alike


def assign_split(
    rows: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    train: float,
    val: float,
    test: float,
    group_pattern: str | None = None,
    folds: int = 1,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Assign every image to a subset, and give the reason.

    Only images with ground truth are assigned. A subset that the table gives for one image holds for its whole group.
    The subset of any other group follows from a hash of the seed and the group's name, so that additional images move
    no others once each subset has a group by hash. A subset without any group gets one from the subset with most
    groups; if there are fewer groups than subsets, train is filled first, then val, then test.

    With more than one fold, the groups of train and val are dealt into folds (see
    `tessera.data.cross_validation.deal_folds`): each validates in its own fold and trains in all others, and its subset
    is train. A subset that the table gives applies in every fold: an image with split train never validates, one with
    split val never trains. The subset test does not depend on the number of folds.

    Args:
        rows: dicts with "image", "truth", "group" and "split" ("" or None if the table leaves the cell empty).
        seed: another seed gives another split.
        train: share of the groups for training; only the ratios of the three shares count.
        val: share of the groups for validation; a subset with share 0 gets no group by hash.
        test: share of the groups for the test.
        group_pattern: regular expression for the names of images without a group; None: each image is its own group.
        folds: number of networks that are trained, each validated on other groups; 1: one, validated on subset val.

    Returns:
        Dicts with "image", "group", "split", "why" (table, hash, filled or no truth) and "fold" (the number of the fold
        in which the image validates, "all", or "" for none), in the order of `rows`; and warnings for the user, about
        empty subsets and names that do not match the pattern.

    Raises:
        InputError: the table assigns a group to two subsets or demands a subset for an image without ground truth, the
            pattern is no regular expression, the shares are invalid, or there are fewer groups than folds.
    """
    shares = dict(zip(SUBSETS, (train, val, test), strict=True))
    if min(shares.values()) < 0 or not sum(shares.values()) > 0:
        raise InputError(
            f"split: train, val and test are {train}, {val}, {test}; no share may be negative, and at least "
            "one has to be positive"
        )
    groups = {row["image"]: group_of(row, group_pattern) for row in rows}
    stated = _stated_subsets(rows, groups)
    assigned = {groups[row["image"]] for row in rows if _is_assigned(row)}
    positions = {group: unit_hash(seed, group) for group in assigned if group not in stated}
    hashed = {group: _subset_at(position, shares) for group, position in positions.items()}
    filled, warnings = _fill_subsets(hashed, positions, stated, shares)
    dealt = _deal([group for group in filled if filled[group] in LEARNING_SUBSETS], folds, seed) if folds > 1 else {}

    lines = []
    for row in rows:
        group = groups[row["image"]]
        if not _is_assigned(row):
            split, why = row.get("split") or PREDICT, "table" if row.get("split") else "no truth"
        elif group in stated:
            split, why = stated[group], "table"
        elif group in dealt:
            split, why = "train", "hash" if hashed[group] in LEARNING_SUBSETS else "filled"
        else:
            split, why = filled[group], "hash" if filled[group] == hashed[group] else "filled"
        validates = ALL if folds > 1 else 1
        fold = dealt.get(group, validates if split == "val" else "") if _is_assigned(row) else ""
        lines.append({"image": row["image"], "group": group, "split": split, "why": why, "fold": fold})
    return lines, warnings + _pattern_warnings(rows, group_pattern)


def _deal(groups: Sequence[str], folds: int, seed: int) -> dict[str, int]:
    if len(groups) < folds:
        raise InputError(
            f"split.folds: {folds} folds need {folds} groups of images with ground truth, without those of the "
            f"test set and those with a split in the table, but there are only {len(groups)}; annotate images of "
            f"more groups, leave split empty in the table, or give {f'at most {len(groups)}' if len(groups) > 1 else 1}"
        )
    return deal_folds(groups, folds, seed)


def check_subsets(subsets: Iterable[str]) -> None:
    """Check that a network can be trained with these non-empty subsets.

    Raises:
        InputError: train or val is missing; the message says how to fill it.
    """
    present = set(subsets)
    empty = [subset for subset in LEARNING_SUBSETS if subset not in present]
    if empty:
        raise InputError(
            "\n".join(
                f"The {SUBSET_NAMES[subset]} is empty, so no network can be trained; annotate images of another group, "
                f"or set split to {subset} for some in the table (one image can be cut in two, with its ground truth)"
                for subset in empty
            )
        )


def group_of(row: Mapping[str, Any], group_pattern: str | None = None) -> str:
    """Return the group of a row: its column group, the match of the pattern in the image's name, or the image's name.

    If the pattern has groups, the first one counts.

    Raises:
        InputError: the pattern is no regular expression.
    """
    return row.get("group") or _match(row["image"], group_pattern) or row["image"]


def _match(image: str, group_pattern: str | None) -> str | None:
    if not group_pattern:
        return None
    try:
        match = re.search(group_pattern, image)
    except re.error as error:
        raise InputError(f"split.group_pattern: {group_pattern!r} is no regular expression: {error}") from None
    if match is None:
        return None
    return (match.group(1) if match.re.groups else None) or match.group(0)


def _is_assigned(row: Mapping[str, Any]) -> bool:
    return bool(row.get("truth")) and row.get("split") != PREDICT


def _stated_subsets(rows: Sequence[Mapping[str, Any]], groups: Mapping[str, str]) -> dict[str, str]:
    """Return {group: subset} for groups whose subset is in the table.

    Rows without ground truth and rows with split = predict do not count for the other images of their group.
    """
    stated: dict[str, str] = {}
    sources: dict[str, str] = {}
    problems = []
    for row in rows:
        subset, image, group = row.get("split"), row["image"], groups[row["image"]]
        if subset in LEARNING_SUBSETS and not row.get("truth"):
            problems.append(
                f"{image}: split is {subset}, but truth is empty; give its ground truth or leave split empty"
            )
        if not subset or not _is_assigned(row):
            continue
        if stated.setdefault(group, subset) != subset:
            problems.append(
                f"group {group}: split is {stated[group]} for {sources[group]} and {subset} for {image}; a group "
                "belongs to one subset, so give both the same split or different groups"
            )
        sources.setdefault(group, image)
    if problems:
        raise InputError("\n".join(problems))
    return stated


def _intervals(shares: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return {subset: (low, high)}: consecutive intervals of [0, 1) for the subsets with a positive share."""
    total, low = sum(shares.values()), 0.0
    intervals = {}
    for subset, share in shares.items():
        if share > 0:
            intervals[subset] = (low, low + share / total)
            low += share / total
    return intervals


def _subset_at(position: float, shares: Mapping[str, float]) -> str:
    intervals = _intervals(shares)
    return next((subset for subset, (_, high) in intervals.items() if position < high), list(intervals)[-1])


def _fill_subsets(
    hashed: Mapping[str, str], positions: Mapping[str, float], stated: Mapping[str, str], shares: Mapping[str, float]
) -> tuple[dict[str, str], list[str]]:
    """Give every subset with a positive share a group while there are groups, and move as few groups as possible.

    The group that moves is the one of the giving subset whose hash is nearest to the interval of the empty subset.

    Returns:
        {group: subset}, and warnings about subsets that stay empty.
    """
    subsets = dict(hashed)
    warnings = []
    for number, subset in enumerate(SUBSETS):
        if shares[subset] == 0 or subset in stated.values() or subset in subsets.values():
            continue
        giver = _giver(subsets, stated, after=SUBSETS[number + 1 :])
        if giver is None:
            count = len(subsets) + len(stated)
            warnings.append(
                f"No image is left for the {SUBSET_NAMES[subset]}: the images with ground truth form {count} "
                f"group{'s' * (count != 1)}{', all with a split in the table' if stated and not subsets else ''}. "
                f"Annotate images of another group, or set split to {subset} in the table."
            )
            continue
        low, high = _intervals(shares)[subset]
        candidates = [group for group in subsets if subsets[group] == giver]
        moved = min(candidates, key=lambda group: (max(low - positions[group], positions[group] - high), group))
        subsets[moved] = subset
    return subsets, warnings


def _giver(subsets: Mapping[str, str], stated: Mapping[str, str], after: Collection[str]) -> str | None:
    """Return the subset from which a group moves.

    This is the subset with most groups, if it keeps one; else a subset of `after`, which gives its last; else None.
    """
    movable: dict[str, int] = defaultdict(int)
    fixed: dict[str, int] = defaultdict(int)
    for subset in subsets.values():
        movable[subset] += 1
    for subset in stated.values():
        fixed[subset] += 1
    rich = [subset for subset in SUBSETS if movable[subset] and movable[subset] + fixed[subset] > 1]
    if rich:
        return max(rich, key=lambda subset: (movable[subset] + fixed[subset], -SUBSETS.index(subset)))
    return next((subset for subset in reversed(list(after)) if movable[subset]), None)


def _pattern_warnings(rows: Sequence[Mapping[str, Any]], group_pattern: str | None) -> list[str]:
    unmatched = [
        row["image"]
        for row in rows
        if group_pattern and _is_assigned(row) and not row.get("group") and not _match(row["image"], group_pattern)
    ]
    if not unmatched:
        return []
    names = ", ".join(unmatched[:3]) + (", ..." if len(unmatched) > 3 else "")
    return [
        f"split.group_pattern {group_pattern!r} does not match the names of {len(unmatched)} images with ground truth "
        f"({names}); each of them is a group of its own."
    ]
