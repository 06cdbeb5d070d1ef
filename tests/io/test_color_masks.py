"""Images whose colors are classes, and images of outlines."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.segmentation import find_boundaries

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.annotation_reader import open_annotation
from tessera.io.color_masks import fill_outlines

COLORS = {"#000000": "background", "#ff0000": "tumor", "#00ff00": "stroma", "#ffffff": "ignore"}
TISSUE = LabelKind("semantic", ("background", "tumor", "stroma"), COLORS)
CLASSES = np.array([[0, 1, 1, 2], [0, 1, 2, 2], [3, 3, 0, 0]])
PALETTE = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255)], np.uint8)
EXPECTED = np.array([0, 1, 2, NOT_ANNOTATED])[CLASSES]


def read(path, kind, shape=(1, 2, 1, 3, 4)):
    with open_annotation([path], shape, kind=kind) as annotation:
        return annotation.source.read(0, 0, slice(0, shape[3]), slice(0, shape[4]))[0], annotation


def test_colors_are_classes(tmp_path):
    Image.fromarray(PALETTE[CLASSES]).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", PALETTE[CLASSES], photometric="rgb")
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read(tmp_path / name, TISSUE)[0], EXPECTED)


def test_palette_and_opaque_colors_are_classes(tmp_path):
    image = Image.fromarray(CLASSES.astype(np.uint8), mode="P")
    image.putpalette(PALETTE.ravel().tolist())
    image.save(tmp_path / "a.png")
    Image.fromarray(PALETTE[CLASSES]).convert("RGBA").save(tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(read(tmp_path / name, TISSUE)[0], EXPECTED)


def test_color_that_is_not_listed_is_refused_with_its_count(tmp_path):
    pixels = PALETTE[CLASSES]
    pixels[0, :2] = (1, 2, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"does not list: #0102ff \(2 pixels\); add them"):
        read(tmp_path / "a.png", TISSUE)


def test_image_of_16_bits_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PALETTE[CLASSES].astype(np.uint16), photometric="rgb")
    with pytest.raises(InputError, match="needs red, green and blue of 8 bits"):
        read(tmp_path / "a.tif", TISSUE)


def cells():
    """Two touching cells and one that is cut by the border."""
    ids = np.zeros((20, 30), np.int64)
    ids[3:12, 3:10] = 1
    ids[3:12, 10:18] = 2
    ids[14:20, 20:28] = 3
    return ids


def test_enclosed_areas_are_objects_with_their_outlines():
    ids = fill_outlines(find_boundaries(cells(), mode="inner"))
    # The outline of the third cell is open at the border, so its area is background.
    np.testing.assert_array_equal(ids, np.where(cells() == 3, 0, cells()))


def test_shared_outline_of_one_pixel_belongs_to_an_object():
    outlines = np.zeros((9, 11), bool)
    outlines[1:8, [1, 5, 9]] = outlines[[1, 7], 1:10] = True
    ids = fill_outlines(outlines)
    assert sorted(np.unique(ids)) == [0, 1, 2]
    assert (ids[1:8, 1:10] > 0).all()
    assert not ids[0].any()


def test_outlines_are_read_as_instances(tmp_path):
    outlines = find_boundaries(cells(), mode="inner")
    tifffile.imwrite(tmp_path / "a.tif", outlines.astype(np.uint8) * 255)
    kind = LabelKind("instances", ("background", "cell"), outlines=True)
    ids, annotation = read(tmp_path / "a.tif", kind, (1, 1, 1, 20, 30))
    np.testing.assert_array_equal(ids, np.where(cells() == 3, 0, cells()))
    assert annotation.one_object_per_mask
    tifffile.imwrite(tmp_path / "b.tif", np.where(outlines, 0, 255).astype(np.uint8))
    with pytest.raises(InputError, match="invert the image"):
        read(tmp_path / "b.tif", kind, (1, 1, 1, 20, 30))
