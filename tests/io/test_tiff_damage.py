"""Properties of damaged TIFF files: any cut gives the whole image or an error, and no wrong byte stops a job."""

import random
import resource
import time

import pytest

from helpers.tiff_files import WRITERS
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image

CUTS = 100  # of each file; all of them hold
FLIPS = 60
LONGEST_S = 10
MOST_KB = 1e6


def read(path):
    """Return the shape, sizes, names, warnings and pixels that are read from a file."""
    with open_image([path]) as image:
        t, _, z, y, x = image.shape
        pixels = [image.read(i, j, slice(0, y), slice(0, x)).tobytes() for i in range(t) for j in range(z)]
        stated = (image.pixel_size_um, image.frame_interval_s, image.channels, image.warnings)
        return image.shape, image.dtype, stated, pixels


def attempt(path):
    """What `read` gives, or the error. No more than a job may take is taken, and no error stops the other images."""
    started = time.process_time()
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return read(path)
    except InputError as error:
        return error
    finally:
        assert time.process_time() - started < LONGEST_S
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < MOST_KB


def is_error_of(path, result):
    """Return whether the result is an error that names the file and skips no other image."""
    return type(result) is InputError and str(result).startswith(f"{path}: ")


@pytest.fixture(params=WRITERS)
def whole(request, tmp_path):
    """A whole file of each kind."""
    path = tmp_path / "whole.tif"
    WRITERS[request.param](path)
    return path


def test_cut_file_gives_the_whole_image_or_an_error(whole, tmp_path):
    expected, content = read(whole), whole.read_bytes()
    last = range(len(content) - 20, len(content))
    cut = tmp_path / "cut.tif"
    for size in [*range(20), *random.Random(1).sample(range(len(content)), CUTS), *last]:
        cut.write_bytes(content[:size])
        result = attempt(cut)
        assert result == expected or is_error_of(cut, result), size


def test_file_without_its_end_is_truncated(whole, tmp_path):
    """Up to 16 spare bytes may follow what a file needs."""
    path = tmp_path / "cut.tif"
    path.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cut\.tif: is truncated, .*; replace or remove it"):
        read(path)


def test_wrong_byte_gives_an_image_or_an_error_of_the_file(whole, tmp_path):
    content = whole.read_bytes()
    chosen = random.Random(1)
    path = tmp_path / "flipped.tif"
    for place in chosen.sample(range(len(content)), FLIPS):
        changed = bytearray(content)
        changed[place] = chosen.choice([changed[place] ^ (1 << chosen.randrange(8)), 0, 255])
        path.write_bytes(changed)
        result = attempt(path)
        assert is_error_of(path, result) or len(result[3]) == result[0][0] * result[0][2], place
