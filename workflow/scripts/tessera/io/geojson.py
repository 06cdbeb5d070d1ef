"""GeoJSON as QuPath exports it (https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tessera.common.errors import InputError
from tessera.io.drawn_labels import Drawing, DrawnRegion, is_ignored
from tessera.io.drawn_shapes import Polygons, Ring, as_ring
from tessera.io.json_drawing import entries, load_json

_WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
_OBJECTS = ("cell", "detection")
_MOST_NESTED = 20  # collections in collections


def read_geojson(path: Path, *, semantic: bool) -> Drawing:
    """Read the regions of a GeoJSON file; coordinates are pixels of the image at full size.

    If the file has cells or detections and the labels are instances, these are the objects, and annotations, which then
    are areas, are left out. A cell is its outline, not its nucleus.

    Raises:
        InputError: the file is damaged.
    """
    content = load_json(path)
    if isinstance(content, dict):
        features = entries(path, content, "features") if "features" in content else [content]
    else:
        features = entries(path, {"features": content}, "features")
    kinds = [_kind(feature) for feature in features]
    cells = not semantic and any(kind in _OBJECTS for kind in kinds)
    regions: list[DrawnRegion] = []
    flat = areas = tiles = 0
    for number, (feature, kind) in enumerate(zip(features, kinds, strict=True)):
        properties, geometry = feature.get("properties"), feature.get("geometry") or {}
        name = _class_name(properties if isinstance(properties, dict) else {})
        if kind in ("tile", "tma_core", "root"):
            tiles += 1
            continue
        if cells and kind == "annotation" and not (name and (is_ignored(name) or name.casefold() == "region*")):
            areas += 1
            continue
        try:
            polygons = _polygons(geometry)
            plane = geometry.get("plane") or {}
            t, z = int(plane.get("t", 0)), int(plane.get("z", 0))
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise InputError(f"{path}: feature {number}: its geometry is damaged ({error}); export it again") from None
        if not polygons:
            flat += 1
            continue
        regions.append(DrawnRegion(Polygons(polygons), len(regions), name, t, z))
    notes = [f"{flat} lines or points, which have no area; they are left out"] if flat else []
    notes += [f"{areas} annotations around cells; they are left out, since cells are the objects"] if areas else []
    notes += [f"{tiles} tiles or cores; they are left out"] if tiles else []
    return Drawing(regions, notes=notes)


def _kind(feature: Mapping[str, Any]) -> str:
    """Return what QuPath calls the object: annotation, detection, cell, tile, ..."""
    properties = feature.get("properties")
    kind = properties.get("objectType") or properties.get("object_type") if isinstance(properties, dict) else None
    old = re.fullmatch(r"Path(\w+)Object", str(feature.get("id")))  # before QuPath 0.4
    return str(kind or (old and old[1]) or "annotation").lower()


def _class_name(properties: Mapping[str, Any]) -> str | None:
    """Return the name of the class; derived classes are joined with colons."""
    found = properties.get("classification")
    if isinstance(found, dict):
        names = found.get("names")
        name = ": ".join(map(str, names)) if isinstance(names, list) else found.get("name")
        return str(name) if name else None
    return str(found) if found else None


def _polygons(geometry: Any, nested: int = 0) -> list[list[Ring]]:
    """Return the polygons of a geometry, each as its outline and its holes."""
    kind = geometry.get("type")
    if kind == "Polygon":
        return [_rings(geometry["coordinates"])]
    if kind == "MultiPolygon":
        return [_rings(rings) for rings in geometry["coordinates"]]
    if kind == "GeometryCollection" and nested < _MOST_NESTED:
        return [rings for part in geometry["geometries"] for rings in _polygons(part, nested + 1)]
    if kind in _WITHOUT_AREA:
        return []
    raise ValueError(f"its type is {kind}")


def _rings(rings: Any) -> list[Ring]:
    return [as_ring([point[:2] for point in ring]) for ring in rings]
