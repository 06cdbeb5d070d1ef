"""labelme annotations (https://github.com/wkentaro/labelme)."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tessera.common.errors import InputError
from tessera.io.drawn_labels import Drawing, DrawnRegion
from tessera.io.drawn_shapes import Pixels, Polygons, Shape, as_ring, ellipse
from tessera.io.json_drawing import entries, load_json
from tessera.io.lazy_image import as_input_error

_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def read_labelme(path: Path) -> Drawing:
    """Read the regions of a labelme file. Shapes with the same label and `group_id` are one object.

    Raises:
        InputError: the file is damaged.
    """
    content = load_json(path)
    regions: list[DrawnRegion] = []
    groups: dict[tuple[str, Any], int] = {}
    flat = 0
    for number, entry in enumerate(entries(path, content, "shapes")):
        label, group = str(entry.get("label") or ""), entry.get("group_id")
        kind = entry.get("shape_type") or "polygon"
        if kind in _WITHOUT_AREA:
            flat += 1
            continue
        with as_input_error(Path(f"{path}: shape {number}")):
            drawn = _shape(kind, entry)
        key = (label, number if group is None else f"group {group}")
        regions.append(DrawnRegion(drawn, groups.setdefault(key, len(groups)), label or None))
    size = content.get("imageHeight"), content.get("imageWidth")
    if not all(isinstance(number, int) and number > 0 for number in size):
        raise InputError(f"{path}: does not say imageHeight and imageWidth; save it again with labelme")
    notes = [f"{flat} lines or points, which have no area; they are left out"] if flat else []
    return Drawing(regions, size=(int(size[0] or 0), int(size[1] or 0)), notes=notes)


def _shape(kind: str, entry: dict[str, Any]) -> Shape:
    points = as_ring(entry["points"])
    if kind == "polygon":
        return Polygons([[points]])
    if len(points) != 2:
        raise ValueError(f"its {kind} has {len(points)} points, not 2")
    (x0, y0), (x1, y1) = points.tolist()
    if kind == "rectangle":
        return Polygons([[as_ring([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])]])
    if kind == "circle":
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return Polygons([[ellipse(x0, y0, radius, radius)]])
    if kind == "mask":
        return _mask(entry["mask"], round(min(x0, x1)), round(min(y0, y1)), round(abs(x1 - x0)), round(abs(y1 - y0)))
    raise ValueError(f"its shape_type is {kind}")


def _mask(text: str, left: int, top: int, width: int, height: int) -> Pixels:
    """Return a mask stored as PNG in base64; the last row and column are included."""
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as image:
        if image.size not in ((width + 1, height + 1), (width, height)):
            raise ValueError(f"its mask has {image.size} pixels (x, y), but its points span {width + 1, height + 1}")
        return Pixels(top, left, np.asarray(image.convert("L")) > 0)
