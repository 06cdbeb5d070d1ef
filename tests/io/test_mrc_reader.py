"""MRC files that mrcfile writes."""

import mrcfile
import numpy as np
import pytest

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float32])
def test_volume_and_its_voxels_are_read(tmp_path, dtype):
    pixels = noise(3, 6, 7, dtype=dtype)
    with mrcfile.new(tmp_path / "a.mrc", pixels) as file:
        file.set_volume()
        file.voxel_size = (10, 10, 20)
    with open_image([tmp_path / "a.mrc"]) as image:
        assert np.array_equal(read_all(image)[0, 0], pixels)
        assert image.dtype == dtype
        assert image.pixel_size_um == pytest.approx((0.002, 0.001, 0.001))
        assert image.warnings == []


def test_stack_of_images_is_read_with_a_warning(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc", noise(3, 6, 7)) as file:
        file.set_image_stack()
    with open_image([tmp_path / "a.mrc"]) as image:
        assert image.shape == (1, 1, 3, 6, 7)
        assert "is a stack of images; they are read as planes in depth" in image.warnings[0]
    with open_image([tmp_path / "a.mrc"], "TYX") as image:
        assert (image.shape, image.warnings) == ((3, 1, 1, 6, 7), [])


def test_truncated_and_complex_files_are_refused(tmp_path):
    mrcfile.write(tmp_path / "a.mrc", noise(60, 70))
    data = (tmp_path / "a.mrc").read_bytes()
    for length in (16, 1000, 1024, len(data) - 1):
        (tmp_path / "b.mrc").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"b\.mrc: "), open_image([tmp_path / "b.mrc"]):
            pass
    mrcfile.write(tmp_path / "c.mrc", noise(6, 7).astype(np.complex64))
    with pytest.raises(InputError, match="complex64"), open_image([tmp_path / "c.mrc"]):
        pass
