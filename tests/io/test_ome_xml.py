"""The description of OME-TIFF files and the files that it names."""

import pytest
import tifffile

from helpers.tiff_files import PIXELS, WRITERS
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image
from tessera.io.ome_xml import check_ome_set, looks_like_ome, parse_ome


@pytest.mark.parametrize(
    ("description", "ome"),
    [
        ('<?xml version="1.0"?><OME><Image/></OME>', True),
        ("<OME><Image/></OME>\n<!-- written on a Monday -->", True),
        ('<?xml version="1.0"?><OMF><Image/></OME>', True),
        ("ImageJ=1.54f\nimages=3\n", False),
        ('{"shape": [3, 20, 24]}', False),
        ("", False),
    ],
)
def test_ome_xml_is_recognized_even_if_it_is_damaged(description, ome):
    assert looks_like_ome(description) == ome


def test_ome_xml_that_is_not_well_formed_gives_the_reason():
    assert parse_ome("<OME><Image></OME>") == "mismatched tag: line 1, column 14"


def test_three_channels_without_their_last_byte_do_not_become_frames(tmp_path):
    """OME-XML is at the end of the files of many programs."""
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, PIXELS, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InputError) as refused, open_image([path]):
        pass
    assert str(refused.value) == (
        f"{path}: is truncated, tag 270 of its page 0 should end at byte {len(content)} of {len(content) - 1}; replace "
        "or remove it"
    )


def test_damaged_file_of_a_set_is_refused_by_its_name(tmp_path):
    WRITERS["plain"](tmp_path / "b.tif")
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:-100])
    root = parse_ome('<OME><UUID FileName="b.tif"/></OME>')
    with pytest.raises(InputError, match=r"b\.tif: is truncated, "):
        check_ome_set(tmp_path / "a.tif", root, 3)
