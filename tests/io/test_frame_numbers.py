"""Frame numbers in file names: missing numbers, and masks that belong to other frames."""

from pathlib import Path

import pytest

from tessera.common.errors import InputError
from tessera.io.frame_numbers import check_frame_pairs, describe_missing_numbers, first_shifted_frame


def named(*numbers, pattern="t{}.tif"):
    return [Path(pattern.format(number)) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "shifted"),
    [
        ((0, 1, 2), None),
        ((5, 6, 7), None),
        ((0, 10, 20), None),
        ((0, 1, 3), 2),
        ((10, 20, 40, 50), 2),
        ((0, 2, 3, 4), 1),
        ((0, 7, 19, 20), None),  # most steps differ, so the numbers are not a count
    ],
)
def test_first_shifted_frame_follows_a_missing_number(numbers, shifted):
    assert first_shifted_frame(named(*numbers)) == shifted


def test_missing_numbers_are_described_with_the_first_frame_that_moves_up():
    assert describe_missing_numbers(named(0, 1, 2)) == []
    assert describe_missing_numbers(named(0, 1, 4, 5)) == [
        "has no file for 2 of its frame numbers (2, 3); later frames move up: frame 2 is t4.tif"
    ]


def test_numbers_that_all_names_share_are_ignored():
    assert first_shifted_frame(named(0, 1, 3, pattern="plate7/well9_t{}.tif")) == 2


@pytest.mark.parametrize("masks", [(0, 1, 2, 3), (5, 6, 7, 8), (1, 2, 3, 4)])
def test_masks_may_be_numbered_from_another_start(masks):
    assert check_frame_pairs(named(*masks), named(0, 1, 2, 3)) is None


def test_masks_of_other_frames_are_refused_with_the_first_wrong_pair():
    with pytest.raises(InputError, match=r"t3\.tif: would be paired with image t2\.tif .* rename the files"):
        check_frame_pairs(named(0, 1, 3, 4), named(0, 1, 2, 4))
