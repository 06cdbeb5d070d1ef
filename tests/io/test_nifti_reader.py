"""NIfTI files that nibabel writes."""

import nibabel
import numpy as np
import pytest

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_movie_of_stacks_is_read(tmp_path, name, kind):
    pixels = noise(2, 3, 6, 7)  # t, z, y, x
    file = kind(pixels.T, np.eye(4))
    file.header.set_zooms((0.25, 0.5, 2, 30))
    file.header.set_xyzt_units("micron", "sec")
    nibabel.save(file, tmp_path / name)
    with open_image([tmp_path / name]) as image:
        assert np.array_equal(read_all(image), pixels[:, None])
        assert (image.pixel_size_um, image.frame_interval_s) == ((2, 0.5, 0.25), 30)


def test_scaled_values_equal_those_of_nibabel(tmp_path):
    file = nibabel.Nifti1Image(noise(7, 6, 3, dtype=np.int16), np.eye(4))
    file.header.set_slope_inter(0.5, -3)
    nibabel.save(file, tmp_path / "a.nii")
    with open_image([tmp_path / "a.nii"]) as image:
        expected = nibabel.load(tmp_path / "a.nii").get_fdata()
        assert np.array_equal(read_all(image)[0, 0], expected.T.astype(np.float32))
        assert "states that its values are" in image.warnings[0]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated_file_is_refused(tmp_path, name):
    nibabel.save(nibabel.Nifti1Image(noise(60, 70), np.eye(4)), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for length in (16, 340, len(data) // 2, len(data) - 9):
        (tmp_path / f"b{name}").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"ba\.nii"), open_image([tmp_path / f"b{name}"]):
            pass
