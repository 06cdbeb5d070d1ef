"""NumPy files: arrays of numbers are read, objects are never unpickled."""

import os

import numpy as np
import pytest

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


@pytest.mark.parametrize("by_columns", [False, True])
def test_array_with_axes_of_the_table_equals_the_saved_array(tmp_path, by_columns):
    pixels = noise(3, 2, 6, 7)
    np.save(tmp_path / "a.npy", np.asfortranarray(pixels) if by_columns else pixels)
    with open_image([tmp_path / "a.npy"], "TCYX") as image:
        assert np.array_equal(read_all(image), pixels[:, :, None])


def test_array_of_two_dimensions_needs_no_axes_and_one_of_three_does(tmp_path):
    np.save(tmp_path / "a.npy", noise(6, 7))
    with open_image([tmp_path / "a.npy"]) as image:
        assert image.shape == (1, 1, 1, 6, 7)
    np.save(tmp_path / "a.npy", noise(3, 6, 7))
    with pytest.raises(InputError, match="name them in the column axes"), open_image([tmp_path / "a.npy"]):
        pass


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trap",)


def test_objects_are_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([[Trap()]], object), allow_pickle=True)
    with pytest.raises(InputError, match="holds Python objects"), open_image([tmp_path / "a.npy"]):
        pass
    assert not (tmp_path / "trap").exists()


def test_truncated_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", noise(60, 70))
    data = (tmp_path / "a.npy").read_bytes()
    for length in (10, 60, 128, 5000, len(data) - 1):
        (tmp_path / "b.npy").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"b\.npy: "), open_image([tmp_path / "b.npy"]):
            pass
