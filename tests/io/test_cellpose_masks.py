"""Files of Cellpose, saved with NumPy as Cellpose does, and pickles that try to run code."""

import io
import os
import pickle

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.io import plain_pickle
from tessera.io.annotation_reader import open_annotation
from tessera.io.plain_pickle import read_array, read_plain_pickle

MASKS = np.arange(48, dtype=np.uint16).reshape(6, 8) // 9
PLANE = (slice(0, 6), slice(0, 8))


def contents(masks):
    """The entries of Cellpose 3."""
    return {
        "outlines": (masks > 0).astype(np.uint16), "colors": np.zeros((5, 3), np.uint8), "masks": masks,
        "chan_choose": [0, 0], "filename": "a.tif", "flows": [np.ones((2, 3, 4), np.float32), [], None],
        "ismanual": np.zeros(5, bool), "est_diam": np.float64(30.5), "manual_changes": [], "zdraw": [None], 3: True,
    }  # fmt: skip


def save(path, masks):
    np.save(path, contents(masks))
    return path


def read(*files, shape=(1, 1, 1, 6, 8)):
    with open_annotation(files, shape) as annotation:
        ids = [[annotation.source.read(t, z, *PLANE)[0] for z in range(shape[2])] for t in range(shape[0])]
        return np.array(ids), annotation


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, ">u2"])
def test_masks_are_read(tmp_path, dtype):
    ids, annotation = read(save(tmp_path / "a_seg.npy", MASKS.astype(dtype)))
    np.testing.assert_array_equal(ids[0, 0], MASKS)
    assert annotation.one_object_per_mask


def test_array_by_columns_is_read(tmp_path):
    ids, _ = read(save(tmp_path / "a_seg.npy", np.asfortranarray(MASKS)))
    np.testing.assert_array_equal(ids[0, 0], MASKS)


@pytest.mark.parametrize("shape", [(1, 1, 3, 6, 8), (3, 1, 1, 6, 8)])
def test_stacks_and_movies_are_read(tmp_path, shape):
    masks = np.stack([MASKS, MASKS + 1, MASKS * 2])
    ids, _ = read(save(tmp_path / "a_seg.npy", masks), shape=shape)
    np.testing.assert_array_equal(ids.reshape(3, 6, 8), masks)


def test_one_file_for_each_frame(tmp_path):
    files = [save(tmp_path / f"t{t}_seg.npy", MASKS * t) for t in range(2)]
    ids, _ = read(*files, shape=(2, 1, 1, 6, 8))
    np.testing.assert_array_equal(ids[:, 0], [0 * MASKS, MASKS])


@pytest.mark.parametrize("protocol", range(6))
def test_each_protocol_is_read(protocol):
    value = read_plain_pickle(io.BytesIO(pickle.dumps(contents(MASKS), protocol)))
    np.testing.assert_array_equal(read_array(value["masks"]), MASKS)
    np.testing.assert_array_equal(read_array(value["flows"][0]), np.ones((2, 3, 4)))
    assert (value["filename"], value["chan_choose"], value[3]) == ("a.tif", [0, 0], True)
    assert read_array(value["est_diam"]) == 30.5


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_never_run(tmp_path, protocol):
    data = pickle.dumps({"masks": Harmful(tmp_path / "ran")}, protocol)
    with pytest.raises(ValueError, match=r"mentions posix\.system, which is neither"):
        read_plain_pickle(io.BytesIO(data))
    np.save(tmp_path / "a_seg.npy", np.array({"masks": Harmful(tmp_path / "ran")}, object))
    with pytest.raises(InputError, match="without running its code"):
        read(tmp_path / "a_seg.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"", b".", b"(.", b"}.", b"N", b"cnumpy\nload\n.", b"cnumpy\ndtype\n)R.", b"I1\nb.", b"}I1\nN\x86(u.", b"0.",
        b"\x8e" + b"\xff" * 7 + b"\x7f.", b"Vx\nVy\n\x93.", b"I1\n)R.", b"h\x05.", b"]}(]Nu.", b"\x8a\xff.",
    ],
)  # fmt: skip
def test_damaged_pickles_are_refused(tmp_path, data):
    np.save(tmp_path / "a_seg.npy", contents(MASKS))
    whole = (tmp_path / "a_seg.npy").read_bytes()
    (tmp_path / "a_seg.npy").write_bytes(whole[: whole.index(b"\n") + 1] + data)
    with pytest.raises(InputError, match=r"a_seg\.npy: cannot be read without running its code"):
        read(tmp_path / "a_seg.npy")


def test_array_that_claims_another_size_is_refused(tmp_path):
    data = pickle.dumps({"masks": MASKS}, 2).replace(b"K\x06K\x08\x86", b"J\xff\xff\xff\x7fK\x08\x86")
    with pytest.raises(ValueError, match="but its shape is"):
        read_array(read_plain_pickle(io.BytesIO(data))["masks"])


def test_number_of_operations_is_limited(monkeypatch):
    monkeypatch.setattr(plain_pickle, "MOST_OPERATIONS", 10)
    with pytest.raises(ValueError, match="has more than 10 operations"):
        plain_pickle.read_plain_pickle(io.BytesIO(b"N" * 100))


def test_masks_of_another_size_are_refused_with_both_sizes(tmp_path):
    with pytest.raises(InputError, match=r"shape \(5, 8\), but its image has 1 frames, 1 planes, y 6, x 8"):
        read(save(tmp_path / "a_seg.npy", MASKS[1:]))
