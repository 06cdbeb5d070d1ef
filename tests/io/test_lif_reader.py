"""LIF files: pixels as they are in the file, scenes, colors, damage."""

import numpy as np
import pytest

from helpers.raw_files import noise, read_all
from helpers.vendor_files import lif_blocks, lif_element, write_lif
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image

REAL = "awkward-files/readlif/LeicaLASX_wavelength-sweep_example.lif"
SHAPES = {"x_y_lambdaEmi": (1, 20, 1, 64, 64), "x_y_lambdaExc": (1, 15, 1, 64, 64)}
SHAPES["x_y_z_t_lambdaEmi"] = (2, 10, 11, 64, 64)  # in the file: time, wavelength, depth


def test_each_image_of_a_real_lif_file_has_the_pixels_of_the_file(real_data):
    for (name, shape), block in zip(SHAPES.items(), lif_blocks(real_data / REAL), strict=True):
        with open_image([real_data / REAL], scene=name) as image:
            assert np.array_equal(read_all(image), np.frombuffer(block, np.uint8).reshape(shape))
            assert image.pixel_size_um[1:] == pytest.approx((0.10481, 0.10481), abs=1e-5)
            assert len(image.warnings) == 1
            assert "has wavelengths of e" in image.warnings[0]
    assert image.frame_interval_s == pytest.approx(80.91)
    assert image.channels[:2] == ["550 nm", "555 nm"]


def test_several_images_are_refused_with_their_names(real_data):
    message = r"has 3 scenes; .*: 0 \(x_y_lambdaEmi\), 1 \(x_y_lambdaExc\), 2 \(x_y_z_t_lambdaEmi\)"
    with pytest.raises(InputError, match=message), open_image([real_data / REAL]):
        pass


def test_channels_between_planes_are_read(tmp_path):
    pixels = noise(3, 2, 4, 5, dtype=np.uint8)  # z, c, y, x
    element = lif_element("a", {1: (5, 1), 2: (4, 5), 3: (3, 40)}, [(0, 0, "Red"), (0, 20, "Green")])
    write_lif(tmp_path / "a.lif", {"a": (element, pixels.tobytes())})
    with open_image([tmp_path / "a.lif"]) as image:
        assert np.array_equal(read_all(image)[0], pixels.swapaxes(0, 1))
        assert image.channels == ["Red", "Green"]
        assert image.pixel_size_um == pytest.approx((2, 2, 2))


def test_padded_rows_of_colors_are_read(tmp_path):
    padded = noise(2, 4, 6, 3, dtype=np.uint8)  # z, y, x, colors; the last pixel of a row fills it
    element = lif_element("a", {1: (5, 3), 2: (4, 18), 3: (2, 72)}, [(1, 0, "Red"), (2, 1, "Green"), (3, 2, "Blue")])
    write_lif(tmp_path / "a.lif", {"a": (element, padded.tobytes())})
    with open_image([tmp_path / "a.lif"]) as image:
        assert np.array_equal(read_all(image)[0], padded[:, :, :5].transpose(3, 0, 1, 2))
        assert image.channels == ["red", "green", "blue"]


def test_damaged_lif_files_are_refused(tmp_path):
    pixels = noise(3, 4, 5, dtype=np.uint8)
    element = lif_element("a", {1: (5, 1), 2: (4, 5), 4: (3, 20)}, [(0, 0, "Gray")])
    write_lif(tmp_path / "a.lif", {"a": (element, pixels.tobytes()[:-1])})
    with pytest.raises(InputError, match="claims 60 bytes of pixels, but has 59"), open_image([tmp_path / "a.lif"]):
        pass
    write_lif(tmp_path / "a.lif", {"a": (element, pixels.tobytes())})
    data = (tmp_path / "a.lif").read_bytes()
    for length in range(16, len(data), 97):
        (tmp_path / "b.lif").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"b\.lif: "), open_image([tmp_path / "b.lif"]) as image:
            read_all(image)
