"""Brush strokes in ilastik projects (.ilp, HDF5): each is a class, and pixels without a stroke are not annotated.

The layout is that of ilastik/applets/labeling/labelingSerializer.py in https://github.com/ilastik/ilastik.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tessera.common.errors import InputError
from tessera.common.types import Shape5D
from tessera.io.annotation import NOT_ANNOTATED, Annotation, LabelKind
from tessera.io.hdf5_reader import check_dataset
from tessera.io.lazy_image import LazyImage, as_input_error

_MAGIC = b"\x89HDF\r\n\x1a\n"
_LABELS, _NAMES, _LANES = "PixelClassification/LabelSets", "PixelClassification/LabelNames", "Input Data/infos"
# Axes of blocks that do not state them. ilastik before 1.3.3 has the channel last.
_ORDERS = {3: ("yxc", "cyx"), 4: ("?yxc", "?cyx"), 5: ("tzyxc", "tzcyx")}
_DEFAULT_NAME = re.compile(r"Label \d+")


@dataclass(frozen=True)
class _Block:
    """A part of the labels: its dataset, its axes, and {axis: slice} of its place in the image."""

    name: str
    axes: str
    place: dict[str, slice]


def is_ilastik_project(path: Path) -> bool:
    """Return whether a file is an ilastik project with labels for pixels."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        if file.read(8) != _MAGIC:
            return False
    try:
        with h5py.File(path, "r") as project:
            return isinstance(project.get(_LABELS), h5py.Group)
    except (OSError, RuntimeError):  # the reader of images says what is wrong
        return False


def open_ilastik_labels(path: Path, shape: Shape5D, kind: LabelKind, image_files: Sequence[Path]) -> Annotation:
    """Open the labels of one image of an ilastik project.

    Args:
        path: the project.
        shape: (t, c, z, y, x) of the image.
        kind: what the labels mean; ilastik's are classes.
        image_files: files of the image, whose names tell which image of the project it is.

    Raises:
        InputError: the labels do not fit the image or `kind`, or the project lacks the image.
    """
    if not kind.semantic:
        raise InputError(
            f"{path}: an ilastik project has brush strokes of classes, which do not outline objects; set task to "
            "semantic, or export objects from ilastik"
        )
    with as_input_error(path), h5py.File(path, "r") as project:
        values = _class_values(path, project, kind)
        group = project[_LABELS][_find_lane(path, project, image_files)]
        blocks = [_read_place(path, each, shape) for each in group.values() if isinstance(each, h5py.Dataset)]
        for block in blocks:
            check_dataset(path, project[block.name])

    def read(t: int, z: int, rows: slice, columns: slice) -> NDArray[Any]:
        labels = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int64)
        wanted = {"t": slice(t, t + 1), "z": slice(z, z + 1), "y": rows, "x": columns, "c": slice(0, 1)}
        near = [block for block in blocks if all(_overlap(wanted[axis], block.place[axis]) for axis in block.axes)]
        if near:
            with as_input_error(path), h5py.File(path, "r") as project:
                for block in near:
                    _paste(project[block.name], block, wanted, labels)
        if labels.max() >= len(values):
            raise InputError(f"{path}: has the label {labels.max()}, but {len(values) - 1} names; save it again")
        pixels: NDArray[np.int64] = values[labels]
        return pixels[None]

    source = LazyImage((shape[0], 1, *shape[2:]), np.dtype(np.int64), read, tiled=True)
    return Annotation(source, drawn=True)


def _class_values(path: Path, project: h5py.File, kind: LabelKind) -> NDArray[np.int64]:
    """Return the class of each label; label 0 means that a pixel is not annotated."""
    names = [_text(name) for name in np.ravel(project[_NAMES][()])]
    known = {name.casefold(): number for number, name in enumerate(kind.classes)}
    unknown = [name for name in names if name.casefold() not in known]
    if unknown:
        advice = "rename them in ilastik" if any(map(_DEFAULT_NAME.fullmatch, unknown)) else "rename them"
        raise InputError(
            f"{path}: has the labels {', '.join(unknown)}, but the setting classes has {', '.join(kind.classes)}; "
            f"{advice}, or change classes"
        )
    return np.array([NOT_ANNOTATED, *(known[name.casefold()] for name in names)], np.int64)


def _find_lane(path: Path, project: h5py.File, image_files: Sequence[Path]) -> str:
    """Return the name of the group with the labels of an image."""
    stored = {}
    for number, lane in enumerate(sorted(project[_LANES])):
        raw = project[_LANES][lane].get("Raw Data", {})
        stored[number] = _text(raw["filePath"][()]) if "filePath" in raw else ""
    wanted = {file.name for file in image_files} | {file.parent.name for file in image_files if len(image_files) > 1}
    found = [number for number, name in stored.items() if wanted & set(PurePosixPath(name.replace("\\", "/")).parts)]
    if len(found) != 1:
        names = ", ".join(stored.values())
        raise InputError(
            f"{path}: has {len(found)} images named {image_files[0].name if image_files else 'like this image'}; its "
            f"images are {names or 'none'}"
        )
    groups = sorted(project[_LABELS], key=lambda name: int(re.sub(r"\D", "", name) or 0))
    return str(groups[found[0]])


def _read_place(path: Path, block: h5py.Dataset, shape: Shape5D) -> _Block:
    """Return the place of a block in the image."""
    spans = [slice(int(a), int(b)) for a, b in re.findall(r"(\d+):(\d+)", _text(block.attrs["blockSlice"]))]
    if tuple(span.stop - span.start for span in spans) != block.shape:
        raise InputError(f"{path}: {block.name}: its place does not fit its size; save the project again")
    sizes = dict(zip("tczyx", shape, strict=True)) | {"c": 1}
    stated = block.attrs.get("axistags")
    if stated is not None:
        orders: Sequence[str] = ("".join(str(axis["key"]) for axis in json.loads(_text(stated))["axes"]),)
    else:
        orders = [axes.replace("?", "t" if shape[0] > 1 else "z") for axes in _ORDERS.get(len(spans), ())]
    for axes in orders:
        if len(axes) == len(spans) and all(
            axis in sizes and span.stop <= sizes[axis] for axis, span in zip(axes, spans, strict=True)
        ):
            return _Block(block.name, axes, dict(zip(axes, spans, strict=True)))
    place = ", ".join(f"{span.start}:{span.stop}" for span in spans)
    raise InputError(
        f"{path}: has labels at {place}, but its image is t {shape[0]}, z {shape[2]}, y {shape[3]}, x {shape[4]}; "
        "label the image at its full size"
    )


def _overlap(a: slice, b: slice) -> bool:
    return bool(a.start < b.stop and b.start < a.stop)


def _paste(dataset: h5py.Dataset, block: _Block, wanted: dict[str, slice], labels: NDArray[np.int64]) -> None:
    """Copy the part of a block that is in the window of `labels` (y, x)."""
    shared = {
        axis: slice(max(wanted[axis].start, block.place[axis].start), min(wanted[axis].stop, block.place[axis].stop))
        for axis in block.axes
    }
    offsets = {axis: block.place[axis].start for axis in block.axes}
    index = tuple(
        slice(shared[axis].start - offsets[axis], shared[axis].stop - offsets[axis]) if axis in "yx" else
        shared[axis].start - offsets[axis]
        for axis in block.axes
    )  # fmt: skip
    pixels = dataset[index]
    pixels = pixels if block.axes.index("y") < block.axes.index("x") else pixels.T
    rows, columns = shared["y"], shared["x"]
    top, left = wanted["y"].start, wanted["x"].start
    labels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels


def _text(value: Any) -> str:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
