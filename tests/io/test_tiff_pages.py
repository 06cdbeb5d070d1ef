"""TIFF files whose headers claim more, or fewer, pixels than there are."""

import re
import struct
import time

import numpy as np
import pytest
import tifffile

from tessera.common.errors import InputError
from tessera.io.image_reader import open_image

PAGES = np.random.default_rng(0).integers(1, 99, (5, 20, 24)).astype(np.uint16)


def read(path):
    """Shape, warnings and pixels of a file."""
    with open_image([path]) as image:
        t, _, z, y, x = image.shape
        pixels = [image.read(i, j, slice(0, y), slice(0, x)) for i in range(t) for j in range(z)]
        return image.shape, image.warnings, np.concatenate(pixels)


def refusal(path):
    """The message of the refusal, which comes at once, without the name of the file."""
    started = time.process_time()
    with pytest.raises(InputError) as refused:
        read(path)
    assert type(refused.value) is InputError  # the other images of the batch are kept
    assert time.process_time() - started < 5
    return str(refused.value).removeprefix(f"{path}: ")


def write_described(path, description, **options):
    """Five pages with a description of one's own."""
    tifffile.imwrite(path, PAGES, description=description.encode(), metadata=None, photometric="minisblack", **options)
    return path


def ome(t=1, z=1, c=1, data="<TiffData/>", number=0):
    """The OME-XML of an image."""
    return (
        f'<Image ID="Image:{number}" Name="image {number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" '
        f'Type="uint16" SizeX="24" SizeY="20" SizeC="{c}" SizeZ="{z}" SizeT="{t}">{data}</Pixels></Image>'
    )


def write_ome(path, *images, **options):
    namespace = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return write_described(path, f'<?xml version="1.0"?><OME xmlns="{namespace}">{"".join(images)}</OME>', **options)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("sizes", "shape"), [({"t": 3}, (3, 1, 1)), ({"z": 2}, (1, 1, 2)), ({"c": 4}, (1, 4, 1))])
def test_pages_that_the_ome_xml_does_not_describe_are_named(tmp_path, sizes, shape, compression):
    path = write_ome(tmp_path / "a.tif", ome(**sizes), compression=compression)
    described = max(shape)
    assert read(path)[0] == (*shape, 20, 24)
    assert read(path)[1] == [f"has 5 pages, but its header describes {described} of them; the others are ignored"]
    np.testing.assert_array_equal(read(path)[2], PAGES[:described])


def test_pages_of_several_images_are_all_described(tmp_path):
    data = '<TiffData IFD="{}" PlaneCount="{}"/>'
    path = write_ome(tmp_path / "a.tif", ome(t=2, data=data.format(0, 2)), ome(t=3, data=data.format(2, 3), number=1))
    with open_image([path], scene="image 1") as image:
        assert (image.shape, image.warnings) == ((3, 1, 1, 20, 24), [])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_that_the_imagej_header_does_not_describe_are_named(tmp_path, compression):
    header = "ImageJ=1.54f\nimages=3\nframes=3\nhyperstack=true\n"
    shape, warnings, pixels = read(write_described(tmp_path / "a.tif", header, compression=compression))
    assert shape == (3, 1, 1, 20, 24)
    assert warnings == ["has 5 pages, but its header describes 3 of them; the others are ignored"]
    np.testing.assert_array_equal(pixels, PAGES[:3])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (ome(t=100_000, z=100_000), "its OME-XML claims 100,000 T x 100,000 Z x 1 C planes, but it has 5 pages"),
        (ome(t=10**18), "its OME-XML claims 1,000,000,000,000,000,000 T x 1 Z x 1 C planes, but it has 5 pages"),
        (
            ome(t=5, data='<TiffData IFD="0" PlaneCount="9999999999"/>'),
            "its OME-XML names page 9,999,999,999, but it has 5 pages",
        ),
        (
            "".join(ome(t=900_000, number=n) for n in range(9)),
            "its OME-XML claims 8,100,000 planes, but it has 5 pages",
        ),
        (
            ome(t=100_000),
            "99995 of its 100000 planes were never written, or are in missing files; add those files, or save the "
            "existing planes as one file",
        ),
        (
            ome(t=6),
            "1 of its 6 planes were never written, or are in missing files; add those files, or save the existing "
            "planes as one file",
        ),
    ],
    ids=["t and z", "t", "page", "images", "many", "one"],
)
def test_planes_that_the_ome_xml_invents_are_refused_at_once(tmp_path, image, message):
    end = "" if "never written" in message else "; replace or remove it"
    assert refusal(write_ome(tmp_path / "a.tif", image)) == message + end


@pytest.mark.parametrize(
    ("description", "compression", "message"),
    [
        ("ImageJ=1.54f\nimages=6\nframes=6\n", "zlib", "its header claims 6 planes, but it has 5"),
        (
            "ImageJ=1.54f\nimages=10000000000\nframes=100000\nslices=100000\nhyperstack=true\n",
            "zlib",
            "its header claims 10000000000 planes, but it has 5",
        ),
        (
            "ImageJ=1.54f\nimages=6\nframes=6\n",
            None,
            "the file is truncated or damaged .*ImageJ series metadata invalid.*",
        ),
        (
            "ImageJ=1.54f\nimages=10000000000\nframes=100000\nslices=100000\n",
            None,
            "the file is truncated or damaged .*ImageJ series metadata invalid.*",
        ),
        ('{"shape": [100000, 100000, 20, 24]}', None, "is truncated, its pixels should end at byte 9600000000.*"),
        ('{"shape": [100000, 100000, 20, 24]}', "zlib", "the file is truncated or damaged .*shaped series failed.*"),
    ],
)
def test_planes_that_another_header_invents_are_refused_at_once(tmp_path, description, compression, message):
    path = write_described(tmp_path / "a.tif", description, compression=compression)
    assert re.fullmatch(f"{message}; replace or remove it", refusal(path))


def write_tile(path, side, content, compression=8):
    """A page of one square tile of 8 bits with compressed `content`."""
    values = {256: side, 257: side, 258: 8, 259: compression, 262: 1, 277: 1, 322: side, 323: side}
    tags = values | {324: 8 + 2 + 12 * 10 + 4, 325: len(content)}
    page = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + page + bytes(4) + content)
    return path


@pytest.mark.parametrize(("side", "size", "gb"), [(60_000, 3_500_000, "3.6"), (33_000, 1_100_000, "1.1")])
def test_tiles_that_are_too_large_to_be_decoded_are_refused_at_once(tmp_path, side, size, gb):
    assert refusal(write_tile(tmp_path / "a.tif", side, bytes(size))) == (
        f"has tiles of {gb} GB, which must be decoded at once; save it again with smaller tiles (512 x 512 pixels)"
    )


@pytest.mark.parametrize(("compression", "size"), [(8, 10_000), (32946, 10_000), (5, 5_000), (32773, 200_000)])
def test_more_pixels_than_a_compression_can_hold_are_refused(tmp_path, compression, size):
    path = write_tile(tmp_path / "a.tif", 4000, bytes(size), compression)
    assert refusal(path) == (
        f"page 0 claims 16000000 bytes of pixels in {size} bytes of the file, so the file is damaged; replace or "
        "remove it"
    )


def test_missing_tiles_are_refused_and_unwritten_ones_named(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PAGES[0], tile=(16, 16), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        counts = tiff.pages[0].tags["TileByteCounts"]
        assert len(counts.value) == 4
        counts.overwrite((*counts.value[:3], 0))
        tiff.pages[0].tags["TileOffsets"].overwrite((*tiff.pages[0].tags["TileOffsets"].value[:3], 0))
    _, warnings, pixels = read(path)
    assert warnings == ["has 1 tiles or strips that were never written; their pixels are 0"]
    assert (pixels[0, 16:, 16:] == 0).all()
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(40)
    assert refusal(path) == "page 0 has 4 of the 6 tiles or strips of its image; replace or remove it"
