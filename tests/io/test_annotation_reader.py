"""Annotations in each supported format, with ids that are known."""

import numpy as np
import pytest
import tifffile

from tessera.common.errors import InputError
from tessera.io.annotation_reader import open_annotation

IDS = np.array([[0, 1, 1, 0], [0, 1, 0, 7], [0, 0, 0, 7]], np.uint16)
PLANE = (slice(None), slice(None))


def write_frames(folder, frames, name="man_track{:03d}.tif", tracks=None):
    """Write {t: ids (y, x)} as a Cell Tracking Challenge folder."""
    folder.mkdir(parents=True)
    for t, ids in frames.items():
        tifffile.imwrite(folder / name.format(t), ids)
    if tracks:
        (folder / "man_track.txt").write_text(tracks)
    return folder


def test_image_of_ids_is_read_with_the_shape_of_its_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IDS)
    with open_annotation([tmp_path / "a.tif"], (1, 3, 1, 3, 4)) as annotation:
        assert annotation.source.shape == (1, 1, 1, 3, 4)
        np.testing.assert_array_equal(annotation.source.read(0, 0, *PLANE), IDS[None])
        assert (annotation.one_object_per_mask, annotation.annotated_t, annotation.lineage) == (False, None, None)


def test_stack_of_planes_is_read_as_frames_of_a_movie(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([IDS, 2 * IDS]), metadata={"axes": "ZYX"})
    with open_annotation([tmp_path / "a.tif"], (2, 1, 1, 3, 4)) as annotation:
        np.testing.assert_array_equal(annotation.source.read(1, 0, *PLANE), 2 * IDS[None])


def test_masks_of_objects_get_ids_in_order_and_the_smaller_object_covers_the_larger(tmp_path):
    small, large, empty = (np.zeros((3, 4), np.uint8) for _ in range(3))
    small[0, :2], large[:2] = 255, 255
    for name, mask in (("a", small), ("b", large), ("c", empty)):
        tifffile.imwrite(tmp_path / f"{name}.tif", mask)
    with open_annotation([tmp_path], (1, 1, 1, 3, 4)) as annotation:
        assert annotation.one_object_per_mask
        expected = [[1, 1, 2, 2], [2, 2, 2, 2], [0, 0, 0, 0]]
        np.testing.assert_array_equal(annotation.source.read(0, 0, *PLANE)[0], expected)
        assert list(annotation.source.warnings) == [
            "2 pixels belong to two objects and are assigned to the smaller one",
            "1 of 3 masks are empty",
        ]


def test_challenge_folder_gives_its_lineage(tmp_path):
    daughters = np.where(IDS == 1, 2, 0).astype(np.uint16)
    folder = write_frames(tmp_path / "01_GT" / "TRA", {0: IDS, 1: daughters}, tracks="1 0 0 0\n7 0 0 0\n2 1 1 1\n")
    with open_annotation([folder.parent], (2, 1, 1, 3, 4)) as annotation:
        assert annotation.lineage == [[1, 0, 0, 0], [7, 0, 0, 0], [2, 1, 1, 1]]
        assert annotation.annotated_t is None
        np.testing.assert_array_equal(annotation.source.read(1, 0, *PLANE)[0], daughters)


def test_unannotated_frames_are_empty_and_listed(tmp_path):
    folder = write_frames(tmp_path / "SEG", {1: IDS}, name="man_seg{:03d}.tif")
    with open_annotation([folder], (3, 1, 1, 3, 4)) as annotation:
        assert annotation.annotated_t == [1]
        assert not annotation.source.read(0, 0, slice(0, 3), slice(0, 4)).any()
        np.testing.assert_array_equal(annotation.source.read(1, 0, *PLANE)[0], IDS)


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ("1 0 0\n", "line 1: is not four whole numbers"),
        ("1 0 0 0\n1 0 0 0\n", "line 2: .* is invalid"),
        ("1 0 5 0\n", "line 1: .* frames from 0 to 0"),
        ("1 0 0 9\n", "track 1: its parent 9 is not a track that ended before frame 0"),
    ],
)
def test_invalid_table_of_tracks_is_refused(tmp_path, tracks, message):
    folder = write_frames(tmp_path / "TRA", {0: IDS}, tracks=tracks)
    with pytest.raises(InputError, match=message), open_annotation([folder], (1, 1, 1, 3, 4)):
        pass


def test_id_missing_in_the_table_of_tracks_is_refused(tmp_path):
    folder = write_frames(tmp_path / "TRA", {0: IDS}, tracks="1 0 0 0\n")
    with (
        open_annotation([folder], (1, 1, 1, 3, 4)) as annotation,
        pytest.raises(InputError, match=r"has the ids 7, which man_track\.txt does not list"),
    ):
        annotation.source.read(0, 0, *PLANE)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 1, 4, 3), "it is transposed; rotate it"),
        ((1, 1, 1, 6, 8), "annotate the image at its full size"),
        ((5, 1, 1, 3, 4), "give an annotation of each of the 5 frames"),
    ],
)
def test_annotation_of_another_shape_is_refused_with_advice(tmp_path, shape, message):
    tifffile.imwrite(tmp_path / "a.tif", IDS)
    with pytest.raises(InputError, match=message), open_annotation([tmp_path / "a.tif"], shape):
        pass


def test_jpeg_annotation_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="JPEG changes ids"), open_annotation([tmp_path / "a.jpg"], (1, 1, 1, 3, 4)):
        pass
