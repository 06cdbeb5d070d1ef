"""Masks with several channels: gray colors are ids, and channels that differ are refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from tessera.common.errors import InputError
from tessera.io.annotation_reader import open_annotation

CELLS = np.zeros((12, 14), np.uint16)
CELLS[1:5, 1:5], CELLS[6:11, 6:11] = 1, 2
NUCLEI = np.where(CELLS == 2, 9, 0).astype(np.uint16)
SHAPE = (1, 1, 1, *CELLS.shape)


def read(path, shape=SHAPE, axes=""):
    with open_annotation([path], shape, axes) as annotation:
        return annotation.source.read(0, 0, slice(None), slice(None))[0]


@pytest.mark.parametrize("channels", [(CELLS, NUCLEI), (0 * CELLS, CELLS), (0 * CELLS, 0 * CELLS, 0 * CELLS, CELLS)])
@pytest.mark.parametrize("form", ["CYX", "YXC", "OME", "ImageJ"])
def test_channels_that_differ_are_refused(tmp_path, channels, form):
    axis, axes = (-1, "YXC") if form == "YXC" else (0, "CYX")
    options = {"OME": {"ome": True}, "ImageJ": {"imagej": True}}.get(form, {})
    metadata = {"axes": axes}
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack(channels, axis), metadata=metadata, photometric="minisblack", **options
    )
    count = len(channels)
    with pytest.raises(InputError, match=rf"a\.tif: has {count} channels that differ, so it is unclear which of them"):
        read(tmp_path / "a.tif")


def test_equal_channels_are_ids(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([CELLS] * 2), metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), CELLS)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("opaque", ["cells", "everywhere"])
@pytest.mark.parametrize("grays", [1, 3])
def test_transparency_of_gray_masks_does_not_count(tmp_path, name, opaque, grays):
    cells = CELLS.astype(np.uint8)
    alpha = np.where((cells > 0) | (opaque == "everywhere"), 255, 0).astype(np.uint8)
    pixels = np.stack([cells] * grays + [alpha], -1)
    if name == "a.png":
        Image.fromarray(pixels).save(tmp_path / name)
    else:
        photometric = "rgb" if grays == 3 else "minisblack"
        tifffile.imwrite(
            tmp_path / name, pixels, photometric=photometric, extrasamples=[2], planarconfig="contig", metadata=None
        )
    np.testing.assert_array_equal(read(tmp_path / name), cells)


def test_colors_are_refused(tmp_path):
    Image.fromarray(np.stack([CELLS, NUCLEI, CELLS], -1).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: has colors, not ids"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize(("shape", "axes"), [((10, 1, 1), "TYX"), ((1, 1, 10), "ZYX")])
def test_frames_that_the_file_calls_channels_are_named(tmp_path, shape, axes):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([CELLS] * 10), imagej=True, metadata={"axes": "CYX"})
    what = "frames" if axes == "TYX" else "planes"
    message = f"its file calls its 10 {what} channels; write {axes} in the column axes"
    with pytest.raises(InputError, match=rf"a\.tif: is c 10, y 12, x 14, .*; {message}"):
        read(tmp_path / "a.tif", (*shape, *CELLS.shape))
    np.testing.assert_array_equal(read(tmp_path / "a.tif", (*shape, *CELLS.shape), axes), CELLS)


def test_second_page_of_masks_of_one_frame_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([CELLS] * 2), metadata=None, photometric="minisblack")
    message = "the image has 1 frame, the annotation 2; remove what belongs to no frame of the image"
    with pytest.raises(InputError, match=rf"a\.tif: is t 2, y 12, x 14, but its image is y 12, x 14; {message}"):
        read(tmp_path / "a.tif")
