"""Opens NRRD files as LazyImages (https://teem.sourceforge.net/nrrd/format.html)."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, convert_interval, convert_sizes
from tessera.io.file_axes import unknown_axes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import COLORS, LazyImage
from tessera.io.packed_file import map_array
from tessera.io.plane_array import make_image

_PACKINGS = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bz2", "bz2": "bz2"}
_SPATIAL = ("domain", "space")
_CHANNELS = (
    "rgb-color",
    "rgba-color",
    "list",
    "vector",
    "2-vector",
    "3-vector",
    "4-vector",
    "3-color",
    "4-color",
    "point",
)
MAX_HEADER_BYTES = 2**20


@contextlib.contextmanager
def open_nrrd(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the NRRD file at `path` for the block that follows.

    Args:
        path: the file.
        request: what the table says about it.

    Yields:
        The LazyImage. The orientation in space is not applied.

    Raises:
        InputError: the file is damaged, its pixels are in another file, or its axes are unknown.
    """
    import nrrd
    from nrrd.reader import _determine_datatype

    choose_scene(path, [""], request.scene)
    with open(path, "rb") as file:
        if b"\n\n" not in file.read(MAX_HEADER_BYTES).replace(b"\r\n", b"\n"):
            raise InputError(f"{path}: its header has no end; replace or remove it")
        file.seek(0)
        header = nrrd.read_header(file)
        offset = file.tell()
    if {"data file", "datafile"} & set(header):
        raise InputError(f"{path}: its pixels are in another file; save it as one NRRD file")
    if header.get("line skip", header.get("lineskip", 0)) or header.get("byte skip", header.get("byteskip", 0)):
        raise InputError(f"{path}: skips parts of its data, which is not supported; save it again")
    encoding = str(header.get("encoding", "")).lower()
    if encoding not in _PACKINGS:
        raise InputError(
            f"{path}: is encoded as {encoding or 'nothing'}, which is not supported; save it as raw or gzip"
        )
    sizes = [int(size) for size in header["sizes"]]
    if len(sizes) != header["dimension"]:
        raise InputError(
            f"{path}: states {header['dimension']} dimensions and {len(sizes)} sizes; replace or remove it"
        )
    pixels = map_array(path, _determine_datatype(header), sizes[::-1], offset, _PACKINGS[encoding])
    axes = _name_axes(header, len(sizes))
    calibration = _read_calibration(header, axes)
    if len(sizes) > 2 and "color" in str(_kinds(header, len(sizes))[0]):
        calibration = replace(calibration, channels=list(COLORS[: sizes[0]]))
    yield make_image(path, axes[::-1], pixels, pixels.shape, request, calibration)


def _kinds(header: Mapping[str, Any], count: int) -> list[str]:
    """Return the kind of each dimension, fastest first; "" where unknown."""
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    if len(kinds) == count:
        return kinds
    directions = header.get("space directions")
    if directions is not None and len(directions) == count:
        return ["space" if np.all(np.isfinite(_vector(each))) else "" for each in directions]
    return [""] * count


def _vector(direction: Any) -> Any:
    return np.asarray([math.nan] if direction is None else direction, float)


def _name_axes(header: Mapping[str, Any], count: int) -> str:
    """Return the axis of each dimension, fastest first."""
    kinds = _kinds(header, count)
    if not any(kinds):
        return unknown_axes(count)[::-1]
    spatial = iter("XYZ")
    axes = ""
    for kind in kinds:
        if kind in _SPATIAL:
            axes += next(spatial, "?")
        else:
            axes += "T" if kind == "time" else "C" if kind in _CHANNELS else "?"
    return axes


def _read_calibration(header: Mapping[str, Any], axes: str) -> Calibration:
    count = len(axes)
    steps = [float(step) for step in _list(header.get("spacings"), count, math.nan)]
    units = [str(unit or "") for unit in _list(header.get("units"), count, "")]
    directions = header.get("space directions")
    space_units = list(header.get("space units", []))
    if directions is not None and len(directions) == count:
        steps = [float(np.linalg.norm(_vector(each))) for each in directions]
        unit = str(space_units[0]) if space_units else ""
        units = [unit if axis in "XYZ" else own for axis, own in zip(axes, units, strict=True)]
    stated = {axis: (step, unit) for axis, step, unit in zip(axes, steps, units, strict=True)}
    pairs = [stated.get(axis, (None, None)) for axis in "ZYX"]
    calibration = convert_sizes([step for step, _ in pairs], [unit for _, unit in pairs])
    return calibration.complete_with(convert_interval(*stated.get("T", (None, None))))


def _list(values: Sequence[Any] | None, count: int, default: Any) -> list[Any]:
    return list(values) if values is not None and len(values) == count else [default] * count
