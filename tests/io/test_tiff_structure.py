"""The structure of TIFF files: circles of pages, and pages and tags beyond the end."""

import struct
import time

import pytest

from helpers.tiff_files import WRITERS, chain_of_pages
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image
from tessera.io.tiff_structure import check_tiff_structure


def refusal(path):
    """The message of the refusal, without the name of the file."""
    with pytest.raises(InputError) as refused, open_image([path]):
        pass
    return str(refused.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", WRITERS)
def test_pages_are_counted(tmp_path, kind):
    WRITERS[kind](tmp_path / "a.tif")
    # ImageJ stacks have a page for each frame, and a level of a pyramid is no page of its own.
    assert len(check_tiff_structure(tmp_path / "a.tif")) == {"pyramid": 1}.get(kind, 3)


@pytest.mark.parametrize(
    ("count", "back_to"), [(1, 0), (2, 0), (2, 1), (99, 0), (100, 0), (101, 50), (150, 149), (1000, 0), (5000, 4000)]
)
def test_circle_of_pages_is_refused_at_once(tmp_path, count, back_to):
    path = tmp_path / "a.tif"
    path.write_bytes(chain_of_pages([*range(1, count), back_to]))
    started = time.process_time()
    assert refusal(path) == (
        f"is damaged, its page {count - 1} is followed by page {back_to} again; replace or remove it"
    )
    assert time.process_time() - started < 5


def test_chain_of_many_pages_is_read(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(chain_of_pages([*range(1, 300), -1]))
    with open_image([path]) as image:
        assert image.shape == (300, 1, 1, 4, 4)
        assert image.read(299, 0, slice(1, 2), slice(0, 4)).tolist() == [[[4, 5, 6, 7]]]


def tag(code, type_, count, value):
    return struct.pack("<HHII", code, type_, count, value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"II*\0\x08", "is truncated, its header should end at byte 8 or 16 of 5"),
        (b"II+\0\x08\0\0\0\x10", "is truncated, its header should end at byte 8 or 16 of 9"),
        (b"II*\0\x08\0\0\0", "is truncated, its page 0 should be at byte 8 of 8"),
        (b"II*\0\xff\0\0\0" + bytes(9), "is truncated, its page 0 should be at byte 255 of 17"),
        (b"II*\0\x08\0\0\0\x02\0" + bytes(12), "is truncated, its page 0 starts at byte 8 and has no end of 22"),
        (b"II*\0\x08\0\0\0\xff\xff" + bytes(99), "is damaged, its page 0 claims 65535 tags"),
        (
            b"II*\0\x08\0\0\0\x01\0" + tag(270, 2, 100, 20) + bytes(4),
            "is truncated, tag 270 of its page 0 should end at byte 120 of 26",
        ),
        (
            b"II*\0\x08\0\0\0\x01\0" + tag(65000, 12, 2**32 - 1, 20) + bytes(4),
            "is truncated, tag 65000 of its page 0 should end at byte 34359738380 of 26",
        ),
        (
            b"II*\0\x08\0\0\0\x01\0" + tag(256, 99, 1, 20) + bytes(4),
            "is damaged, tag 256 of its page 0 has the unknown type 99",
        ),
        (
            b"II*\0\x08\0\0\0\x01\0" + tag(330, 4, 1, 500) + bytes(4),
            "is truncated, a level of its page 0 should be at byte 500 of 26",
        ),
        (
            b"II*\0\x08\0\0\0\x01\0" + tag(330, 4, 5000, 8) + bytes(20000),
            "is damaged, its page 0 claims 5000 pages in it",
        ),
    ],
    ids=["header", "big header", "no page", "far page", "cut page", "tags", "text", "huge", "type", "level", "levels"],
)
def test_structure_beyond_the_end_is_named(tmp_path, content, message):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert refusal(path) == f"{message}; replace or remove it"
