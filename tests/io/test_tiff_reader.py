"""TIFF files whose pixels and metadata are known."""

import re
import warnings

import numpy as np
import pytest
import tifffile

from tessera.common.errors import InputError
from tessera.io.annotation_reader import open_annotation
from tessera.io.file_request import FileRequest
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
    with open_tiff(path, FileRequest()) as image:
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
    with open_tiff(path, FileRequest()) as image:
        assert image.shape == (2, 1, 3, 4, 5)
        assert image.pixel_size_um == (2.0, 0.5, 0.25)
        assert image.frame_interval_s == 30
        np.testing.assert_array_equal(read_all(image)[:, 0], PIXELS)


@pytest.mark.parametrize(("per_cm", "size_um"), [(20_000, 0.5), (118.11, None)])  # 118.11 per cm are 300 dpi
def test_resolution_tag_is_the_pixel_size_unless_it_is_for_printing(tmp_path, per_cm, size_um):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS[0, 0], resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
    with open_tiff(path, FileRequest()) as image:
        assert image.pixel_size_um == (None, size_um, size_um)


def test_image_with_0_as_white_is_inverted_with_a_warning(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS[0, 0], photometric="miniswhite")
    with open_tiff(path, FileRequest()) as image:
        np.testing.assert_array_equal(read_all(image)[0, 0, 0], 255 - PIXELS[0, 0])
        assert any("0 is white" in warning for warning in image.warnings)


def test_further_images_of_a_file_are_named_in_a_warning(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(PIXELS[0, 0])
        tiff.write(np.zeros((7, 9), np.uint16))
    with open_tiff(path, FileRequest()) as image:
        assert image.shape == (1, 1, 1, 4, 5)
        assert [warning for warning in image.warnings if "has 2 images" in warning and "(7, 9)" in warning]


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((100, 100), np.uint16))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="truncated"), open_tiff(path, FileRequest()):
        pass


def test_non_additive_color_space_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 4), np.uint8), photometric="separated")
    with pytest.raises(InputError, match="colors are CMYK"), open_tiff(path, FileRequest()):
        pass


def refusal(path, axes=None, labels=False, like=None):
    """The message of the refusal, without the name of the file."""
    with pytest.raises(InputError) as refused, open_tiff(path, FileRequest(axes, labels, like)) as image:
        read_all(image)
    return str(refused.value).removeprefix(f"{path}: ")


def write_guessed(path, pixels, **options):
    """Write pixels as tifffile does without being told what they are; it declares four planes as transparent colors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tifffile.imwrite(path, pixels, **options)
    return path


PLANES = np.random.default_rng(0).integers(1, 99, (4, 20, 24)).astype(np.uint16)
BLACK_LAST = PLANES * np.array([1, 1, 1, 0], np.uint16)[:, None, None]
FULL_LAST = np.concatenate([PLANES[:3], np.full((1, 20, 24), 65535, np.uint16)])


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(
    "pixels",
    [PLANES, BLACK_LAST, FULL_LAST, PLANES * 0, np.ones_like(PLANES), PLANES[:3], PLANES[:2], PLANES[:3] * 0],
    ids=["varied", "black last", "full last", "black", "constant", "three", "two", "three black"],
)
@pytest.mark.parametrize(("axes", "place"), [("CYX", 1), ("ZYX", 2), ("TYX", 0)])
def test_axes_of_the_table_hold_for_planes_that_look_like_transparent_colors(tmp_path, pixels, axes, place, labels):
    path = write_guessed(tmp_path / "a.tif", pixels)
    with open_tiff(path, FileRequest(axes, labels)) as image:
        shape = [1, 1, 1, 20, 24]
        shape[place] = len(pixels)
        assert image.shape == tuple(shape)
        assert image.channels is None
        assert image.warnings == []
        np.testing.assert_array_equal(read_all(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("axes", ["YXC", "YXS"])
@pytest.mark.parametrize("pixels", [PLANES, BLACK_LAST, FULL_LAST, PLANES * 0], ids=["varied", "black", "full", "0"])
def test_axes_of_the_table_hold_for_samples_that_are_declared_as_transparency(tmp_path, pixels, axes):
    path = write_guessed(tmp_path / "a.tif", np.moveaxis(pixels, 0, -1))
    with open_tiff(path, FileRequest(axes, False)) as image:
        assert image.shape == (1, 4, 1, 20, 24)
        assert image.warnings == []
        assert image.channels == (["red", "green", "blue", "alpha"] if axes == "YXS" else None)


@pytest.mark.parametrize(("axes", "shape"), [("CYX", (1, 4, 1, 20, 24)), ("ZYX", (1, 1, 4, 20, 24))])
@pytest.mark.parametrize("pixels", [BLACK_LAST, FULL_LAST], ids=["black", "full"])
def test_axes_that_tifffile_was_told_hold(tmp_path, pixels, axes, shape):
    path = write_guessed(tmp_path / "a.tif", pixels, metadata={"axes": axes})
    with open_tiff(path, FileRequest()) as image:
        assert (image.shape, image.channels, image.warnings) == (shape, None, [])


@pytest.mark.parametrize("pixels", [PLANES, BLACK_LAST, FULL_LAST], ids=["varied", "black", "full"])
def test_planes_without_stated_axes_are_channels_with_a_warning(tmp_path, pixels):
    path = write_guessed(tmp_path / "a.tif", pixels)
    with open_tiff(path, FileRequest()) as image:
        assert (image.shape, image.channels) == ((1, 4, 1, 20, 24), None)
        assert image.warnings == [
            "does not state the axis of its planes; they are read as channels (set the column axes if they are not)"
        ]


def test_colors_that_ome_xml_states_are_named(tmp_path):
    options = {"photometric": "rgb", "planarconfig": "separate", "ome": True, "metadata": {"axes": "SYX"}}
    tifffile.imwrite(tmp_path / "a.tif", PLANES[:3].astype(np.uint8), **options)
    with open_tiff(tmp_path / "a.tif", FileRequest()) as image:
        assert (image.channels, image.warnings) == (["red", "green", "blue"], [])


@pytest.mark.parametrize("like", [(4, 1, 1, 20, 24), (1, 1, 4, 20, 24), (4, 2, 1, 20, 24)])
@pytest.mark.parametrize("pixels", [PLANES, PLANES * 0], ids=["varied", "empty"])
def test_masks_of_four_planes_have_the_axes_of_their_image(tmp_path, pixels, like):
    path = write_guessed(tmp_path / "a.tif", pixels)
    with open_annotation([path], like) as annotation:
        assert annotation.source.shape == (like[0], 1, *like[2:])
        np.testing.assert_array_equal(read_all(annotation.source).reshape(4, 20, 24), pixels)


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
def test_transparency_is_dropped_only_if_it_is_opaque_everywhere(tmp_path, extra):
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "extrasamples": [extra], "metadata": None}
    for pixels, count, warning in (
        (FULL_LAST, 3, []),
        (PLANES, 4, ["its transparency varies; it is kept as a channel"]),
        (BLACK_LAST, 4, ["its transparency is 0 everywhere, not opaque; it is kept as a channel"]),
    ):
        tifffile.imwrite(path, np.moveaxis(pixels, 0, -1), **options)
        with open_tiff(path, FileRequest()) as image:
            assert image.shape == (1, count, 1, 20, 24)
            assert image.channels == ["red", "green", "blue", "alpha"][:count]
            assert image.warnings == warning
            assert image.transparency == (count == 4)


def test_extra_sample_that_is_not_transparency_is_a_channel(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.moveaxis(FULL_LAST, 0, -1), photometric="rgb", extrasamples=["unspecified"], metadata=None
    )
    with open_tiff(path, FileRequest()) as image:
        assert (image.shape, image.warnings) == ((1, 4, 1, 20, 24), [])


@pytest.mark.parametrize("value", [1e39, -1e39, 1.7e308])
def test_values_beyond_32_bit_floats_are_refused(tmp_path, value):
    pixels = np.ones((20, 24))
    pixels[3, 4] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    assert refusal(tmp_path / "a.tif") == (
        f"has the value {abs(value):g}, which 32-bit floats cannot hold; divide the pixels by a constant, or replace "
        "the value if it marks missing pixels"
    )


def test_values_below_32_bit_floats_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((20, 24), 1e-60))
    assert refusal(tmp_path / "a.tif") == (
        "its values are so small that they are 0 as 32-bit floats; multiply the pixels by a constant"
    )


def test_infinite_values_and_the_range_of_32_bit_floats_are_kept(tmp_path):
    pixels = np.ones((20, 24))
    pixels[0, :4] = np.inf, np.nan, 3.4e38, 1e-60
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with open_tiff(tmp_path / "a.tif", FileRequest()) as image:
        np.testing.assert_array_equal(read_all(image)[0, 0, 0], pixels.astype(np.float32))


def test_large_ids_in_64_bit_floats_do_not_merge(tmp_path):
    ids = np.full((20, 24), 2.0**24)
    ids[0, 0] += 1
    tifffile.imwrite(tmp_path / "a.tif", ids)
    with open_tiff(tmp_path / "a.tif", FileRequest(None, True)) as image:
        assert np.unique(read_all(image)).tolist() == [2**24, 2**24 + 1]


def test_ome_xml_that_is_not_well_formed_is_refused_unless_the_axes_are_known(tmp_path):
    path = tmp_path / "a.tif"
    metadata = {"axes": "TYX", "Name": "a and b"}
    tifffile.imwrite(path, PLANES, ome=True, photometric="minisblack", metadata=metadata)
    path.write_bytes(path.read_bytes().replace(b"a and b", b"a & bbb"))
    reason = r"its OME-XML is not well-formed \(not well-formed \(invalid token\): line 1, column \d+\)"
    assert re.fullmatch(
        reason + ", so that its axes are unknown; name them in the column axes, or save it again", refusal(path)
    )
    with open_tiff(path, FileRequest("ZYX", False)) as image:
        assert image.shape == (1, 1, 4, 20, 24)
        assert re.fullmatch("has OME-XML that is not well-formed .* and is ignored, with .*", image.warnings[0])
    with open_tiff(path, FileRequest(None, True, (4, 1, 1, 20, 24))) as image:
        assert image.shape == (4, 1, 1, 20, 24)
