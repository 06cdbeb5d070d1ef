"""Selection of frames and of a region of interest."""

import pytest

from tessera.common.errors import InputError
from tessera.io.region_of_interest import check_roi, clip_to_roi, select_frames


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ("", [0, 1, 2, 3, 4, 5]),
        (":", [0, 1, 2, 3, 4, 5]),
        ("::", [0, 1, 2, 3, 4, 5]),
        ("3", [3]),
        ("1:3", [1, 2]),
        ("::2", [0, 2, 4]),
        ("1:100:3", [1, 4]),
        ("-2:", [4, 5]),
        ("5,0,5", [0, 5]),
        ("-1,0", [0, 5]),
        ("0,-6", [0]),
    ],
)
def test_frames_are_a_slice_or_numbers(text, frames):
    assert select_frames("a", text, 6) == frames


@pytest.mark.parametrize("text", ["6", "0,7", "-7", "4:2", "10:20"])
def test_frames_beyond_the_image_are_refused(text):
    with pytest.raises(InputError, match=rf"a: has 6 frames, 0 to 5, and frames is {text}; correct it"):
        select_frames("a", text, 6)


def test_region_of_interest_beyond_the_plane_is_refused():
    check_roi("a", None, (10, 20))
    check_roi("a", (0, 10, 5, 20), (10, 20))
    for roi in ((0, 11, 0, 20), (0, 10, 0, 21)):
        with pytest.raises(InputError, match=r"a: has 10 x 20 pixels \(y, x\), and roi is 0:1\d,0:2\d"):
            check_roi("a", roi, (10, 20))


@pytest.mark.parametrize(
    ("roi", "part"),
    [
        (None, (10, 20, 30, 40)),
        ((0, 100, 0, 100), (10, 20, 30, 40)),
        ((12, 18, 32, 38), (12, 18, 32, 38)),
        ((0, 15, 35, 100), (10, 15, 35, 40)),
        ((20, 30, 30, 40), None),
        ((0, 100, 0, 30), None),
    ],
)
def test_block_is_clipped_to_the_region_of_interest(roi, part):
    region = (slice(10, 20), slice(30, 40))
    expected = part and (slice(*part[:2]), slice(*part[2:]))
    assert clip_to_roi(roi, region) == expected
