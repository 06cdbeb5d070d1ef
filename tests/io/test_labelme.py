"""labelme files, written as labelme 5 does."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.annotation_reader import open_annotation


def shape(points, label="cell", kind="polygon", **options):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | options


def read(tmp_path, *shapes, size=(30, 40), **options):
    content = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "a.tif", "imageData": None}
    (tmp_path / "a.json").write_text(json.dumps(content | {"imageHeight": size[0], "imageWidth": size[1]}))
    with open_annotation([tmp_path / "a.json"], (1, 1, 1, 30, 40), **options) as annotation:
        return annotation.source.read(0, 0, slice(0, 30), slice(0, 40))[0], annotation


def test_polygon_rectangle_circle_and_mask(tmp_path):
    mask = np.array([[1, 0], [1, 1]], np.uint8) * 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    encoded = base64.b64encode(file.getvalue()).decode()
    ids, _ = read(
        tmp_path,
        shape([[1, 1], [5, 1], [5, 4], [1, 4]]),
        shape([[12, 8], [10, 5]], kind="rectangle"),
        shape([[25, 15], [28, 15]], kind="circle"),
        shape([[35, 20], [36, 21]], kind="mask", mask=encoded),
    )
    y, x = np.mgrid[:30, :40] + 0.5
    expected = np.zeros((30, 40))
    expected[1:4, 1:5] = 1
    expected[5:8, 10:12] = 2
    expected[np.hypot(y - 15, x - 25) < 3] = 3
    expected[20:22, 35:37] = 4 * (mask > 0)
    np.testing.assert_array_equal(ids, expected)


def test_shapes_of_a_group_are_one_object(tmp_path):
    parts = [shape([[left, 1], [left + 2, 1], [left + 2, 4], [left, 4]], group_id=2) for left in (1, 10)]
    ids, _ = read(tmp_path, *parts, shape([[20, 1], [22, 1], [22, 4], [20, 4]]))
    assert [(ids == value).sum() for value in (1, 2)] == [12, 6]


def test_labels_are_classes(tmp_path):
    square = [[1, 1], [5, 1], [5, 4], [1, 4]]
    kind = LabelKind("semantic", ("background", "cell", "nucleus"))
    ids, _ = read(tmp_path, shape(square, "nucleus"), shape([[10, 10], [12, 12]], "__ignore__", "rectangle"), kind=kind)
    assert (ids[2, 2], ids[11, 11]) == (2, NOT_ANNOTATED)


def test_other_size_is_refused(tmp_path):
    with pytest.raises(InputError, match="image of y 60, x 80, but its image is y 30, x 40"):
        read(tmp_path, size=(60, 80))


@pytest.mark.parametrize(
    "bad",
    [
        shape([[1, 2], [3]]),
        shape([[1, 2]], kind="circle"),
        shape([[1, 2], [3, 4]], kind="mask", mask="no base64"),
        shape([[1, 2], [3, 4]], kind="spiral"),
        {"label": "cell"},
    ],
)
def test_damaged_shape_is_refused(tmp_path, bad):
    with pytest.raises(InputError, match=r"a\.json: shape 0: cannot be read"):
        read(tmp_path, bad)
