"""Arrays in plain and compressed files are mapped, and damage is noticed."""

import bz2
import gzip

import numpy as np
import pytest

from helpers.raw_files import noise
from tessera.common.errors import InputError
from tessera.io.packed_file import map_array

PACK = {"": bytes, "gzip": gzip.compress, "bz2": bz2.compress}


@pytest.mark.parametrize("packing", PACK)
def test_array_is_read_after_its_header(tmp_path, packing):
    pixels = noise(3, 4, 5)
    (tmp_path / "a").write_bytes(b"header" + PACK[packing](pixels.tobytes()))
    assert np.array_equal(map_array(tmp_path / "a", "<u2", pixels.shape, 6, packing), pixels)


@pytest.mark.parametrize("packing", PACK)
def test_array_that_is_too_short_is_refused(tmp_path, packing):
    (tmp_path / "a").write_bytes(PACK[packing](noise(3, 4, 5).tobytes()))
    with pytest.raises(InputError, match="claims 160 bytes of pixels and has 120"):
        map_array(tmp_path / "a", "<u2", (4, 4, 5), 0, packing)


def test_absurd_size_is_refused_before_anything_is_unpacked(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(bytes(1000)))
    with pytest.raises(InputError, match=r"claims 2000\.0 GB of pixels"):
        map_array(tmp_path / "a", "u2", (1_000_000, 1_000_000), 0, "gzip")
