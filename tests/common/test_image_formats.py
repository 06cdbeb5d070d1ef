"""Formats are recognized by what files begin with, and missing readers are named."""

import pytest

from tessera.common.image_formats import FORMATS, ImageFormat, describe_missing_package, detect_format


@pytest.mark.parametrize(
    ("name", "head", "format_"),
    [
        ("a.tif", b"II*\0", "tiff"),
        ("a.dat", b"II*\0", "tiff"),
        ("a.tif", b"\x89PNG\r\n\x1a\n", "flat"),
        ("a.ND2", b"\0\0\0\x0cjP  ", "nd2"),
        ("a.jp2", b"\0\0\0\x0cjP  ", "flat"),
        ("a.dat", b"\0\0\0\x0cjP  ", "flat"),
        ("a.dat", b"\xda\xce\xbe\x0a", "nd2"),
        ("a.tif", b"hello", None),
    ],
)
def test_formats_are_recognized(name, head, format_):
    assert detect_format(name, head) == format_


def test_missing_reader_is_named_with_the_command_that_installs_it():
    format_ = ImageFormat("ABC", (".abc",), package="no_such_package")
    message = "is a ABC file, whose reader no_such_package is not installed; run make setup READERS=1"
    assert describe_missing_package(format_) == message
    assert all(describe_missing_package(each) is None for each in FORMATS.values())
