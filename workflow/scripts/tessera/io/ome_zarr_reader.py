"""Opens Zarr stores of other programs as LazyImages: OME-Zarr 0.4 (Zarr v2) and 0.5 (Zarr v3), and plain arrays."""

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tessera.common.errors import InputError
from tessera.io.calibration import Calibration, convert_interval, convert_sizes
from tessera.io.chunk_reader import MAX_CHUNK_BYTES, ChunkReader
from tessera.io.file_axes import Layout, name_axes, unknown_axes
from tessera.io.file_request import FileRequest, choose_scene
from tessera.io.lazy_image import LazyImage, check_claimed_size, make_lazy_image
from tessera.io.shards import ZarrArray
from tessera.io.zarr_tree import METADATA, FolderTree, ZarrTree, ZipTree, describe_array, list_arrays

SPARE_BYTES = 2**20  # that a file may have besides twice its pixels, such as the index of a shard
MAX_EXPANSION = 100_000  # chunks of labels are mostly background, and empty ones may be missing
# Codecs that only compress numbers. Others, such as pickle, may execute code from the file.
_CODECS = {"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"}
_CODECS |= {"zlib", "lz4", "bz2", "lzma", "shuffle", "delta"}
_NUMBERS = re.compile(r"[<>|]?[biuf][1248]|bool|u?int(8|16|32|64)|float(16|32|64)")
_KINDS = {"time": "T", "channel": "C"}
_OME_KEYS = {"multiscales", "plate", "well", "labels", "series", "bioformats2raw.layout"}
_TRANSFORMATIONS = "coordinateTransformations"


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a Zarr array or group."""
    return any((folder / name).is_file() for name in METADATA)


@contextlib.contextmanager
def open_ome_zarr(path: Path, request: FileRequest) -> Iterator[LazyImage]:
    """Open the full size of the first image in the Zarr store at `path` for the block that follows.

    A store without OME-Zarr metadata may be an array, or hold arrays, of which each is a scene.

    Args:
        path: a folder or a ZIP file.
        request: what the table says about it.

    Yields:
        The LazyImage.

    Raises:
        InputError: the store is damaged, or holds several images and none is chosen.
    """
    tree: ZarrTree = FolderTree(path) if path.is_dir() else ZipTree(path)
    described = _read_attributes(tree)
    if not described.get("multiscales") and (names := _list_plain(tree, described)):
        name = names[choose_scene(path, names, request.scene)]
        yield _open_plain(path, tree, name, request)
        return
    choose_scene(path, [""], request.scene)
    multiscale = _find_image(path, tree, described)
    level = multiscale["datasets"][0]
    tree.check_folder(level["path"])
    array, warnings = _open_pixels(path, tree, level["path"], request)
    stated_axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", "tczyx")]
    file_axes = "".join(
        _KINDS.get(str(axis.get("type"))) or str(axis["name"])[:1].upper() or "?" for axis in stated_axes
    )
    if len(file_axes) != array.ndim:
        raise InputError(f"{path}: names {len(file_axes)} axes, but its pixels have {array.ndim}; save it again")
    image, layout = _make_image(path, file_axes, array, request)
    if len(described["multiscales"]) > 1:
        warnings.insert(0, f"has {len(described['multiscales'])} images; the first is used")
    transformations = [*level.get(_TRANSFORMATIONS, []), *multiscale.get(_TRANSFORMATIONS, [])]
    calibration = _read_calibration(file_axes.lower(), stated_axes, transformations)
    channels = [channel.get("label") for channel in described.get("omero", {}).get("channels", [])]
    named = len(channels) == layout.size("c") and all(isinstance(channel, str) for channel in channels)
    yield replace(
        image,
        pixel_size_um=calibration.pixel_size_um,
        frame_interval_s=calibration.frame_interval_s,
        channels=channels if named else None,
        warnings=warnings + ([] if request.labels else list(calibration.warnings)),
    )


def _list_plain(tree: ZarrTree, described: Mapping[str, Any]) -> list[str]:
    """Return the names of the arrays of a store without OME-Zarr metadata, at its top and in its folders."""
    everything = [described, *(_read_attributes(tree, f"{name}/") for name in tree.list_folders(""))]
    return [] if any(_OME_KEYS & set(each) for each in everything) else list_arrays(tree)


def _open_plain(path: Path, tree: ZarrTree, name: str, request: FileRequest) -> LazyImage:
    """Return an array without OME-Zarr metadata. Xarray and others name its axes."""
    array, warnings = _open_pixels(path, tree, name, request)
    metadata, _ = describe_array(tree, name)
    attributes = metadata.get("attributes") or tree.read_json(f"{name}/.zattrs".lstrip("/"))
    stated = metadata.get("dimension_names") or attributes.get("_ARRAY_DIMENSIONS") or []
    letters = [str(axis)[:1].upper() for axis in stated]
    file_axes = "".join(letter if letter in {*"TCZYX"} else "?" for letter in letters)
    if len(file_axes) != array.ndim:
        file_axes = unknown_axes(array.ndim)
    image, _ = _make_image(path, file_axes, array, request)
    return replace(image, warnings=warnings)


def _open_pixels(path: Path, tree: ZarrTree, name: str, request: FileRequest) -> tuple[ZarrArray, list[str]]:
    """Return an array, and warnings, after checks of what it claims."""
    files = tree.list_chunks(name)
    array = _open_array(path, tree, name)
    steps = array.shards or array.chunks
    chunk_bytes, file_bytes = (math.prod(sides) * array.dtype.itemsize for sides in (array.chunks, steps))
    if chunk_bytes > MAX_CHUNK_BYTES or max(files, default=0) > 2 * file_bytes + SPARE_BYTES:
        raise InputError(
            f"{path}: has chunks of above {MAX_CHUNK_BYTES / 1e9:.0f} GB; save it again with smaller chunks"
        )
    if not files and not request.labels:
        raise InputError(f"{path}: has no chunks of pixels; copy the whole folder")
    check_claimed_size(path, math.prod(array.shape) * array.dtype.itemsize, sum(files), MAX_EXPANSION)
    expected = math.prod(math.ceil(size / step) for size, step in zip(array.shape, steps, strict=True))
    warnings = []
    if not request.labels and len(files) < expected:
        warnings.append(f"has {len(files)} of {expected} chunks; the pixels of missing chunks are {array.fill_value}")
    return array, warnings


def _make_image(path: Path, file_axes: str, array: ZarrArray, request: FileRequest) -> tuple[LazyImage, Layout]:
    layout = name_axes(path, file_axes, array.shape, request.axes, request.like)
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    channel_chunks = math.ceil(layout.size("c") / array.chunks[layout.axes.index("c")]) if "c" in layout.axes else 1
    pixels = ChunkReader(array, max(1, min(channel_chunks, MAX_CHUNK_BYTES // max(chunk_bytes, 1))))
    return make_lazy_image(path, layout, pixels, labels=request.labels, tiled=True), layout


def _read_attributes(tree: ZarrTree, folder: str = "") -> dict[str, Any]:
    """Return the OME-Zarr attributes of a group; its name ends with / unless it is the store."""
    node = tree.read_json(f"{folder}zarr.json")
    described = node.get("attributes", {}).get("ome", {}) if node else tree.read_json(f"{folder}.zattrs")
    return described if isinstance(described, dict) else {}


def _find_image(path: Path, tree: ZarrTree, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first multiscale image."""
    if described.get("multiscales"):
        return cast(dict[str, Any], described["multiscales"][0])
    inner = "0"
    if plate := described.get("plate"):
        inner = f"{plate['wells'][0]['path']}/0"
    elif labels := described.get("labels"):
        inner = str(labels[0])
    if _read_attributes(tree, f"{inner}/").get("multiscales"):
        raise InputError(f"{path}: is a folder of images; name one of them in the table, such as {path.name}/{inner}")
    raise InputError(
        f"{path}: is a Zarr folder without an OME-Zarr image (multiscales); name the image, or convert it to OME-TIFF"
    )


def _open_array(path: Path, tree: ZarrTree, name: str) -> ZarrArray:
    """Open an array if its elements are numbers and its codecs are known."""
    described, version = describe_array(tree, name)
    type_ = described.get("data_type" if version == 3 else "dtype")
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
    return cast(ZarrArray, tree.open(name, version))


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
