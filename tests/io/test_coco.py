"""COCO annotations, with masks made by pycocotools."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from skimage.draw import disk

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.annotation_reader import open_annotation
from tessera.io.coco import decode_counts

SHAPE = (1, 1, 1, 30, 40)
PLANE = (slice(0, 30), slice(0, 40))


def discs():
    """Masks of two discs apart and one whose run lengths are long."""
    masks = np.zeros((3, 30, 40), np.uint8)
    for mask, place in zip(masks, [(7, 7, 5), (20, 25, 8), (5, 30, 3)], strict=True):
        mask[disk(place[:2], place[2])] = 1
    return masks


def encode(mask, compressed):
    if compressed:
        run_lengths = coco_mask.encode(np.asfortranarray(mask))
        return run_lengths | {"counts": run_lengths["counts"].decode()}
    flat = mask.ravel(order="F")
    borders = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *borders, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": ([0] if flat[0] else []) + runs}


def write(path, segmentations, *, names=("a.tif",), size=(30, 40), **options):
    """Write a file whose images all have the `segmentations`."""
    images = [
        {"id": 10 + number, "file_name": name, "height": size[0], "width": size[1]} for number, name in enumerate(names)
    ]
    annotations = [
        {"id": number, "image_id": 10, "category_id": 3, "iscrowd": 0, "segmentation": segmentation} | options
        for number, segmentation in enumerate(segmentations)
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "cell"}]}
    path.write_text(json.dumps(content))
    return path


def read(path, *, shape=SHAPE, names=("a.tif",), **options):
    files = [path.parent / name for name in names]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    with open_annotation([path], shape, image_files=files, **options) as annotation:
        return np.stack([annotation.source.read(t, 0, *PLANE)[0] for t in range(shape[0])]), annotation


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_are_read(tmp_path, compressed):
    masks = discs()
    masks[0, 0, 0] = 1  # begins inside
    ids, _ = read(write(tmp_path / "a.json", [encode(mask, compressed) for mask in masks]))
    np.testing.assert_array_equal(ids[0], (masks * np.arange(1, 4)[:, None, None]).sum(0))


def test_compressed_counts_equal_those_of_pycocotools():
    mask = (np.random.default_rng(0).random((300, 200)) < 0.5).astype(np.uint8)
    mask[:, 50:120] = 1
    runs = decode_counts(encode(mask, True)["counts"])
    assert runs.tolist() == encode(mask, False)["counts"]


def test_polygons_are_read(tmp_path):
    parts = [[2, 3, 10, 3, 10, 9, 2, 9], [20, 12, 30, 12, 30, 25, 20, 25]]
    ids, _ = read(write(tmp_path / "a.json", [parts]))
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, 30, 40)))
    np.testing.assert_array_equal(ids[0], expected)


def test_polygons_differ_from_pycocotools_at_the_outline_only(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.stack([20.3 + 12.4 * np.cos(angles), 15.1 + 9.7 * np.sin(angles)], axis=1).ravel().tolist()
    ids, _ = read(write(tmp_path / "a.json", [[ring]]))
    expected = coco_mask.decode(coco_mask.frPyObjects([ring], 30, 40))[..., 0]
    y, x = np.nonzero(ids[0] != expected)
    radius = np.hypot((x + 0.5 - 20.3) / 12.4, (y + 0.5 - 15.1) / 9.7)
    assert (np.abs(radius - 1) < 0.06).all()  # half a pixel
    assert len(y) < 10


@pytest.mark.parametrize("option", ["iscrowd", "ignore"])
def test_crowds_are_not_annotated(tmp_path, option):
    ids, _ = read(write(tmp_path / "a.json", [encode(discs()[0], True)], **{option: 1}))
    np.testing.assert_array_equal(ids[0] == NOT_ANNOTATED, discs()[0] > 0)


def test_image_is_found_by_its_name_and_folders(tmp_path):
    path = write(tmp_path / "a.json", [encode(discs()[0], True)], names=("x/a.tif", "y/a.tif", "c.png"))
    assert read(path, names=("x/a.tif",))[0].any()
    assert not read(path, names=("y/a.tif",))[0].any()
    assert not read(path, names=("c.ome.tif",))[0].any()
    with pytest.raises(InputError, match=r"lists x/a\.tif, y/a\.tif, so it is unclear"):
        read(path, names=("a.tif",))
    with pytest.raises(InputError, match=r"lists no image named d\.tif; its 3 images are a\.tif, c\.png"):
        read(path, names=("d.tif",))


def test_frames_of_a_movie_are_matched_by_name(tmp_path):
    path = write(tmp_path / "a.json", [encode(discs()[0], True)], names=("t2.tif", "t1.tif"))
    ids, annotation = read(path, shape=(3, *SHAPE[1:]), names=("t1.tif", "t2.tif", "t3.tif"))
    assert ids.any((1, 2)).tolist() == [False, True, False]
    assert annotation.annotated_t == [0, 1]
    assert annotation.source.warnings[0].startswith("no entry for 1 of 3 frames (t3.tif)")


def test_image_of_another_size_is_refused_with_both_sizes(tmp_path):
    with pytest.raises(InputError, match=r"a\.tif is y 60, x 80, but it is y 30, x 40"):
        read(write(tmp_path / "a.json", [], size=(60, 80)))
    with pytest.raises(InputError, match=r"of y, x \[60, 80\], but its image is y 30, x 40"):
        read(write(tmp_path / "a.json", [{"size": [60, 80], "counts": [4800]}]))


@pytest.mark.parametrize(
    "counts", [[1, 2], [-1, 1201], [10**30], "", "#", "0", [1200.5, "x"], None, "o" * 50, [[600], [600]]]
)
def test_damaged_run_lengths_are_refused(tmp_path, counts):
    with pytest.raises(InputError, match=r"a\.json: annotation 0"):
        read(write(tmp_path / "a.json", [{"size": [30, 40], "counts": counts}]))


def test_damaged_files_are_refused(tmp_path):
    for text in ('{"images": [], "annotations": 3}', '{"a": [}', "[" * 100_000, '{"images": [], "annotations": []}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match=r"a\.json: "):
            read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("key", "name"),
    [("images", "id"), ("categories", "id"), ("annotations", "image_id"), ("annotations", "category_id")],
)
def test_id_that_is_no_number_is_refused(tmp_path, key, name):
    path = write(tmp_path / "a.json", [encode(discs()[0], True)])
    content = json.loads(path.read_text())
    content[key][0][name] = {}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"{key} 0: its {name} is no number"):
        read(path)


def test_categories_become_classes(tmp_path):
    kind = LabelKind("semantic", ("background", "debris", "cell"))
    ids, _ = read(write(tmp_path / "a.json", [encode(discs()[0], True)]), kind=kind)
    np.testing.assert_array_equal(ids[0], 2 * discs()[0])
