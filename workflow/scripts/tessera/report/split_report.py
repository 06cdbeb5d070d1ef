"""The split in the report: its subsets and folds, and the leakage check."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from tessera.data.split import LEAKS_KEPT, SUBSET_NAMES
from tessera.data.split import SUBSETS as SPLIT_SUBSETS
from tessera.report.report_tables import SUBSETS, list_rows
from tessera.report.wording import count_nouns

MAX_LEAKS = 200
NO_SPLIT = pd.DataFrame(columns=["image", "group", "split", "why", "fold"])


class SubsetSize(NamedTuple):
    """Size of a subset of the split.

    Attributes:
        subset: train, val, test or predict.
        images: number of images.
        groups: number of groups.
        by_hash: number of images assigned by the hash of their group.
        by_table: number of images assigned by the table of images.
        filled: number of images assigned because the subset would have been empty.
    """

    subset: str
    images: int
    groups: int
    by_hash: int
    by_table: int
    filled: int


class FoldSize(NamedTuple):
    """Number of images and groups in a fold."""

    fold: str
    images: int
    groups: int


@dataclass(frozen=True)
class SplitSection:
    """The split.

    Attributes:
        subsets: sizes of the subsets that have images.
        folds: sizes of the folds; empty without cross-validation.
        leaks: rows of results/leakage.tsv, at most MAX_LEAKS.
        n_leaks: number of pairs in words, such as "3 pairs".
        leaks_cut: whether there are more pairs than `leaks`.
        similarity_threshold: similarity above which images count as nearly the same.
    """

    subsets: list[SubsetSize]
    folds: list[FoldSize]
    leaks: list[dict[str, Any]]
    n_leaks: str
    leaks_cut: bool
    similarity_threshold: float


def summarize_split(split: pd.DataFrame, leaks: pd.DataFrame, similarity_threshold: float) -> SplitSection:
    """The split and its leakage check.

    Args:
        split: table results/split.tsv.
        leaks: table results/leakage.tsv, pairs of images of different subsets that are nearly the same.
        similarity_threshold: the setting split.leakage_similarity.
    """
    return SplitSection(
        subsets=count_subsets(split),
        folds=count_folds(split),
        leaks=list_rows(leaks.head(MAX_LEAKS)),
        n_leaks=count_leaks(leaks),
        leaks_cut=len(leaks) > MAX_LEAKS,
        similarity_threshold=similarity_threshold,
    )


def count_subsets(split: pd.DataFrame) -> list[SubsetSize]:
    """Sizes of the subsets that have images, in the order of the report."""
    sizes = []
    for subset in SUBSETS:
        rows = split[split["split"] == subset]
        reasons = [int((rows["why"] == reason).sum()) for reason in ("hash", "table", "filled")]
        if len(rows):
            sizes.append(SubsetSize(subset, len(rows), rows["group"].nunique(), *reasons))
    return sizes


def count_folds(split: pd.DataFrame) -> list[FoldSize]:
    """Sizes of the folds of a cross-validation; empty for a single fold."""
    dealt = split[(split["split"] == "train") & split["fold"].notna()]
    return [
        FoldSize(str(fold), len(rows), rows["group"].nunique())
        for fold, rows in sorted(dealt.groupby("fold"), key=lambda pair: int(str(pair[0])))
    ]


def count_leaks(leaks: pd.DataFrame) -> str:
    """Number of pairs of nearly the same image in words; results/leakage.tsv has at most LEAKS_KEPT of them."""
    return count_nouns(len(leaks), "pair") + (" or more" if len(leaks) >= LEAKS_KEPT else "")


def split_warnings(
    split: pd.DataFrame, leaks: pd.DataFrame, *, test_is_scored: bool, trained: bool
) -> list[tuple[str, str]]:
    """Warnings [(text, id of the section)] of the report about the split.

    Args:
        split: table results/split.tsv.
        leaks: table results/leakage.tsv.
        test_is_scored: whether the test set has ground truth.
        trained: whether a network was trained in this run; otherwise the run needs no test set.
    """
    warnings = []
    if trained and not test_is_scored:
        warnings.append("The test set has no scores, so this run does not show how well the model does on new images.")
    if len(leaks):
        highest = f"{leaks['similarity'].max():.2f}"
        warnings.append(
            f"{count_leaks(leaks)} of nearly identical images in different subsets (similarity up to {highest})."
        )
    filled = split[split["why"] == "filled"]
    if len(filled):
        subsets = " and ".join(
            f"the {SUBSET_NAMES[subset]}" for subset in SPLIT_SUBSETS if subset in set(filled["split"])
        )
        each = "" if filled["split"].nunique() == 1 else " each"
        warnings.append(f"There are few groups: {subsets} would have been empty and got one group{each}.")
    return [(text, "split") for text in warnings]
