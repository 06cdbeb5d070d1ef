"""The order of file names."""

import random

import pytest

from tessera.common.natural_order import natural_sort_key


@pytest.mark.parametrize(
    "names",
    [
        ["t1.tif", "t2.tif", "t10.tif"],
        ["img.tif", "img1.tif", "img2.tif", "img10.tif"],
        ["img.tif", "img (2).tif", "img (3).tif", "img (10).tif"],
        ["img.tif", "img(1).tif", "img(2).tif"],
        ["img.tif", "img_1.tif", "img_2.tif"],
        ["img.tif", "img-0001.tif", "img-0002.tif"],
        ["img.tif", "img.1.tif", "img.2.tif"],
        ["img.ome.tif", "img1.ome.tif", "img2.ome.tif"],
        ["img.ome.tif", "img (2).ome.tif", "img (3).ome.tif"],
        ["img.png", "img 2.png", "img 3.png"],
        ["img", "img1", "img2"],
        ["p.day2.tif", "p.day10.tif"],
        ["w1_t01.tif", "w01_t2.tif", "w1_t03.tif"],
        ["a/img.tif", "a/img1.tif", "a2/img.tif", "a10/img.tif"],
    ],
    ids=lambda names: names[1],
)
def test_names_are_sorted_as_people_count(names):
    shuffled = random.Random(1).sample(names, len(names))
    assert sorted(shuffled, key=natural_sort_key) == names
