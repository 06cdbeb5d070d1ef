"""Plain Zarr stores and OME-Zarr in ZIP files are read; hostile ZIP files are refused."""

import zipfile

import numpy as np
import pytest
import zarr
from ome_zarr.writer import write_image

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


def zip_folder(folder, path, top=""):
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                file.write(each, f"{top}{each.relative_to(folder)}")


def write_plain(path, version, names):
    """An array (z, y, x) with the names of its axes, as xarray writes them."""
    named = {"dimension_names": names} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": names}}
    pixels = noise(3, 40, 50)
    zarr.create_array(path, data=pixels, chunks=(1, 16, 16), zarr_format=version, **named)
    return pixels


@pytest.mark.parametrize("version", [2, 3])
def test_plain_array_is_read_with_the_names_of_its_axes(tmp_path, version):
    pixels = write_plain(tmp_path / "a.zarr", version, ["z", "y", "x"])
    with open_image([tmp_path / "a.zarr"]) as image:
        assert np.array_equal(read_all(image)[0, 0], pixels)


@pytest.mark.parametrize("version", [2, 3])
def test_plain_array_without_names_needs_axes(tmp_path, version):
    pixels = write_plain(tmp_path / "a.zarr", version, ["a", "b", "c"])
    with open_image([tmp_path / "a.zarr"], "TYX") as image:
        assert np.array_equal(read_all(image)[:, 0, 0], pixels)
    with pytest.raises(InputError, match="name them in the column axes"), open_image([tmp_path / "a.zarr"]):
        pass


def test_arrays_of_a_plain_group_are_scenes(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    pixels = noise(2, 40, 50)
    group.create_array("raw/left", data=pixels[0])
    group.create_array("raw/right", data=pixels[1])
    with open_image([tmp_path / "a.zarr"], scene="raw/right") as image:
        assert np.array_equal(read_all(image)[0, 0, 0], pixels[1])
    message = r"has 2 scenes; .* 0 \(raw/left\), 1 \(raw/right\)"
    with pytest.raises(InputError, match=message), open_image([tmp_path / "a.zarr"]):
        pass


@pytest.mark.parametrize("top", ["", "a.zarr/"])
@pytest.mark.parametrize("name", ["a.zarr.zip", "a.ozx"])
def test_zipped_ome_zarr_is_read(tmp_path, name, top):
    pixels = noise(2, 3, 40, 50)
    write_image(pixels, str(tmp_path / "a.zarr"), axes="tzyx", scale_factors=[])
    zip_folder(tmp_path / "a.zarr", tmp_path / name, top)
    with open_image([tmp_path / name]) as image:
        assert np.array_equal(read_all(image), pixels[:, None])


def test_zip_files_that_are_no_stores_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as file:
        file.writestr("a.tif", b"II*\0")
    with pytest.raises(InputError, match="has no Zarr store at its top"), open_image([tmp_path / "a.zarr.zip"]):
        pass
    (tmp_path / "b.zarr.zip").write_bytes((tmp_path / "a.zarr.zip").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"b\.zarr\.zip: "), open_image([tmp_path / "b.zarr.zip"]):
        pass


def test_zip_file_with_absurd_metadata_or_chunks_is_refused(tmp_path):
    write_plain(tmp_path / "a.zarr", 3, ["z", "y", "x"])
    zip_folder(tmp_path / "a.zarr", tmp_path / "a.zarr.zip")
    for name, what in (("c/9/9/9", "has chunks of above"), ("zarr.json", "is too large for metadata")):
        with zipfile.ZipFile(tmp_path / "b.zarr.zip", "w", zipfile.ZIP_DEFLATED) as file:
            if name != "zarr.json":
                file.write(tmp_path / "a.zarr" / "zarr.json", "zarr.json")
            file.writestr(name, bytes(2**24 + 1))
        with pytest.raises(InputError, match=what), open_image([tmp_path / "b.zarr.zip"]):
            pass
