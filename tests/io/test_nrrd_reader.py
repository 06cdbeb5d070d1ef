"""NRRD files that pynrrd writes."""

import nrrd
import numpy as np
import pytest

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_stack_and_its_sizes_are_read(tmp_path, encoding):
    pixels = noise(3, 6, 7)
    header = {
        "encoding": encoding,
        "space dimension": 3,
        "space directions": [[0.25, 0, 0], [0, 0.5, 0], [0, 0, 2]],
        "space units": ["um", "um", "um"],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), pixels, header, index_order="C")
    with open_image([tmp_path / "a.nrrd"]) as image:
        assert np.array_equal(read_all(image)[0, 0], pixels)
        assert image.pixel_size_um == (2, 0.5, 0.25)


def test_colors_and_times_are_read(tmp_path):
    pixels = noise(4, 6, 7, 3, dtype=np.uint8)
    header = {"kinds": ["RGB-color", "domain", "domain", "time"], "spacings": [np.nan, 1, 1, 30]}
    header["units"] = ["", "mm", "mm", "s"]
    nrrd.write(str(tmp_path / "a.nrrd"), pixels, header, index_order="C")
    with open_image([tmp_path / "a.nrrd"]) as image:
        assert np.array_equal(read_all(image), pixels.transpose(0, 3, 1, 2)[:, :, None])
        assert (image.frame_interval_s, image.channels) == (30, ["red", "green", "blue"])
        assert image.pixel_size_um == (None, 1000, 1000)


def test_stack_without_kinds_needs_axes(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), noise(3, 6, 7), {"encoding": "raw"}, index_order="C")
    with pytest.raises(InputError, match="name them in the column axes"), open_image([tmp_path / "a.nrrd"]):
        pass
    with open_image([tmp_path / "a.nrrd"], "ZYX") as image:
        assert image.shape == (1, 1, 3, 6, 7)


def test_pixels_in_another_file_are_refused(tmp_path):
    nrrd.write(str(tmp_path / "a.nhdr"), noise(6, 7), {"encoding": "raw"}, detached_header=True)
    (tmp_path / "a.nhdr").rename(tmp_path / "a.nrrd")
    with pytest.raises(InputError, match="its pixels are in another file"), open_image([tmp_path / "a.nrrd"]):
        pass


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_truncated_file_is_refused(tmp_path, encoding):
    nrrd.write(str(tmp_path / "a.nrrd"), noise(60, 70), {"encoding": encoding})
    data = (tmp_path / "a.nrrd").read_bytes()
    for length in (16, 100, len(data) // 2, len(data) - 20):
        (tmp_path / "b.nrrd").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"b\.nrrd: "), open_image([tmp_path / "b.nrrd"]):
            pass
