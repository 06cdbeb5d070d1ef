"""Files that are no supported images are refused with what to do."""

import imagecodecs
import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.io.image_reader import list_files, open_image


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"BM", "is a file of the format BMP, which is not supported; convert it to OME-TIFF"),
        (b"PK\x03\x04", "is a file of the format ZIP, which is not supported; unpack it, and name the images in it"),
        (b"hello", "begins with b'hell'; if it is an image of another format, convert it to OME-TIFF"),
    ],
)
def test_other_formats_are_refused_with_advice(tmp_path, head, message):
    path = tmp_path / "a.dat"
    path.write_bytes(head + bytes(100))
    with pytest.raises(InputError) as raised, open_image([path]):
        pass
    assert message in str(raised.value)


def test_jpeg_of_twelve_bits_is_refused_as_such(tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    (tmp_path / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(pixels, bitspersample=12))
    message = "is a JPEG file of 12 bits, which is not supported; convert it to a TIFF of 16 bits"
    with pytest.raises(InputError, match=message), open_image([tmp_path / "a.jpg"]):
        pass


def test_arrays_and_previews_beside_frames_are_no_frames(tmp_path):
    for name in ("1.tif", "2.tif", "1_seg.npy", "preview.gif", "preview.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in list_files([tmp_path])] == ["1.tif", "2.tif"]
    for name in ("1.tif", "2.tif", "preview.gif", "preview.mp4"):
        (tmp_path / name).unlink()
    assert [file.name for file in list_files([tmp_path])] == ["1_seg.npy"]
