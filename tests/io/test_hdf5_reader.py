"""HDF5 files of ilastik, Imaris and others: datasets are scenes."""

import json

import h5py
import numpy as np
import pytest

from helpers.raw_files import noise, read_all
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


def test_axes_of_ilastik_are_read(tmp_path):
    pixels = noise(3, 6, 7, 2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("exported_data", data=pixels, chunks=(1, 4, 4, 1), compression="gzip")
        data.attrs["axistags"] = json.dumps({"axes": [{"key": key, "typeFlags": 1} for key in "tyxc"]})
    with open_image([tmp_path / "a.h5"]) as image:
        assert np.array_equal(read_all(image), pixels.transpose(0, 3, 1, 2)[:, :, None])


def test_last_axis_may_be_a_single_channel(tmp_path):
    pixels = noise(6, 7, 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = pixels
        file["exported_data"].attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "yxc"]})
    with open_image([tmp_path / "a.h5"]) as image:
        assert np.array_equal(read_all(image)[0, 0, 0], pixels[..., 0])


def test_labels_of_dimensions_and_the_element_size_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", data=noise(3, 6, 7))
        for dimension, label in zip(data.dims, "zyx", strict=True):
            dimension.label = label
        data.attrs["element_size_um"] = [2, 0.5, 0.25]
    with open_image([tmp_path / "a.h5"]) as image:
        assert image.shape == (1, 1, 3, 6, 7)
        assert image.pixel_size_um == (2, 0.5, 0.25)


def test_dataset_is_chosen_by_its_path(tmp_path):
    pixels = noise(2, 6, 7)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw/left"], file["raw/right"], file["times"] = pixels[0], pixels[1], [1.0, 2.0]
    for scene in ("raw/right", "/raw/right", "1"):
        with open_image([tmp_path / "a.h5"], scene=scene) as image:
            assert np.array_equal(read_all(image)[0, 0, 0], pixels[1])
    message = r"has 2 scenes; .* 0 \(/raw/left\), 1 \(/raw/right\)"
    with pytest.raises(InputError, match=message), open_image([tmp_path / "a.h5"]):
        pass


def test_pixels_in_other_files_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(100))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (10, 10), "u1", external=[(tmp_path / "secret", 0, 100)])
    with pytest.raises(InputError, match="are in other files"), open_image([tmp_path / "a.h5"]):
        pass
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["link"] = h5py.ExternalLink(tmp_path / "a.h5", "a")
    with pytest.raises(InputError, match="contains no image"), open_image([tmp_path / "b.h5"]):
        pass


def test_damaged_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (100_000, 100_000), "u2", chunks=(100, 100))[:100, :100] = 1
    with pytest.raises(InputError, match=r"claims 20\.0 GB of pixels"), open_image([tmp_path / "a.h5"]):
        pass
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = noise(60, 70)
    data = (tmp_path / "a.h5").read_bytes()
    for length in range(16, len(data), 997):
        (tmp_path / "b.h5").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"b\.h5: "), open_image([tmp_path / "b.h5"]):
            pass


def characters(text):
    """An attribute as Imaris writes it."""
    return np.array(list(text), "S1")


def test_imaris_file_is_read_without_its_padding(tmp_path):
    pixels = noise(2, 2, 3, 6, 7)
    with h5py.File(tmp_path / "a.ims", "w") as file:
        for t in range(2):
            for c in range(2):
                padded = np.pad(pixels[t, c], ((0, 1), (0, 2), (0, 1)))
                name = f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}/Data"
                file.create_dataset(name, data=padded, chunks=(2, 4, 4))
                file[f"DataSet/ResolutionLevel 1/TimePoint {t}/Channel {c}/Data"] = padded[::2, ::2, ::2]
        image = file.create_group("DataSetInfo/Image")
        for name, text in {"X": "7", "Y": "6", "Z": "3", "ExtMax0": "3.5", "ExtMax1": "3", "ExtMax2": "6"}.items():
            image.attrs[name] = characters(text)
        for n in range(3):
            image.attrs[f"ExtMin{n}"] = characters("0")
        for c, name in enumerate(("DNA", "actin")):
            file.create_group(f"DataSetInfo/Channel {c}").attrs["Name"] = characters(name)
    with open_image([tmp_path / "a.ims"]) as image:
        assert np.array_equal(read_all(image), pixels)
        assert (image.pixel_size_um, image.channels) == ((2, 0.5, 0.5), ["DNA", "actin"])
