"""OME-Zarr folders of others (0.4, Zarr v2, and 0.5, Zarr v3), opened as sources."""

import contextlib
import json
import math
import os
import re
from dataclasses import replace

import zarr

from tessera.common.errors import InputError
from tessera.io.lazy_image import PLANE_BYTES, check_claimed_size, make_lazy_image, name_axes

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
MOST_METADATA = 2**24  # bytes
MOST_CHUNK = 2**30  # a chunk is decoded whole
SPARE_BYTES = 2**20  # of a file beside twice its pixels, such as the index of a shard
MOST_EXPANSION = 100_000  # chunks of labels are mostly background, and those that are nothing else may be left out
# Codecs that only pack numbers; others may run what is in the file, as pickle does.
_CODECS = {"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"}
_CODECS |= {"zlib", "lz4", "bz2", "lzma", "shuffle", "delta"}
_NUMBERS = re.compile(r"[<>|]?[biuf][1248]|bool|u?int(8|16|32|64)|float(16|32|64)")
_UM = {"angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
_SECONDS = {"millisecond": 1e-3, "second": 1, "minute": 60, "hour": 3600}
_KINDS = {"time": "T", "channel": "C"}
_TRANSFORMATIONS = "coordinateTransformations"


def is_zarr(folder):
    """Whether a folder is a Zarr array or group."""
    return any((folder / name).is_file() for name in METADATA)


@contextlib.contextmanager
def open_ome_zarr(path, axes, labels, like=None):
    """Open the full size of the first image in the OME-Zarr folder at `path` for the block that follows.

    Args, yields and raises: as `tessera.io.tiff_reader.open_tiff`.
    """
    described = _read_attributes(path)
    multiscale = _find_image(path, described)
    level = multiscale["datasets"][0]
    folder = _inside(path, level["path"])
    files = _list_chunks(path, folder)
    array = _open_array(path, folder)
    steps = array.shards or array.chunks
    chunk_bytes, file_bytes = (math.prod(sides) * array.dtype.itemsize for sides in (array.chunks, steps))
    if chunk_bytes > MOST_CHUNK or max(files, default=0) > 2 * file_bytes + SPARE_BYTES:
        raise InputError(f"{path}: has chunks of above {MOST_CHUNK / 1e9:.0f} GB; save it again with smaller ones")
    if not files and not labels:
        raise InputError(f"{path}: holds no chunks of pixels; copy the whole folder")
    check_claimed_size(path, math.prod(array.shape) * array.dtype.itemsize, sum(files), MOST_EXPANSION)
    axes_told = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", "tczyx")]
    own = "".join(_KINDS.get(axis.get("type")) or str(axis["name"])[:1].upper() or "?" for axis in axes_told)
    if len(own) != array.ndim:
        raise InputError(f"{path}: names {len(own)} axes, but its pixels have {array.ndim}; save it again")
    layout = name_axes(path, own, array.shape, axes, like)
    source = make_lazy_image(path, layout, _Slabs(array, chunk_bytes), labels=labels, tiled=True)
    warnings = []
    if len(described["multiscales"]) > 1:
        warnings.append(f"holds {len(described['multiscales'])} images; the first is taken")
    expected = math.prod(math.ceil(size / step) for size, step in zip(array.shape, steps, strict=True))
    if not labels and len(files) < expected:
        warnings.append(
            f"has {len(files)} of {expected} chunks; where one is missing, all pixels are {array.fill_value}"
        )
    transformations = [*level.get(_TRANSFORMATIONS, []), *multiscale.get(_TRANSFORMATIONS, [])]
    pixel_size_um, frame_interval_s = _read_sizes(own.lower(), axes_told, transformations)
    channels = [channel.get("label") for channel in described.get("omero", {}).get("channels", [])]
    known = len(channels) == layout.size("c") and all(isinstance(channel, str) for channel in channels)
    yield replace(
        source,
        pixel_size_um=pixel_size_um,
        frame_interval_s=frame_interval_s,
        channels=channels if known else None,
        warnings=warnings,
    )


class _Slabs:
    """A Zarr array of which whole chunks are read and kept, as far as they are no more than a large plane."""

    def __init__(self, array, chunk_bytes):
        self._array, self.dtype = array, array.dtype
        self._parallel = max(1, min(10, PLANE_BYTES // max(chunk_bytes, 1)))
        self._place = self._held = None

    def __getitem__(self, place):
        """Pixels at `place`, which has a whole number or a slice for each dimension."""
        array = self._array
        wide = tuple(
            slice(at // step * step, min(at // step * step + step, size))
            if isinstance(at, int)
            else slice(*at.indices(size))
            for at, step, size in zip(place, array.chunks, array.shape, strict=True)
        )
        with zarr.config.set({"async.concurrency": self._parallel}):
            if math.prod(span.stop - span.start for span in wide) * array.dtype.itemsize > PLANE_BYTES:
                return array[place]
            if wide != self._place:
                self._place = self._held = None
                self._held, self._place = array[wide], wide
        inner = (at - span.start if isinstance(at, int) else slice(None) for at, span in zip(place, wide, strict=True))
        return self._held[tuple(inner)]


def _read_attributes(path):
    """The attributes of OME-Zarr of a group."""
    node = _read_json(path / "zarr.json")
    described = node.get("attributes", {}).get("ome", {}) if node else _read_json(path / ".zattrs")
    return described if isinstance(described, dict) else {}


def _read_json(path):
    if not path.is_file():
        return {}
    if path.is_symlink() or path.stat().st_size > MOST_METADATA:
        raise InputError(f"{path}: is no file of metadata, but a link or too large; save it again")
    return json.loads(path.read_bytes())


def _find_image(path, described):
    """The first of the multiscales, which has a dataset."""
    if described.get("multiscales"):
        return described["multiscales"][0]
    inner = "0"
    if plate := described.get("plate"):
        inner = f"{plate['wells'][0]['path']}/0"
    elif labels := described.get("labels"):
        inner = str(labels[0])
    if _read_attributes(path / inner).get("multiscales"):
        raise InputError(f"{path}: is a folder of images; name one of them in the table, such as {path.name}/{inner}")
    raise InputError(
        f"{path}: is Zarr without an image of OME-Zarr (multiscales); name that, or convert it to OME-TIFF"
    )


def _inside(path, name):
    """The folder of a dataset, which has to lie within the store."""
    folder = path / name
    if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/") or not folder.is_dir():
        raise InputError(
            f"{path}: its pixels should be in {name[:99]!r}, which is no folder in it; copy or save it again"
        )
    if folder.resolve() != path.resolve() / name:
        raise InputError(f"{path}: {name} is a link; copy what it links to in its place")
    return folder


def _list_chunks(path, folder):
    """Sizes of the files of an array's chunks; nothing in its folder may be a link, or neither a file nor a folder."""
    sizes, waiting = [], [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                if not entry.is_file(follow_symlinks=False):
                    raise InputError(f"{path}: {entry.path} is a link or no file; copy what it links to in its place")
                size = entry.stat(follow_symlinks=False).st_size
                if entry.name in METADATA and size > MOST_METADATA:
                    raise InputError(f"{path}: {entry.path} is too large for metadata; save it again")
                if not entry.name.startswith(".") and entry.name not in METADATA:
                    sizes.append(size)
    return sizes


def _open_array(path, folder):
    """The array at `folder`, if it holds numbers that are packed in ways that are known."""
    newer = (folder / "zarr.json").is_file()
    described = _read_json(folder / ("zarr.json" if newer else ".zarray"))
    kind = described.get("data_type" if newer else "dtype")
    if not isinstance(kind, str) or not _NUMBERS.fullmatch(kind):
        raise InputError(f"{path}: its pixels are {str(kind)[:60]!r}, which cannot be kept; save it as 8 or 16 bit")
    packed = described.get("codecs") or [described.get("compressor"), *(described.get("filters") or [])]
    unknown = {name for name in _list_codecs(packed) if name not in _CODECS}
    if unknown:
        raise InputError(
            f"{path}: is packed by {', '.join(sorted(unknown))}, which is not read; save it again with zstd"
        )
    store = zarr.storage.LocalStore(folder, read_only=True)
    return zarr.open_array(store, mode="r", zarr_format=3 if newer else 2)


def _list_codecs(packed):
    """Names of codecs and of those within them."""
    names = []
    for codec in filter(None, packed):
        names.append(str(codec.get("name", codec.get("id")))[:60])
        within = codec.get("configuration", {})
        names += _list_codecs([*within.get("codecs", []), *within.get("index_codecs", [])])
    return names


def _read_sizes(own, axes, transformations):
    """((z, y, x) in micrometres, seconds between frames), None where not known, of `axes` called `own`."""
    scales = [1.0] * len(own)
    for transformation in transformations:
        if transformation.get("type") == "scale":
            scales = [a * float(b) for a, b in zip(scales, transformation["scale"], strict=True)]
    sizes = {}
    for letter, axis, scale in zip(own, axes, scales, strict=True):
        factor = (_SECONDS if letter == "t" else _UM).get(axis.get("unit"))
        sizes[letter] = scale * factor if factor and 0 < scale < math.inf else None
    return tuple(map(sizes.get, "zyx")), sizes.get("t")
