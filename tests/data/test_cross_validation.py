"""Groups are dealt into folds evenly, by their names, and stay where they are as far as can be."""

from collections import Counter
from random import Random

import pytest

from tessera.common.errors import InputError
from tessera.data.cross_validation import deal_folds, fold_or_subset, subsets_in_fold
from tessera.data.split import assign_split

SHARES = {"seed": 0, "train": 0.7, "val": 0.2, "test": 0.1}


def rows_of(*images, **columns):
    return [{"image": image, "truth": "mask.tif", "group": None, "split": None} | columns for image in images]


def numbered(count):
    return rows_of(*(f"image{number}" for number in range(count)))


@pytest.mark.parametrize(("count", "folds"), [(2, 2), (5, 5), (7, 3), (12, 5), (100, 7)])
@pytest.mark.parametrize("seed", range(3))
def test_fold_sizes_differ_by_at_most_one_group(count, folds, seed):
    sizes = Counter(deal_folds([f"group{number}" for number in range(count)], folds, seed).values())
    assert set(sizes) == set(range(1, folds + 1))
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert sum(sizes.values()) == count


def test_folds_do_not_depend_on_the_order_of_groups():
    groups = [f"group{number}" for number in range(30)]
    assert deal_folds(groups, 4, 0) == deal_folds(Random(1).sample(groups, 30), 4, 0)


def test_another_seed_gives_other_folds():
    groups = [f"group{number}" for number in range(30)]
    assert deal_folds(groups, 4, 0) != deal_folds(groups, 4, 1)


def test_additional_group_moves_few_other_groups():
    groups, moved = [f"group{number}" for number in range(60)], []
    for count in range(20, 60):
        before, after = deal_folds(groups[:count], 5, 0), deal_folds(groups[: count + 1], 5, 0)
        moved.append(sum(after[group] != before[group] for group in before))
    # Dealing them out one by one in the order of their hashes would move four of five behind the new one.
    assert sum(moved) / len(moved) < 1.5
    assert max(moved) <= 5


def test_each_image_validates_in_one_fold_and_trains_in_all_others():
    rows = [row | {"group": f"well{number % 9}"} for number, row in enumerate(numbered(60))]
    lines, remarks = assign_split(rows, **SHARES, folds=3)
    learning = {line["image"] for line in lines if line["split"] == "train"}
    folds = [subsets_in_fold(lines, fold) for fold in (1, 2, 3)]
    assert remarks == []
    assert all(set(fold) == learning for fold in folds)
    for image in learning:
        assert sorted(fold[image] for fold in folds) == ["train", "train", "val"]
    groups = {line["image"]: line["group"] for line in lines}
    for fold in folds:
        validate, train = ({groups[image] for image in fold if fold[image] == side} for side in ("val", "train"))
        assert not validate & train


def test_test_set_does_not_depend_on_the_number_of_folds():
    for count in (4, 7, 50):
        tests = [
            {
                line["image"]
                for line in assign_split(numbered(count), **SHARES, folds=folds)[0]
                if line["split"] == "test"
            }
            for folds in (1, 2, 3)
        ]
        assert tests[0] == tests[1] == tests[2] != set()


def test_single_fold_equals_the_split_into_train_and_val():
    lines, _ = assign_split(numbered(30), **SHARES)
    learning = {line["image"]: line["split"] for line in lines if line["split"] in ("train", "val")}
    assert subsets_in_fold(lines, 1) == learning
    assert {line["fold"] for line in lines if line["split"] == "val"} == {1}
    assert {line["fold"] for line in lines if line["split"] != "val"} == {""}


def test_split_of_the_table_applies_in_every_fold():
    rows = (
        rows_of("always", split="train") + rows_of("never", split="val") + rows_of("kept", split="test") + numbered(20)
    )
    lines, _ = assign_split(rows, **SHARES, folds=3)
    stated = {line["image"]: (line["split"], line["fold"], line["why"]) for line in lines[:3]}
    assert stated == {
        "always": ("train", "", "table"),
        "never": ("val", "all", "table"),
        "kept": ("test", "", "table"),
    }
    for fold in (1, 2, 3):
        sides = subsets_in_fold(lines, fold)
        assert (sides["always"], sides["never"]) == ("train", "val")
        assert "kept" not in sides


def test_images_without_truth_are_in_no_fold():
    lines, _ = assign_split(
        numbered(9) + rows_of("plain", truth="") + rows_of("out", split="predict"), **SHARES, folds=2
    )
    assert [(line["split"], line["fold"]) for line in lines[-2:]] == [("predict", "")] * 2


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(InputError, match=r"split\.folds: 5 folds need 5 groups .* only 3; .* or give at most 3"):
        assign_split(numbered(4), **SHARES, folds=5)
    rows = rows_of("a", split="train") + rows_of("b", split="val")
    with pytest.raises(
        InputError, match=r"2 folds need 2 groups .* with a split in the table, .* only 0; .* or give 1"
    ):
        assign_split(rows, **SHARES, folds=2)


def test_fold_or_subset_prefers_the_fold_of_a_dealt_image():
    lines, _ = assign_split(numbered(20) + rows_of("never", split="val"), **SHARES, folds=2)
    assert {fold_or_subset(line) for line in lines} == {"fold1", "fold2", "val", "test"}
    assert {fold_or_subset(line) for line in assign_split(numbered(20), **SHARES)[0]} == {"train", "val", "test"}
