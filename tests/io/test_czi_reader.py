"""CZI files: pixels as czifile reads them, mosaics, compression, damage."""

import czifile
import numpy as np
import pytest

from helpers.raw_files import ingest_one, noise, peak_of_copying, read_all
from helpers.vendor_files import write_czi
from tessera.common.errors import InputError
from tessera.io.image_reader import open_image


def test_real_czi_file_equals_czifile(real_data):
    path = real_data / "awkward-files/aicspylibczi/CD_s_1_t_3_c_2_z_5.czi"
    with open_image([path]) as image:
        assert image.pixel_size_um == pytest.approx((0.32, 0.0906, 0.0906), abs=1e-4)
        assert image.channels == ["LED555", "LED470"]
        assert np.array_equal(read_all(image), czifile.imread(path)[0, ..., 0])


def test_each_scene_of_a_real_czi_file_equals_czifile(real_data):
    path = real_data / "awkward-files/training-resources/xyz__multiple_images.czi"
    expected = czifile.imread(path)[0, 0, ..., 0]
    for scene in (0, 1):
        with open_image([path], scene=str(scene)) as image:
            assert np.array_equal(read_all(image), expected[scene])
    with pytest.raises(InputError, match="has 2 scenes; choose one by its number or name"), open_image([path]):
        pass


def test_later_tiles_of_a_mosaic_cover_earlier_ones(tmp_path):
    first, second = np.full((4, 6), 7, np.uint8), np.full((4, 6), 9, np.uint8)
    write_czi(tmp_path / "a.czi", [({"X": 104, "Y": 11, "M": 1}, second), ({"X": 100, "Y": 10, "M": 0}, first)])
    expected = np.zeros((5, 10), np.uint8)
    expected[:4, :6] = 7
    expected[1:, 4:] = 9
    with open_image([tmp_path / "a.czi"]) as image:
        assert np.array_equal(read_all(image)[0, 0, 0], expected)
        assert np.array_equal(image.read(0, 0, slice(1, 4), slice(3, 8))[0], expected[1:4, 3:8])
        assert image.warnings == [
            "is a mosaic of 2 tiles, which are joined without blending where the microscope put them; pixels between "
            "them are 0"
        ]


@pytest.mark.parametrize("compression", [0, 5, 6])
def test_compressed_planes_are_read(tmp_path, compression):
    pixels = noise(2, 2, 30, 40)
    tiles = [({"C": c, "T": t}, pixels[t, c]) for t in (0, 1) for c in (0, 1)]
    write_czi(tmp_path / "a.czi", tiles, compression)
    with open_image([tmp_path / "a.czi"]) as image:
        assert np.array_equal(read_all(image), pixels[:, :, None])


def test_colors_are_channels_in_the_order_red_green_blue(tmp_path):
    pixels = noise(20, 30, 3, dtype=np.uint8)
    write_czi(tmp_path / "a.czi", [({}, pixels)])
    array, metadata = ingest_one(tmp_path, tmp_path / "a.czi")
    assert np.array_equal(array[0, :, 0], pixels.transpose(2, 0, 1))
    assert metadata.channels == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([({"C": 0, "Z": 0}, noise(4, 4)), ({"C": 1, "Z": 1}, noise(4, 4))], "lacks 2 of its 4 planes"),
        ([({"V": 0}, noise(4, 4)), ({"V": 1}, noise(4, 4))], "has several views"),
        ([({"C": 0}, noise(4, 4)), ({"C": 1}, noise(4, 4, dtype=np.uint8))], "differ in the type of their pixels"),
    ],
)
def test_what_an_image_cannot_hold_is_refused(tmp_path, tiles, message):
    write_czi(tmp_path / "a.czi", tiles)
    with pytest.raises(InputError, match=message), open_image([tmp_path / "a.czi"]):
        pass


def test_truncated_czi_file_is_refused_wherever_it_ends(tmp_path):
    write_czi(tmp_path / "a.czi", [({"T": t}, noise(8, 8)) for t in range(2)])
    data = (tmp_path / "a.czi").read_bytes()
    for length in range(16, len(data), 61):
        (tmp_path / "b.czi").write_bytes(data[:length])
        with pytest.raises(InputError, match=r"b\.czi: "), open_image([tmp_path / "b.czi"]) as image:
            read_all(image)


def test_tile_that_claims_more_than_it_holds_is_refused(tmp_path):
    write_czi(tmp_path / "a.czi", [({}, noise(8, 8))])
    data = bytearray((tmp_path / "a.czi").read_bytes())
    for at in [at for at in range(len(data) - 20) if data[at : at + 4] in (b"X\0\0\0", b"Y\0\0\0")]:
        data[at + 8 : at + 12] = data[at + 16 : at + 20] = (30_000).to_bytes(4, "little")
    (tmp_path / "a.czi").write_bytes(data)
    with pytest.raises(InputError, match="so the file is corrupt"), open_image([tmp_path / "a.czi"]) as image:
        image.read(0, 0, slice(0, 1), slice(0, 1))


def test_memory_stays_flat_as_a_czi_movie_grows(tmp_path):
    peaks = []
    for frames in (3, 30):
        write_czi(tmp_path / "a.czi", [({"T": t}, noise(400, 500)) for t in range(frames)], compression=5)
        peaks.append(peak_of_copying(tmp_path / "a.czi", tmp_path / f"{frames}.zarr"))
    assert peaks[1] < peaks[0] + 8e6  # the longer movie has 11e6 bytes more, and up to 16 tiles are kept
