"""Opens OME-Zarr folders of other programs (0.4 with Zarr v2, 0.5 with Zarr v3) as LazyImages."""

import contextlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import zarr

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, convert_interval, convert_sizes
from tessera.io.chunk_reader import MAX_CHUNK_BYTES, ChunkReader
from tessera.io.file_axes import name_axes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import LazyImage, check_claimed_size, make_lazy_image
from tessera.io.shards import ZarrArray

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
MAX_METADATA_BYTES = 2**24
SPARE_BYTES = 2**20  # that a file may have besides twice its pixels, such as the index of a shard
MAX_EXPANSION = 100_000  # chunks of labels are mostly background, and empty ones may be missing
# Codecs that only compress numbers. Others, such as pickle, may execute code from the file.
_CODECS = {"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"}
_CODECS |= {"zlib", "lz4", "bz2", "lzma", "shuffle", "delta"}
_NUMBERS = re.compile(r"[<>|]?[biuf][1248]|bool|u?int(8|16|32|64)|float(16|32|64)")
_KINDS = {"time": "T", "channel": "C"}
_TRANSFORMATIONS = "coordinateTransformations"


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a Zarr array or group."""
    return any((folder / name).is_file() for name in METADATA)


@contextlib.contextmanager
def open_ome_zarr(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the full size of the first image in the OME-Zarr folder at `path` for the block that follows.

    Arguments, result and errors are those of `tessera.io.tiff_reader.open_tiff`.
    """
    axes, labels, like = request.axes, request.labels, request.like
    choose_scene(path, [""], request.scene)
    described = _read_attributes(path)
    multiscale = _find_image(path, described)
    level = multiscale["datasets"][0]
    folder = _inside(path, level["path"])
    files = _list_chunks(path, folder)
    array = _open_array(path, folder)
    steps = array.shards or array.chunks
    chunk_bytes, file_bytes = (math.prod(sides) * array.dtype.itemsize for sides in (array.chunks, steps))
    if chunk_bytes > MAX_CHUNK_BYTES or max(files, default=0) > 2 * file_bytes + SPARE_BYTES:
        raise InputError(
            f"{path}: has chunks of above {MAX_CHUNK_BYTES / 1e9:.0f} GB; save it again with smaller chunks"
        )
    if not files and not labels:
        raise InputError(f"{path}: has no chunks of pixels; copy the whole folder")
    check_claimed_size(path, math.prod(array.shape) * array.dtype.itemsize, sum(files), MAX_EXPANSION)
    stated_axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", "tczyx")]
    file_axes = "".join(
        _KINDS.get(str(axis.get("type"))) or str(axis["name"])[:1].upper() or "?" for axis in stated_axes
    )
    if len(file_axes) != array.ndim:
        raise InputError(f"{path}: names {len(file_axes)} axes, but its pixels have {array.ndim}; save it again")
    layout = name_axes(path, file_axes, array.shape, axes, like)
    channel_chunks = math.ceil(layout.size("c") / array.chunks[layout.axes.index("c")]) if "c" in layout.axes else 1
    pixels = ChunkReader(array, max(1, min(channel_chunks, MAX_CHUNK_BYTES // max(chunk_bytes, 1))))
    image = make_lazy_image(path, layout, pixels, labels=labels, tiled=True)
    warnings = []
    if len(described["multiscales"]) > 1:
        warnings.append(f"has {len(described['multiscales'])} images; the first is used")
    expected = math.prod(math.ceil(size / step) for size, step in zip(array.shape, steps, strict=True))
    if not labels and len(files) < expected:
        warnings.append(f"has {len(files)} of {expected} chunks; the pixels of missing chunks are {array.fill_value}")
    transformations = [*level.get(_TRANSFORMATIONS, []), *multiscale.get(_TRANSFORMATIONS, [])]
    calibration = _read_calibration(file_axes.lower(), stated_axes, transformations)
    channels = [channel.get("label") for channel in described.get("omero", {}).get("channels", [])]
    named = len(channels) == layout.size("c") and all(isinstance(channel, str) for channel in channels)
    yield replace(
        image,
        pixel_size_um=calibration.pixel_size_um,
        frame_interval_s=calibration.frame_interval_s,
        channels=channels if named else None,
        warnings=warnings + ([] if labels else list(calibration.warnings)),
    )


def _read_attributes(path: Path) -> dict[str, Any]:
    """Return the OME-Zarr attributes of a group."""
    node = _read_json(path / "zarr.json")
    described = node.get("attributes", {}).get("ome", {}) if node else _read_json(path / ".zattrs")
    return described if isinstance(described, dict) else {}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.is_symlink() or path.stat().st_size > MAX_METADATA_BYTES:
        raise InputError(f"{path}: is a link or too large for metadata; save it again")
    return cast(dict[str, Any], json.loads(path.read_bytes()))


def _find_image(path: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first multiscale image."""
    if described.get("multiscales"):
        return cast(dict[str, Any], described["multiscales"][0])
    inner = "0"
    if plate := described.get("plate"):
        inner = f"{plate['wells'][0]['path']}/0"
    elif labels := described.get("labels"):
        inner = str(labels[0])
    if _read_attributes(path / inner).get("multiscales"):
        raise InputError(f"{path}: is a folder of images; name one of them in the table, such as {path.name}/{inner}")
    raise InputError(
        f"{path}: is a Zarr folder without an OME-Zarr image (multiscales); name the image, or convert it to OME-TIFF"
    )


def _inside(path: Path, name: str) -> Path:
    """Return the folder of a dataset, which must be within the store."""
    folder = path / name
    if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/") or not folder.is_dir():
        raise InputError(
            f"{path}: its pixels should be in {name[:99]!r}, which is not a folder in it; copy or save it again"
        )
    if folder.resolve() != path.resolve() / name:
        raise InputError(f"{path}: {name} is a link; replace it with a copy of its target")
    return folder


def _list_chunks(path: Path, folder: Path) -> list[int]:
    """Return the sizes of an array's chunk files. Its folder may contain only files and folders, no links."""
    sizes: list[int] = []
    waiting: list[Path | str] = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                if not entry.is_file(follow_symlinks=False):
                    raise InputError(
                        f"{path}: {entry.path} is a link or not a file; replace it with a copy of its target"
                    )
                size = entry.stat(follow_symlinks=False).st_size
                if entry.name in METADATA and size > MAX_METADATA_BYTES:
                    raise InputError(f"{path}: {entry.path} is too large for metadata; save it again")
                if not entry.name.startswith(".") and entry.name not in METADATA:
                    sizes.append(size)
    return sizes


def _open_array(path: Path, folder: Path) -> ZarrArray:
    """Open the array at `folder` if its elements are numbers and its codecs are known."""
    newer = (folder / "zarr.json").is_file()
    described = _read_json(folder / ("zarr.json" if newer else ".zarray"))
    type_ = described.get("data_type" if newer else "dtype")
    if not isinstance(type_, str) or not _NUMBERS.fullmatch(type_):
        raise InputError(
            f"{path}: its pixels have the type {str(type_)[:60]!r}, which is not supported; save it as 8 or 16 bit"
        )
    packed = described.get("codecs") or [described.get("compressor"), *(described.get("filters") or [])]
    unknown = {name for name in _list_codecs(packed) if name not in _CODECS}
    if unknown:
        raise InputError(
            f"{path}: is compressed by {', '.join(sorted(unknown))}, which is not supported; save it again with zstd"
        )
    store = zarr.storage.LocalStore(folder, read_only=True)
    return zarr.open_array(store, mode="r", zarr_format=3 if newer else 2)


def _list_codecs(packed: Iterable[Any]) -> list[str]:
    """Return the names of codecs, including nested ones."""
    names: list[str] = []
    for codec in filter(None, packed):
        names.append(str(codec.get("name", codec.get("id")))[:60])
        within = codec.get("configuration", {})
        names += _list_codecs([*within.get("codecs", []), *within.get("index_codecs", [])])
    return names


def _read_calibration(
    letters: str, axes: Sequence[Mapping[str, Any]], transformations: Iterable[Mapping[str, Any]]
) -> Calibration:
    """Return the voxel size and the time between frames. An axis without a unit has neither.

    Args:
        letters: the letter of each axis.
        axes: the entries `axes` of the metadata.
        transformations: the entries `coordinateTransformations` of the dataset and of the image.
    """
    scales = [1.0] * len(letters)
    for transformation in transformations:
        if transformation.get("type") == "scale":
            scales = [a * float(b) for a, b in zip(scales, transformation["scale"], strict=True)]
    stated = {letter: (scale, axis.get("unit")) for letter, axis, scale in zip(letters, axes, scales, strict=True)}
    spatial = [stated.get(letter, (None, None)) for letter in "zyx"]
    sizes = convert_sizes([scale for scale, _ in spatial], [unit for _, unit in spatial])
    return sizes.complete_with(convert_interval(*stated.get("t", (None, None))))
