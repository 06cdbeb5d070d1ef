"""Assignment of images to the subsets train, val and test: a pure function of the table.

Used when Snakemake plans, so it needs the standard library only.
"""

import re
from collections import defaultdict

from tessera.common.errors import InputError
from tessera.data.cross_validation import ALL, deal_folds, unit_hash

SUBSETS = ("train", "val", "test")
SUBSET_NAMES = {"train": "training set", "val": "validation set", "test": "test set"}  # what messages call the sides
LEARNING_SUBSETS = ("train", "val")
PREDICT = "predict"
LEAKS_KEPT = 1000  # pairs in the table of leaks, so that it stays small where all images look alike


def assign_split(rows, *, seed, train, val, test, group_pattern=None, folds=1):
    """The side of every image, and why it has it.

    Images with truth take part. A side that the table states for one holds for its whole group; other groups go by a
    hash of the seed and the group's name, so that adding images never moves others once each side has a group by hash.
    A side that none fell to is filled from the side that has most groups; where there are fewer groups than sides,
    train comes first, then val, then test.

    With more than one fold, the groups that would train or validate are dealt into folds, see `tessera.data.cross_validation.deal_folds`:
    each validates in its own and trains in all others, and its side is train. What the table states holds in every
    fold: a stated train never validates, a stated val never trains. The side test is the same for any number of folds.

    Args:
        rows: dicts with "image", "truth", "group" and "split" ("" or None where the table says nothing).
        seed: another seed is another split.
        train, val, test: shares of the groups; only their ratios count, and a side with share 0 gets no group by hash.
        group_pattern: regular expression on the name of images without a group; None: each is its own group.
        folds: how many networks are trained, each validated on other groups; 1: one, validated on the side val.

    Returns:
        Dicts with "image", "group", "split", "why" (table, hash, filled or no truth) and "fold" (the number of the one
        that the image validates in, "all" or "" for none), in the order of `rows`; and sentences that a user
        should read, about sides that stay empty and names that do not match.

    Raises:
        InputError: a group that the table puts on two sides, truth missing where the table wants it, a pattern that is
            no regular expression, shares that are not, fewer groups than folds.
    """
    shares = dict(zip(SUBSETS, (train, val, test), strict=True))
    if min(shares.values()) < 0 or not sum(shares.values()) > 0:
        raise InputError(
            f"split: train, val and test are {train}, {val}, {test}; shares are 0 or more, and one is more"
        )
    groups = {row["image"]: group_of(row, group_pattern) for row in rows}
    stated = _stated_sides(rows, groups)
    taking_part = {groups[row["image"]] for row in rows if _takes_part(row)}
    spots = {group: unit_hash(seed, group) for group in taking_part if group not in stated}
    hashed = {group: _side_at(position, shares) for group, position in spots.items()}
    filled, remarks = _fill_sides(hashed, spots, stated, shares)
    dealt = _deal([group for group in filled if filled[group] in LEARNING_SUBSETS], folds, seed) if folds > 1 else {}

    lines = []
    for row in rows:
        group = groups[row["image"]]
        if not _takes_part(row):
            split, why = row.get("split") or PREDICT, "table" if row.get("split") else "no truth"
        elif group in stated:
            split, why = stated[group], "table"
        elif group in dealt:
            split, why = "train", "hash" if hashed[group] in LEARNING_SUBSETS else "filled"
        else:
            split, why = filled[group], "hash" if filled[group] == hashed[group] else "filled"
        validates = ALL if folds > 1 else 1
        fold = dealt.get(group, validates if split == "val" else "") if _takes_part(row) else ""
        lines.append({"image": row["image"], "group": group, "split": split, "why": why, "fold": fold})
    return lines, remarks + _pattern_remarks(rows, group_pattern)


def _deal(groups, folds, seed):
    if len(groups) < folds:
        raise InputError(
            f"split.folds: {folds} folds need {folds} groups of images with truth to deal, beside those of the test "
            f"set and those with a stated split, and have {len(groups)}; annotate images of more groups, "
            f"leave split empty in the table, or give {f'at most {len(groups)}' if len(groups) > 1 else 1}"
        )
    return deal_folds(groups, folds, seed)


def check_subsets(sides):
    """Make sure that a network can be trained when some image is on each of `sides`.

    Raises:
        InputError: train or val is not among them; it says how to get images on it.
    """
    lacking = [side for side in ("train", "val") if side not in set(sides)]
    if lacking:
        raise InputError(
            "\n".join(
                f"The {SUBSET_NAMES[side]} is empty, so no network can be trained; annotate images of another group, or "
                f"state split = {side} for some in the table (one image can be cut in two, with its truth)"
                for side in lacking
            )
        )


def group_of(row, group_pattern=None):
    """The name of the group of a row: its column, what the pattern finds in the image's name, or the image itself.

    Raises:
        InputError: the pattern is no regular expression.
    """
    return row.get("group") or _match(row["image"], group_pattern) or row["image"]


def _match(image, group_pattern):
    if not group_pattern:
        return None
    try:
        found = re.search(group_pattern, image)
    except re.error as error:
        raise InputError(f"split.group_pattern: {group_pattern!r} is no regular expression: {error}") from None
    if found is None:
        return None
    return (found.group(1) if found.re.groups else None) or found.group(0)


def _takes_part(row):
    return bool(row.get("truth")) and row.get("split") != PREDICT


def _stated_sides(rows, groups):
    """{group: side} where the table states it; rows without truth and "predict" speak for themselves alone."""
    stated, sources, problems = {}, {}, []
    for row in rows:
        side, image, group = row.get("split"), row["image"], groups[row["image"]]
        if side in ("train", "val") and not row.get("truth"):
            problems.append(f"{image}: split is {side} but it has no truth; give its truth or leave split empty")
        if not side or not _takes_part(row):
            continue
        if stated.setdefault(group, side) != side:
            problems.append(
                f"group {group}: {sources[group]} is stated {stated[group]} and {image} {side}; "
                "a group is in one set, so state the same for both or give them different groups"
            )
        sources.setdefault(group, image)
    if problems:
        raise InputError("\n".join(problems))
    return stated


def _intervals(shares):
    """{side: (low, high)}: the sides with a positive share, laid end to end over [0, 1)."""
    total, low, intervals = sum(shares.values()), 0.0, {}
    for side, share in shares.items():
        if share > 0:
            intervals[side] = (low, low + share / total)
            low += share / total
    return intervals


def _side_at(position, shares):
    intervals = _intervals(shares)
    return next((side for side, (_, high) in intervals.items() if position < high), list(intervals)[-1])


def _fill_sides(hashed, spots, stated, shares):
    """Give every side with a positive share a group, as far as there are groups, moving as few as possible.

    Of the side that gives, the group moves whose position is nearest to the interval of the side that receives.
    """
    sides = dict(hashed)
    remarks = []
    for number, side in enumerate(SUBSETS):
        if shares[side] == 0 or side in stated.values() or side in sides.values():
            continue
        giver = _giver(sides, stated, after=SUBSETS[number + 1 :])
        if giver is None:
            count = len(sides) + len(stated)
            remarks.append(
                f"No image is left for the {SUBSET_NAMES[side]}: the images with truth make {count} group{'s' * (count != 1)}"
                f"{', all with a stated split' if stated and not sides else ''}. "
                f"Annotate images of another group, or state split = {side} in the table."
            )
            continue
        low, high = _intervals(shares)[side]
        own = [group for group in sides if sides[group] == giver]
        moved = min(own, key=lambda group: (max(low - spots[group], spots[group] - high), group))
        sides[moved] = side
    return sides, remarks


def _giver(sides, stated, after):
    """The side that has most groups and keeps one; else one that comes `after` and gives its last; else None."""
    movable, fixed = defaultdict(int), defaultdict(int)
    for side in sides.values():
        movable[side] += 1
    for side in stated.values():
        fixed[side] += 1
    rich = [side for side in SUBSETS if movable[side] and movable[side] + fixed[side] > 1]
    if rich:
        return max(rich, key=lambda side: (movable[side] + fixed[side], -SUBSETS.index(side)))
    return next((side for side in reversed(after) if movable[side]), None)


def _pattern_remarks(rows, group_pattern):
    lost = [
        row["image"]
        for row in rows
        if group_pattern and _takes_part(row) and not row.get("group") and not _match(row["image"], group_pattern)
    ]
    if not lost:
        return []
    names = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
    return [
        f"split.group_pattern {group_pattern!r} is not found in the names of {len(lost)} images with truth ({names}); "
        "each of them is a group of its own."
    ]
