"""DICOM files of scanners, which pydicom ships, and files that pydicom writes."""

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


def real(name):
    return get_testdata_file(name, download=False)


def write_movie(path, pixels, **attributes):
    """Write frames (t, y, x) of 16 bits without compression."""
    header = pydicom.dcmread(real("CT_small.dcm"))
    for name in ("RescaleSlope", "RescaleIntercept", "SpacingBetweenSlices"):
        header.pop(name, None)
    header.NumberOfFrames, header.Rows, header.Columns = pixels.shape
    header.PixelData = pixels.astype("<i2").tobytes()
    for name, value in attributes.items():
        setattr(header, name, value)
    header.save_as(path)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"])
def test_real_file_equals_pydicom(name):
    header = pydicom.dcmread(real(name))
    with open_image([real(name)]) as image:
        assert np.array_equal(read_all(image)[0, 0, 0], header.pixel_array)
        assert image.pixel_size_um[1:] == pytest.approx([1000 * float(side) for side in header.PixelSpacing])


def test_rescaled_values_are_mentioned():
    with open_image([real("CT_small.dcm")]) as image:
        assert image.warnings == ["states that its values mean 1 x + -1024; the stored values are used"]


def test_frames_of_colors_equal_pydicom():
    expected = pydicom.dcmread(real("SC_rgb_rle_2frame.dcm")).pixel_array
    with open_image([real("SC_rgb_rle_2frame.dcm")], "TYXS") as image:
        assert np.array_equal(read_all(image)[:, :, 0], expected.transpose(0, 3, 1, 2))


def test_meaning_of_frames_follows_the_header(tmp_path):
    pixels = noise(3, 6, 7)
    write_movie(tmp_path / "a.dcm", pixels, FrameTime=250)
    with open_image([tmp_path / "a.dcm"]) as image:
        assert np.array_equal(read_all(image)[:, 0, 0], pixels)
        assert image.frame_interval_s == 0.25
    write_movie(tmp_path / "b.dcm", pixels, SpacingBetweenSlices=2)
    with open_image([tmp_path / "b.dcm"]) as image:
        assert (image.shape, image.pixel_size_um[0]) == ((1, 1, 3, 6, 7), 2000)
    write_movie(tmp_path / "c.dcm", pixels)
    with pytest.raises(InputError, match="name them in the column axes"), open_image([tmp_path / "c.dcm"]):
        pass


def test_damaged_file_is_refused(tmp_path):
    write_movie(tmp_path / "a.dcm", noise(3, 6, 7), FrameTime=250)
    data = (tmp_path / "a.dcm").read_bytes()
    for length in (16, 200, 1000, len(data) - 300):
        (tmp_path / "b.dcm").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"b\.dcm: "), open_image([tmp_path / "b.dcm"]) as image:
            read_all(image)
    write_movie(tmp_path / "c.dcm", noise(3, 6, 7), FrameTime=250, NumberOfFrames=30_000)
    with pytest.raises(InputError, match=r"c\.dcm: "), open_image([tmp_path / "c.dcm"]) as image:
        read_all(image)
