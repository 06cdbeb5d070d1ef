"""ND2 files: pixels as they are in the file, sizes, times, damage."""

import numpy as np
import pytest

from helpers.raw_files import read_all
from helpers.vendor_files import nd2_frame
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image

NAME = "awkward-files/pims_nd2/cluster.nd2"


def test_real_nd2_file_has_the_pixels_and_metadata_of_the_file(real_data):
    path = real_data / NAME
    frames = [[nd2_frame(path, 10 * t + z, (2, 31, 38)) for z in range(10)] for t in range(3)]
    with open_image([path]) as image:
        assert np.array_equal(read_all(image), np.swapaxes(frames, 1, 2))
        assert image.channels == ["5-FAM/pH 9.0", "FM 4-64/2% CHAPS"]
        assert image.pixel_size_um == pytest.approx((0.5, 0.1678, 0.1678), abs=1e-4)
        # The first planes of the frames are at 0.445, 11.086 and 21.740 s.
        assert image.frame_interval_s == pytest.approx((21.740 - 0.445) / 2, abs=1e-3)


def test_scene_that_an_nd2_file_lacks_is_refused(real_data):
    with pytest.raises(InputError, match="has no scene 1; choose one"), open_image([real_data / NAME], scene="1"):
        pass


def test_truncated_nd2_file_is_refused(real_data, tmp_path):
    data = (real_data / NAME).read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "a.nd2").write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match=r"a\.nd2: "), open_image([tmp_path / "a.nd2"]) as image:
            read_all(image)


def test_nd2_file_without_one_of_its_planes_is_refused(real_data, tmp_path):
    data = bytearray((real_data / NAME).read_bytes())
    at = data.rindex(b"ImageDataSeq|17!")  # in the map of chunks
    data[at : at + 16] = b"ImageDataSeq|99!"
    (tmp_path / "a.nd2").write_bytes(data)
    with pytest.raises(InputError, match="lacks 1 of its 30 planes"), open_image([tmp_path / "a.nd2"]):
        pass
