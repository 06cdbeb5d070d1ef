"""TIFF files whose pixels and metadata are known."""

import numpy as np
import pytest
import tifffile

from tessera.common.errors import InputError
from tessera.io.tiff_reader import open_tiff

PIXELS = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)


def read_all(image):
    """The pixels (t, c, z, y, x) of an opened image."""
    t, _, z, _, _ = image.shape
    return np.stack(
        [np.stack([image.read(i, j, slice(None), slice(None)) for j in range(z)], axis=1) for i in range(t)]
    )


def test_ome_tiff_gives_pixels_sizes_and_channels(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {
        "axes": "TCYX",
        "Channel": {"Name": ["DAPI", "GFP", "RFP"]},
        **{"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"},
        **{"TimeIncrement": 2, "TimeIncrementUnit": "min"},
    }
    tifffile.imwrite(path, PIXELS, ome=True, photometric="minisblack", metadata=metadata)
    with open_tiff(path, None, labels=False) as image:
        assert image.shape == (2, 3, 1, 4, 5)
        np.testing.assert_array_equal(read_all(image)[:, :, 0], PIXELS)
        assert image.pixel_size_um == (None, 0.5, 0.25)
        assert image.frame_interval_s == 120
        assert image.channels == ["DAPI", "GFP", "RFP"]
        assert list(image.warnings) == []


def test_imagej_tiff_gives_voxel_size_and_frame_interval(tmp_path):
    path = tmp_path / "a.tif"
    metadata = {"axes": "TZYX", "unit": "um", "spacing": 2.0, "finterval": 30.0}
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=(4, 2), metadata=metadata)
    with open_tiff(path, None, labels=False) as image:
        assert image.shape == (2, 1, 3, 4, 5)
        assert image.pixel_size_um == (2.0, 0.5, 0.25)
        assert image.frame_interval_s == 30
        np.testing.assert_array_equal(read_all(image)[:, 0], PIXELS)


@pytest.mark.parametrize(("per_cm", "size_um"), [(20_000, 0.5), (118.11, None)])  # 118.11 per cm are 300 dpi
def test_resolution_tag_is_the_pixel_size_unless_it_is_for_printing(tmp_path, per_cm, size_um):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS[0, 0], resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    with open_tiff(path, None, labels=False) as image:
        assert image.pixel_size_um == (None, size_um, size_um)


def test_image_with_0_as_white_is_inverted_with_a_warning(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS[0, 0], photometric="miniswhite")
    with open_tiff(path, None, labels=False) as image:
        np.testing.assert_array_equal(read_all(image)[0, 0, 0], 255 - PIXELS[0, 0])
        assert any("0 is white" in warning for warning in image.warnings)


def test_further_images_of_a_file_are_named_in_a_warning(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(PIXELS[0, 0])
        tiff.write(np.zeros((7, 9), np.uint16))
    with open_tiff(path, None, labels=False) as image:
        assert image.shape == (1, 1, 1, 4, 5)
        assert [warning for warning in image.warnings if "has 2 images" in warning and "(7, 9)" in warning]


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((100, 100), np.uint16))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="truncated"), open_tiff(path, None, labels=False):
        pass


def test_non_additive_color_space_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 4), np.uint8), photometric="separated")
    with pytest.raises(InputError, match="colors are CMYK"), open_tiff(path, None, labels=False):
        pass
