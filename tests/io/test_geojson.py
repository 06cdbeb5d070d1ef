"""GeoJSON in the form that QuPath exports, with geometries made by shapely."""

import json

import numpy as np
import pytest

from tessera.common.errors import InputError
from tessera.io.annotation import NOT_ANNOTATED, LabelKind
from tessera.io.annotation_reader import open_annotation

PLANE = (slice(0, 30), slice(0, 40))
TISSUE = LabelKind("semantic", ("background", "Tumor", "Stroma"))


def box(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(coordinates, name=None, kind="annotation", geometry="Polygon", plane=None):
    properties = {"objectType": kind} | ({"classification": {"name": name, "color": [1, 2, 3]}} if name else {})
    shape = {"type": geometry, "coordinates": coordinates} | ({"plane": plane} if plane else {})
    return {"type": "Feature", "id": "8c1c", "geometry": shape, "properties": properties}


def read(tmp_path, content, shape=(1, 3, 1, 30, 40), **options):
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    with open_annotation([tmp_path / "a.geojson"], shape, **options) as annotation:
        ids = [[annotation.source.read(t, z, *PLANE)[0] for z in range(shape[2])] for t in range(shape[0])]
        return np.array(ids), annotation


@pytest.mark.parametrize("wrap", [lambda features: {"type": "FeatureCollection", "features": features}, list])
def test_polygons_with_holes_and_several_parts(tmp_path, wrap):
    holed = feature([box(1, 1, 9, 9), box(3, 3, 5, 5)[::-1]])
    parts = feature([[box(20, 2, 24, 6)], [box(30, 2, 32, 4)]], geometry="MultiPolygon")
    ids, _ = read(tmp_path, wrap([holed, parts]))
    expected = np.zeros((30, 40))
    expected[1:9, 1:9] = 1
    expected[3:5, 3:5] = 0
    expected[2:6, 20:24] = expected[2:4, 30:32] = 2
    np.testing.assert_array_equal(ids[0, 0], expected)


def test_classes_and_ignored_regions(tmp_path):
    features = [feature([box(0, 0, 40, 30)], "Stroma"), feature([box(2, 2, 8, 8)], "Tumor")]
    ids, _ = read(tmp_path, [*features, feature([box(20, 20, 30, 30)], "Ignore*")], kind=TISSUE)
    assert (ids[0, 0, 0, 0], ids[0, 0, 3, 3], ids[0, 0, 25, 25]) == (2, 1, NOT_ANNOTATED)


def test_old_exports_name_their_kind_in_id(tmp_path):
    cell = feature([box(2, 2, 8, 8)]) | {"id": "PathCellObject", "properties": {}}
    around = feature([box(0, 0, 40, 30)]) | {"id": "PathAnnotationObject", "properties": {}}
    ids, annotation = read(tmp_path, [around, cell])
    assert (ids == 1).sum() == 36
    assert annotation.source.warnings == ["1 annotations around cells; they are left out, since cells are the objects"]


def test_regions_are_on_their_frames_and_planes(tmp_path):
    features = [feature([box(2, 2, 8, 8)], plane={"c": -1, "z": 1, "t": 2}), feature([box(2, 2, 8, 8)])]
    ids, annotation = read(tmp_path, features, (3, 1, 2, 30, 40))
    assert np.argwhere(ids.any((2, 3))).tolist() == [[0, 0], [2, 1]]
    assert annotation.annotated_t == [0, 2]


def test_one_file_for_each_frame(tmp_path):
    for t in range(2):
        content = json.dumps([feature([box(2 + t, 2, 8, 8)])])
        (tmp_path / f"{t}.geojson").write_text(content)
    with open_annotation([tmp_path / "0.geojson", tmp_path / "1.geojson"], (2, 1, 1, 30, 40)) as annotation:
        frames = [annotation.source.read(t, 0, *PLANE)[0] for t in range(2)]
    assert [(frame > 0).sum() for frame in frames] == [36, 30]
    assert frames[1].max() == 2  # nothing says that it is the same cell


def test_points_are_left_out(tmp_path):
    _, annotation = read(tmp_path, [feature([3, 3], geometry="Point"), feature([box(2, 2, 8, 8)])])
    assert annotation.source.warnings == ["1 lines or points, which have no area; they are left out"]


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [3, 4]]]},
        {"type": "Polygon", "coordinates": 7},
        {"type": "Polygon"},
        {"type": "Circle", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[1e400, 1], [2, 3], [3, 4]]]},
        "text",
    ],
)
def test_damaged_geometry_is_refused(tmp_path, geometry):
    with pytest.raises(InputError, match="feature 0: its geometry is damaged"):
        read(tmp_path, [{"type": "Feature", "geometry": geometry, "properties": {}}])
