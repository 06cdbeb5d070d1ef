"""Labels of ilastik: projects in the layout of its serializer, and exports."""

import json

import h5py
import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.annotation_reader import open_annotation

TISSUE = LabelKind("semantic", ("background", "Tumor", "Stroma"))
STROKE = np.array([[1, 1, 0], [0, 2, 2]], np.uint8)


def tags(axes):
    return json.dumps({"axes": [{"key": axis, "typeFlags": 2, "resolution": 0, "description": ""} for axis in axes]})


def write(path, blocks, *, names=("tumor", "background"), files=("/data/x/a.tif",), axes=None):
    """Write {(first, ...): labels} of the last image of a project."""
    with h5py.File(path, "w") as project:
        project["PixelClassification/LabelNames"] = np.array([name.encode() for name in names])
        for number, file in enumerate(files):
            project[f"Input Data/infos/lane{number:04}/Raw Data/filePath"] = file.encode()
            group = project.create_group(f"PixelClassification/LabelSets/labels{number:03}")
        for number, (start, labels) in enumerate(blocks.items()):
            block = group.create_dataset(f"block{number:04}", data=labels, compression="gzip")
            spans = [f"{first}:{first + size}" for first, size in zip(start, labels.shape, strict=True)]
            block.attrs["blockSlice"] = f"[{','.join(spans)}]".encode()
            if axes:
                block.attrs["axistags"] = tags(axes)
    return path


def read(path, shape=(1, 3, 1, 6, 8), name="a.tif", kind=TISSUE):
    image = path.parent / name
    image.touch()
    with open_annotation([path], shape, image_files=[image], kind=kind) as annotation:
        plane = (slice(0, shape[3]), slice(0, shape[4]))
        return np.array([[annotation.source.read(t, z, *plane)[0] for z in range(shape[2])] for t in range(shape[0])])


def expected():
    labels = np.full((6, 8), NOT_ANNOTATED)
    labels[2:4, 4:7] = np.array([NOT_ANNOTATED, 1, 0])[STROKE]
    return labels


@pytest.mark.parametrize(
    ("start", "labels", "axes"),
    [
        ((2, 4, 0), STROKE[..., None], None),
        ((0, 2, 4), STROKE[None], None),
        ((0, 2, 4), STROKE[None], "cyx"),
        ((4, 2, 0), STROKE.T[..., None], "xyc"),
        ((0, 0, 2, 4, 0), STROKE[None, None, ..., None], None),
    ],
)
def test_strokes_are_classes_and_all_else_is_not_annotated(tmp_path, start, labels, axes):
    path = write(tmp_path / "p.ilp", {start: labels}, axes=axes)
    np.testing.assert_array_equal(read(path)[0, 0], expected())


def test_strokes_are_on_their_planes_and_frames(tmp_path):
    path = write(tmp_path / "p.ilp", {(1, 2, 4, 0): STROKE[None, ..., None]})
    for shape in ((1, 1, 3, 6, 8), (3, 1, 1, 6, 8)):
        labels = read(path, shape).reshape(3, 6, 8)
        np.testing.assert_array_equal(labels[1], expected())
        assert (labels[[0, 2]] == NOT_ANNOTATED).all()


def test_image_is_found_by_its_name(tmp_path):
    path = write(tmp_path / "p.ilp", {(2, 4, 0): STROKE[..., None]}, files=("b.tif", "C:\\x\\a.tif"))
    np.testing.assert_array_equal(read(path)[0, 0], expected())
    assert (read(path, name="b.tif") == NOT_ANNOTATED).all()
    with pytest.raises(InputError, match=r"has 0 images named c\.tif; its images are b\.tif"):
        read(path, name="c.tif")


def test_labels_that_do_not_fit_are_refused(tmp_path):
    path = write(tmp_path / "p.ilp", {(5, 4, 0): STROKE[..., None]})
    with pytest.raises(InputError, match="labels at 5:7, 4:7, 0:1, but its image is t 1, z 1, y 6, x 8"):
        read(path)
    path = write(tmp_path / "p.ilp", {(2, 4, 0): STROKE[..., None]}, names=("Label 1", "Label 2"))
    with pytest.raises(InputError, match="has the labels Label 1, Label 2, but the setting classes has background"):
        read(path)
    with pytest.raises(InputError, match="set task to semantic"):
        read(path, kind=LabelKind("instances", ("background", "cell")))


def test_label_without_a_name_is_refused(tmp_path):
    path = write(tmp_path / "p.ilp", {(2, 4, 0): STROKE[..., None]}, names=("tumor",))
    with pytest.raises(InputError, match="has the label 2, but 1 names"):
        read(path)


def test_exported_ids_are_read(tmp_path):
    ids = np.arange(48, dtype=np.uint32).reshape(6, 8) // 20
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = ids
        file["exported_data"].attrs["axistags"] = tags("yx")
    with open_annotation([tmp_path / "a.h5"], (1, 1, 1, 6, 8)) as annotation:
        np.testing.assert_array_equal(annotation.source.read(0, 0, slice(0, 6), slice(0, 8))[0], ids)
