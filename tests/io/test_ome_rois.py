"""Regions of OME-XML, written with ome-types."""

import zlib

import numpy as np
import pytest
from ome_types import model

from tessera.common.errors import InputError
from tessera.io.annotation import LabelKind
from tessera.io.annotation_reader import open_annotation

MASK = np.array([[1, 0, 1], [1, 1, 0]], bool)


def write(path, *shapes, names=(), size=(12, 16)):
    """Write each list of shapes as an ROI."""
    rois = [
        model.ROI(id=f"ROI:{number}", name=name, union=union)
        for number, (union, name) in enumerate(zip(shapes, names or [None] * len(shapes), strict=True))
    ]
    pixels = model.Pixels(
        size_x=size[1], size_y=size[0], size_z=2, size_c=1, size_t=3, type="uint8", dimension_order="XYZCT",
        metadata_only=True,
    )  # fmt: skip
    path.write_text(model.OME(images=[model.Image(pixels=pixels)], rois=rois).to_xml())
    return path


def read(path, shape=(3, 1, 2, 12, 16), **options):
    with open_annotation([path], shape, **options) as annotation:
        plane = (slice(0, shape[3]), slice(0, shape[4]))
        ids = [[annotation.source.read(t, z, *plane)[0] for z in range(shape[2])] for t in range(shape[0])]
        return np.array(ids), annotation


def rectangle(**where):
    return model.Rectangle(x=1, y=2, width=3, height=4, **where)


def mask(compression="none"):
    packed = np.packbits(MASK).tobytes()
    value = zlib.compress(packed) if compression == "zlib" else packed
    data = model.BinData(value=value, big_endian=False, length=len(value), compression=compression)
    return model.Mask(x=10, y=8, width=3, height=2, bin_data=data, the_t=0, the_z=0)


@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_shapes_are_read(tmp_path, compression):
    polygon = model.Polygon(points="8,1 12,1 12,4 8,4", the_t=0, the_z=0)
    ellipse = model.Ellipse(x=3, y=9, radius_x=2, radius_y=1, the_t=0, the_z=0)
    path = write(tmp_path / "a.ome.xml", [rectangle(the_t=0, the_z=0)], [polygon], [ellipse], [mask(compression)])
    ids, _ = read(path)
    expected = np.zeros((12, 16))
    expected[2:6, 1:4] = 1
    expected[1:4, 8:12] = 2
    expected[8:10, 2:4] = 3
    expected[8:10, 1] = expected[8:10, 4] = 3  # centers at (0.75)^2 + (0.5)^2 = 0.81
    expected[8:10, 10:13][MASK] = 4
    np.testing.assert_array_equal(ids[0, 0], expected)


def test_shapes_of_one_roi_are_one_object_on_their_planes(tmp_path):
    path = write(tmp_path / "a.ome.xml", [rectangle(the_t=1, the_z=0), rectangle(the_t=1, the_z=1)])
    ids, annotation = read(path)
    assert np.argwhere(ids.any((2, 3))).tolist() == [[1, 0], [1, 1]]
    assert ids.max() == 1
    assert annotation.annotated_t == [1]


def test_transform_is_applied(tmp_path):
    moved = model.AffineTransform(a00=2, a01=0, a02=1, a10=0, a11=1, a12=3)
    ids, _ = read(write(tmp_path / "a.ome.xml", [rectangle(transform=moved)]))
    expected = np.zeros((12, 16))
    expected[5:9, 3:9] = 1
    np.testing.assert_array_equal(ids[2, 1], expected)


def test_name_is_the_class(tmp_path):
    kind = LabelKind("semantic", ("background", "Tumor", "Stroma"))
    tumor = model.Ellipse(x=12, y=6, radius_x=2, radius_y=2, text="tumor")
    path = write(tmp_path / "a.ome.xml", [rectangle()], [tumor], names=["Stroma 3", "x"])
    ids, _ = read(path, kind=kind)
    assert (ids[0, 0, 3, 2], ids[0, 0, 6, 12]) == (2, 1)


def test_other_size_is_refused(tmp_path):
    with pytest.raises(InputError, match="image of y 24, x 32, but its image is y 12, x 16"):
        read(write(tmp_path / "a.ome.xml", [rectangle()], size=(24, 32)))


def test_entities_and_damaged_files_are_refused(tmp_path):
    path = write(tmp_path / "a.ome.xml", [mask()])
    text = path.read_text()
    start = text.index("<OME")
    bomb = '<!DOCTYPE OME [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    for bad in (
        text[:start] + bomb + text[start:],
        text[:-20],
        text.replace('Width="3', 'Width="300000'),
        text.replace('Height="2', 'Height="x'),
    ):
        path.write_text(bad)
        with pytest.raises(InputError, match=r"a\.ome\.xml"):
            read(path)
