"""Regions of ImageJ, written with roifile."""

import zipfile

import numpy as np
import pytest
import roifile

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.annotation_reader import open_annotation

SQUARE = [(1, 1), (4, 1), (4, 3), (1, 3)]
PLANE = (slice(0, 6), slice(0, 8))
TISSUE = LabelKind("semantic", ("background", "Tumor", "Stroma"))


def square(left=0, top=0, **options):
    roi = roifile.ImagejRoi.frompoints(np.add(SQUARE, (left, top)))
    for name, value in options.items():
        setattr(roi, name, value)
    return roi


def write(path, *rois):
    roifile.roiwrite(path, list(rois), name=[f"{number:04}" for number in range(len(rois))])
    return path


def read(path, shape=(1, 1, 1, 6, 8), **options):
    with open_annotation([path], shape, **options) as annotation:
        ids = [[annotation.source.read(t, z, *PLANE)[0] for z in range(shape[2])] for t in range(shape[0])]
        return np.array(ids), annotation


def test_roi_file_holds_one_region(tmp_path):
    square().tofile(tmp_path / "a.roi")
    ids, annotation = read(tmp_path / "a.roi")
    expected = np.zeros((6, 8))
    expected[1:3, 1:4] = 1
    np.testing.assert_array_equal(ids[0, 0], expected)
    assert annotation.drawn


def test_zip_file_holds_all_regions_whatever_its_name(tmp_path):
    write(tmp_path / "a.zip", square(), square(left=4, top=2)).rename(tmp_path / "regions")
    ids, _ = read(tmp_path / "regions")
    assert (ids[0, 0, 1, 1], ids[0, 0, 3, 5]) == (1, 2)
    assert [(ids == value).sum() for value in (1, 2)] == [6, 6]


def test_folder_of_roi_files_is_one_image(tmp_path):
    (tmp_path / "rois").mkdir()
    square().tofile(tmp_path / "rois" / "1.roi")
    square(left=4, top=2).tofile(tmp_path / "rois" / "2.roi")
    ids, _ = read(tmp_path / "rois")
    assert [(ids == value).sum() for value in (1, 2)] == [6, 6]


def test_rectangle_oval_subpixel_and_composite_regions(tmp_path):
    rectangle = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=0, top=0, right=2, bottom=2)
    oval = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.OVAL, left=4, top=0, right=8, bottom=4)
    fine = roifile.ImagejRoi.frompoints(np.array([(0.6, 3.2), (2.4, 3.2), (2.4, 4.8), (0.6, 4.8)], np.float32))
    ids, _ = read(write(tmp_path / "a.zip", rectangle, oval, fine))
    expected = np.zeros((6, 8))
    expected[:2, :2] = 1
    expected[:4, 4:] = [[0, 2, 2, 0], [2, 2, 2, 2], [2, 2, 2, 2], [0, 2, 2, 0]]
    expected[3:5, 1] = 3
    np.testing.assert_array_equal(ids[0, 0], expected)


def test_composite_region_has_holes(tmp_path):
    path = [0, 0, 0, 1, 6, 0, 1, 6, 6, 1, 0, 6, 4, 0, 2, 2, 1, 2, 4, 1, 4, 4, 1, 4, 2, 4]
    roi = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=0, top=0, right=6, bottom=6)
    roi.multi_coordinates, roi.shape_roi_size = np.array(path, np.float32), len(path)
    roi.tofile(tmp_path / "a.roi")
    ids, _ = read(tmp_path / "a.roi")
    assert ids.sum() == 36 - 4
    assert not ids[0, 0, 2:4, 2:4].any()


def test_regions_are_on_their_frames_and_planes(tmp_path):
    hyper = square(t_position=2, z_position=3, c_position=1)
    ids, annotation = read(write(tmp_path / "a.zip", hyper, square()), (3, 2, 3, 6, 8))
    assert (ids[1, 2, 1:3, 1:4] > 0).all()
    assert annotation.annotated_t is None  # one region is on all frames
    movie, annotation = read(write(tmp_path / "b.zip", square(position=3)), (4, 1, 1, 6, 8))
    assert np.flatnonzero(movie.any((1, 2, 3))).tolist() == [2]
    assert annotation.annotated_t == [2]
    planes, _ = read(write(tmp_path / "c.zip", square(position=6)), (2, 2, 2, 6, 8))
    assert planes[0].any((1, 2)).tolist() == [False, False]
    assert planes[1].any((1, 2)).tolist() == [True, False]
    swapped, _ = read(write(tmp_path / "d.zip", square(z_position=3, t_position=1)), (4, 1, 1, 6, 8))
    assert np.flatnonzero(swapped.any((1, 2, 3))).tolist() == [2]


def test_name_or_group_is_the_class(tmp_path):
    rois = [square(name="Stroma-12"), square(left=4, group=1), square(top=3, name="Ignore*")]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, roi in enumerate(rois):
            archive.writestr(f"{number}.roi", roi.tobytes())
    ids, _ = read(tmp_path / "a.zip", kind=TISSUE)
    assert (ids[0, 0, 1, 1], ids[0, 0, 1, 5], ids[0, 0, 4, 1]) == (2, 1, NOT_ANNOTATED)


def test_lines_are_left_out_with_a_note(tmp_path):
    line = roifile.ImagejRoi.frompoints(np.array(SQUARE))
    line.roitype = roifile.ROI_TYPE.POLYLINE
    ids, annotation = read(write(tmp_path / "a.zip", line, square()))
    assert ids.max() == 1
    assert annotation.source.warnings == ["1 lines, points or texts, which have no area; they are left out"]


def test_damaged_region_is_an_error(tmp_path):
    data = square().tobytes()
    for end in (20, 66, 70):
        (tmp_path / "a.roi").write_bytes(data[:end])
        with pytest.raises(InputError, match=r"a\.roi: cannot be read"):
            read(tmp_path / "a.roi")


def test_region_that_claims_many_vertices_is_an_error(tmp_path):
    data = bytearray(square().tobytes())
    data[16:22] = b"\x00\x00\x7f\xff\xff\xff"  # no vertices in 16 bits, so 32 bits count
    (tmp_path / "a.roi").write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "a.roi")


def test_zip_bomb_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.roi", bytes(2**24 + 1))
    with pytest.raises(InputError, match="region of more than 16777216 bytes"):
        read(tmp_path / "a.zip")
