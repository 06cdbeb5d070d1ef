"""Windows on seams: where they are chosen, and how they are stored."""

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image as OmeImage

from helpers.store_batches import outputs_of, scatter_discs, write_predictions
from tessera.common.errors import InputError
from tessera.inference.seam_windows import choose_seam_windows, read_seam_windows, seam_window_shape
from tessera.io.ome_zarr_store import open_array, read_metadata

SIDE = 128
SEAMS = [128, 256]


CELLS = scatter_discs((384, 384), 600, 9, 22)


# Choosing


def make_probabilities(shape, foreground=()):
    """zarr array uint8 (t, outputs, z, y, x), background but for the `foreground`, slices (t, z, y, x)."""
    array = zarr.create_array({}, shape=shape, chunks=(1, 1, 1, 512, 512), dtype=np.uint8, fill_value=255)
    for t, z, y, x in foreground:
        array[t, 0, z, y, x] = 0
    return array


@pytest.mark.parametrize("size", [(1000, 1000), (300, 2000), (2000, 130)])
def test_windows_lie_on_seams_inside_the_plane_and_do_not_overlap(size):
    array = make_probabilities((2, 3, 2, *size))
    rows, columns = list(range(256, size[0], 256)), list(range(256, size[1], 256))
    origins = choose_seam_windows(array, rows, columns, count=12, side_px=200)
    height, width = seam_window_shape(size, 200)
    assert 2 <= len(origins) <= 12
    assert origins == sorted(set(origins))
    seen = np.zeros((2, 2, *size), dtype=int)
    for t, z, y, x in origins:
        assert 0 <= y <= size[0] - height
        assert 0 <= x <= size[1] - width
        assert y % 32 == 0
        assert x % 32 == 0
        assert any(y < row < y + height for row in rows) or any(x < column < x + width for column in columns)
        seen[t, z, y : y + height, x : x + width] += 1
    assert seen.max() == 1
    assert len({(t, z) for t, z, *_ in origins}) == 4


def test_windows_are_the_same_in_every_call():
    array = make_probabilities((1, 3, 1, 3000, 3000))
    seams = list(range(256, 3000, 256))
    once, again = (choose_seam_windows(array, seams, seams, count=9, side_px=192) for _ in range(2))
    assert once == again
    assert len(once) == 9


def test_windows_with_objects_on_the_seam_come_first():
    array = make_probabilities((6, 3, 1, 600, 600), [(4, 0, slice(280, 320), slice(280, 320))])
    (place,) = choose_seam_windows(array, [300], [300], count=6, side_px=192)[-1:]
    assert choose_seam_windows(array, [300], [300], count=6, side_px=192)[0][0] == 0
    assert place[0] == 5
    array[:, 0, 0, 300, 500:520] = 0
    for _, _, y, x in choose_seam_windows(array, [300], [], count=3, side_px=192):
        assert y < 300 < y + 192
        assert x < 520
        assert x + 192 > 500


def test_windows_are_spread_over_the_predicted_frames():
    array = make_probabilities((100, 3, 1, 256, 256))
    assert [t for t, *_ in choose_seam_windows(array, [128], [128], count=4, side_px=128)] == [12, 37, 62, 87]
    frames = [3, 50, 51]
    assert {t for t, *_ in choose_seam_windows(array, [128], [], count=9, side_px=128, frames=frames)} == set(frames)
    assert choose_seam_windows(array, [128], [], count=9, side_px=128, frames=[]) == []


def test_windows_lie_in_the_region_of_interest():
    array = make_probabilities((1, 3, 1, 1000, 1000))
    seams = list(range(128, 1000, 128))
    roi = (100, 700, 300, 900)
    origins = choose_seam_windows(array, seams, seams, count=100, side_px=160, roi=roi)
    assert len(origins) >= 4
    assert all(100 <= y <= 540 and 300 <= x <= 740 for _, _, y, x in origins)
    assert choose_seam_windows(array, seams, seams, count=5, side_px=512, roi=(90, 190, 300, 350)) == [(0, 0, 90, 300)]


def test_image_without_seams_has_no_windows():
    array = make_probabilities((1, 3, 1, 500, 500))
    assert choose_seam_windows(array, [], [], count=4, side_px=192) == []
    assert choose_seam_windows(array, [256], [], count=0, side_px=192) == []


def test_choice_of_windows_reads_little_of_a_large_image():
    class Counted:
        """An array that counts the pixels that are read."""

        shape, pixels = (1000, 3, 1, 100_000, 100_000), 0

        def __getitem__(self, at):
            part = at[-1] if isinstance(at[-1], slice) else at[-2]
            self.pixels += part.stop - part.start
            return np.zeros(part.stop - part.start, np.uint8)

    array, seams = Counted(), list(range(2048, 100_000, 2048))
    assert len(choose_seam_windows(array, seams, seams, count=16, side_px=512)) == 16
    assert array.pixels < 2 * 4 * 16 * 2 * 512


# Keeping


def test_windows_are_read_as_written_and_the_store_does_not_change(tmp_path):
    outputs = np.stack([outputs_of(CELLS), outputs_of(CELLS[::-1])])[:, :, None]
    origins = write_predictions(tmp_path / "a", outputs, SEAMS, SEAMS, side_px=SIDE)
    kept = list(read_seam_windows(tmp_path / "a"))
    assert [origin for origin, _ in kept] == origins
    for (t, z, y, x), window in kept:
        assert (window == outputs[t, :, z, y : y + SIDE, x : x + SIDE]).all()
    OmeImage.from_zarr(zarr.open_group(tmp_path / "a", mode="r"))
    assert (open_array(tmp_path / "a")[...] == outputs).all()
    assert read_metadata(tmp_path / "a").channels == ["0", "1", "2"]


def test_store_without_seams_contains_no_windows(tmp_path):
    assert write_predictions(tmp_path / "a", outputs_of(CELLS)[None, :, None], [], [], side_px=SIDE) == []
    assert not (tmp_path / "a" / "seams").exists()
    assert list(read_seam_windows(tmp_path / "a")) == []


@pytest.mark.parametrize("harm", ["lost", "cut"])
def test_damaged_window_is_named(tmp_path, harm):
    write_predictions(tmp_path / "a", outputs_of(CELLS)[None, :, None], SEAMS, SEAMS, side_px=SIDE)
    chunk = tmp_path / "a" / "seams" / "probabilities" / "c" / "0" / "0" / "0" / "0"
    if harm == "lost":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:-20])
    with pytest.raises(
        InputError, match=r"a/seams: the windows on seams cannot be read .*remove the folder of the batch"
    ):
        list(read_seam_windows(tmp_path / "a"))
