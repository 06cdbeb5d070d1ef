"""Labels made from drawn regions: classes, overlaps, and regions that are not annotated."""

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.drawn_labels import Drawing, DrawnRegion, draw_labels
from tessera.io.drawn_shapes import Polygons, rectangle

CELLS = LabelKind("instances", ("background", "cell"))
TISSUE = LabelKind("semantic", ("background", "Tumor", "Stroma"))
SHAPE = (1, 2, 1, 6, 8)


def region(number, left, top, width, height, name=None, **where):
    return DrawnRegion(Polygons([[rectangle(left, top, width, height)]]), number, name, **where)


def draw(*regions, kind=CELLS, shape=SHAPE, **drawing):
    annotation = draw_labels(Drawing(list(regions), **drawing), shape, kind, "a.json")
    ids = np.stack([annotation.source.read(t, 0, slice(0, 6), slice(0, 8))[0] for t in range(shape[0])])
    return ids, annotation


def test_smaller_region_covers_the_larger_one_and_pixels_are_counted():
    ids, annotation = draw(region(0, 1, 1, 2, 2), region(1, 0, 0, 8, 4))
    expected = np.zeros((6, 8))
    expected[:4] = 2
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(ids[0], expected)
    note = "4 pixels in which regions overlap; the smaller region covers the larger one"
    assert annotation.source.warnings == [note]


def test_labels_and_counts_do_not_depend_on_blocks():
    regions = [region(0, 1, 1, 2, 2), region(1, 0, 0, 8, 4), region(2, 2, 1, 5, 5)]
    ids, whole = draw(*regions)
    _, blocks = draw(*regions)
    for _ in range(2):  # a block that is read twice counts once
        for top in range(0, 6, 2):
            part = blocks.source.read(0, 0, slice(top, top + 2), slice(0, 8))[0]
            np.testing.assert_array_equal(part, ids[0, top : top + 2])
    assert blocks.source.warnings == whole.source.warnings


@pytest.mark.parametrize("name", ["Ignore*", "ignore", "__ignore__", "Ignore*: blurred"])
def test_ignored_class_covers_all_others(name):
    ids, _ = draw(region(0, 0, 0, 8, 6, name), region(1, 1, 1, 2, 2))
    assert (ids == NOT_ANNOTATED).all()


def test_only_region_classes_of_qupath_count_as_annotated():
    ids, annotation = draw(region(0, 0, 0, 4, 6, "Region*"), region(1, 2, 1, 4, 2))
    assert (ids[0, :, 4:] == NOT_ANNOTATED).all()
    assert (ids[0, 1:3, 2:4] == 1).all()
    assert (ids[0] == 0).sum() == 24 - 4
    assert "Region*" in annotation.source.warnings[0]


def test_classes_are_mapped_by_name():
    drawn = [
        region(0, 0, 0, 8, 6, "stroma"),
        region(1, 1, 1, 2, 2, "Tumor: Positive"),
        region(2, 5, 5, 1, 1, "Background"),
    ]
    ids, _ = draw(*drawn, kind=TISSUE)
    assert (ids[0, 0, 0], ids[0, 1, 1], ids[0, 5, 5]) == (2, 1, 0)


def test_unknown_class_and_missing_class_are_refused():
    with pytest.raises(InputError, match="has the classes Tumour, but the setting classes has background, Tumor, Stro"):
        draw(region(0, 0, 0, 8, 6, "Tumour"), kind=TISSUE)
    with pytest.raises(InputError, match="has 1 regions without a class"):
        draw(region(0, 0, 0, 8, 6), kind=TISSUE)


def test_objects_of_other_classes_are_left_out_with_a_note():
    ids, annotation = draw(region(0, 0, 0, 2, 2, "debris"), region(1, 4, 0, 2, 2, "Cell"))
    assert sorted(np.unique(ids)) == [0, 1]
    assert ids[0, 0, 4] == 1
    assert annotation.source.warnings[0].startswith("1 regions of the classes debris; they are left out")


def test_all_classes_count_as_objects_if_none_is_that_of_the_settings():
    ids, annotation = draw(region(0, 0, 0, 2, 2, "A"), region(1, 4, 0, 2, 2, "B"))
    assert (ids[0, 0, 0], ids[0, 0, 4]) == (1, 2)
    assert annotation.source.warnings == ["regions of the classes A, B all count as cell"]


def test_frames_without_regions_are_not_annotated():
    ids, annotation = draw(region(0, 0, 0, 2, 2, t=1), shape=(3, 1, 1, 6, 8))
    assert annotation.annotated_t == [1]
    assert [frame.any() for frame in ids] == [False, True, False]


def test_region_of_all_frames_is_on_each_of_them():
    ids, annotation = draw(region(0, 0, 0, 2, 2, t=None), shape=(2, 1, 1, 6, 8))
    assert (ids[:, 0, 0] == 1).all()
    assert annotation.annotated_t is None
    assert "drawn on all frames or planes" in annotation.source.warnings[0]


def test_regions_that_do_not_fit_are_refused_with_both_sizes():
    with pytest.raises(InputError, match="image of y 12, x 16, but its image is y 6, x 8"):
        draw(size=(12, 16))
    with pytest.raises(InputError, match=r"region at y 0 to 2, x 90 to 92, but its image is y 6, x 8"):
        draw(region(0, 90, 0, 2, 2))
    with pytest.raises(InputError, match=r"frame 3, plane 0 .* has 1 frames and 1 planes"):
        draw(region(0, 0, 0, 2, 2, t=3))


def test_regions_that_are_cut_off_or_too_small_are_counted():
    ids, annotation = draw(region(0, -1, 0, 3, 2), region(1, 4.6, 4.6, 0.2, 0.2))
    assert (ids == 1).sum() == 4
    assert annotation.source.warnings == [
        "1 regions extend beyond the image; the parts outside are cut off",
        "1 regions contain the center of no pixel; they are left out",
    ]
